"""The command that explains the clusters of a run on one offline page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xai.cli.options import Json, Quiet
from xai.cli.text import print_json, progress
from xai.errors import UserError
from xai.scan.explain.maps import CLUSTER_CAM


def explain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or embedded.")] = "embedded",
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE.html", help="By default RUN-HEAD.html here.")
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", metavar="K", help="Which head: 8, or k8-2 for the second of 8.")
    ] = None,
    cluster: Annotated[
        list[int] | None, typer.Option("--cluster", metavar="N", help="Only these; may be repeated.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="Of the maps; see `xai methods`.")
    ] = CLUSTER_CAM,
    layout: Annotated[str, typer.Option("--layout", metavar="pca|t-sne", help="Of the plane.")] = "pca",
    tags: Annotated[
        str | None, typer.Option("--tags", metavar="FILE.csv", help="Words of the pictures: file, tags.")
    ] = None,
    clip_weights: Annotated[
        str | None,
        typer.Option("--clip-weights", metavar="FILE|TAG", help="Words by CLIP: its weights, or a tag of open_clip."),
    ] = None,
    clip_terms: Annotated[
        Path | None, typer.Option("--clip-terms", metavar="FILE", help="Terms CLIP chooses from, one per line.")
    ] = None,
    clip_model: Annotated[
        str, typer.Option("--clip-model", metavar="NAME", help="As open_clip calls it.")
    ] = "ViT-B-32",
    clip_on_maps: Annotated[
        bool, typer.Option("--clip-on-maps", help="CLIP sees pictures dimmed where the cluster's map is weak.")
    ] = False,
    no_text: Annotated[bool, typer.Option("--no-text", help="No words.")] = False,
    no_dream: Annotated[bool, typer.Option("--no-dream", help="No pictures made to excite the clusters.")] = False,
    pointing: Annotated[
        int, typer.Option("--pointing", metavar="N", min=0, help="Pictures whose maps are held against masks.")
    ] = 200,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain the clusters of a head on one page: galleries, words, maps, flows, what-ifs, measures."""
    if output is not None and not output.endswith(".html"):
        raise UserError(f"--output '{output}' must end in .html.")

    from xai.io.files import write_atomic
    from xai.registry import find_method
    from xai.report.clusters import Wanted, write_report
    from xai.scan.explain.maps2d import LAYOUTS
    from xai.scan.explain.survey import find_clip_terms, find_terms
    from xai.scan.run import open_run

    if layout not in LAYOUTS:
        from xai.errors import one_of

        raise one_of("layout", layout, LAYOUTS)
    opened = open_run(run)
    chosen = opened.head(head)
    path = Path(output or f"{opened.name}-{chosen.name}.html")
    if not path.parent.is_dir():
        raise UserError(f"--output '{path}' lies in a folder that does not exist; make it first.")
    wanted = Wanted(tuple(cluster or ()), find_method(method).key, layout, not no_dream, pointing)
    named = _read_terms(clip_weights, clip_terms)
    terms = None if no_text or named else find_terms(opened, tags)
    if clip_weights and named and not no_text:
        region = chosen if clip_on_maps else None
        with progress("CLIP", quiet=quiet) as tell:
            terms = find_clip_terms(
                opened, named, clip_weights, model=clip_model, region_of=region, on_progress=lambda part: tell(part, "")
            )
    with progress("Explaining", quiet=quiet) as tell:
        page = write_report(opened, chosen, terms, wanted, tell)
    write_atomic(path, page.encode())
    if json:
        print_json({"output": str(path), "run": opened.name, "head": chosen.name, "bytes": len(page.encode())})
    else:
        print(f"{path}: {chosen.clusters if not cluster else len(cluster)} clusters of {opened.name} {chosen.name}")


def _read_terms(weights: str | None, file: Path | None) -> list[str]:
    """Read what CLIP is to choose from; empty where CLIP is not wanted."""
    if weights is None and file is None:
        return []
    if weights is None or file is None:
        raise UserError("Words by CLIP need both --clip-weights and --clip-terms.")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The terms '{file}' cannot be read.") from error
    terms = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(terms) < 2:
        raise UserError(f"The terms '{file}' must be two or more, one per line.")
    return terms
