"""The command that names what a network sees in pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xai.cli.network import load_network
from xai.cli.options import Json, NetworkOptions, Pictures, Quiet, Resize
from xai.cli.pictures import Source, check_resize, find_pictures, report_failures, run_over
from xai.cli.text import print_json


def predict(
    network: NetworkOptions,
    img: Pictures = None,
    resize: Resize = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many classes to show.")] = 5,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the most likely classes of pictures, best first."""
    pictures = find_pictures(img)
    mode = check_resize(resize)
    model = load_network(network, quiet=quiet)

    from xai.tracing import predict as predict_classes

    found: list[dict[str, Any]] = []

    def keep(source: Source, classes: list[tuple[str, float, int]]) -> None:
        rows = [{"index": index, "name": name, "probability": p} for name, p, index in classes]
        found.append({"picture": str(source), "classes": rows})

    failures = run_over(
        pictures,
        lambda images: [predict_classes(model, image, k, resize=mode) for image in images],
        keep,
        label="Predicting",
        quiet=quiet,
    )
    if json:
        about = {"model": model.name, "weights": model.weights, "weights_digest": model.weights_digest}
        print_json({**about, "pictures": found, "skipped": failures})
    else:
        _print_classes(found, model.title)
    report_failures(failures, len(pictures))


def _print_classes(found: list[dict[str, Any]], title: str) -> None:
    from xai.figures.charts import format_share

    for entry in found:
        print(f"{entry['picture']} ({title})")
        for row in entry["classes"]:
            print(f"  {format_share(row['probability']):>8}  {row['name']} [{row['index']}]")
