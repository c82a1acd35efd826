"""The commands that ask a clustering run: how good it is, where a picture belongs, how many clusters fit."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.options import Json, Quiet
from xai.cli.scan import Run, parse_heads
from xai.cli.text import print_json, print_table, progress, say
from xai.errors import UserError
from xai.scan.explain.maps import CLUSTER_CAM, map_cluster

if TYPE_CHECKING:
    import numpy as np

    from xai.scan.pictures import Pictures
    from xai.scan.query import Answer
    from xai.scan.run import Head, ScanRun

Picked = Annotated[
    str | None, typer.Option("--heads", "-c", metavar="K,K,...", help="Which heads: 8, or k8-2 for the second of 8.")
]


def evaluate(
    run: Annotated[list[str], typer.Argument(metavar="RUN...", help="One run, or several seeds of one.")],
    split: Annotated[str, typer.Option("--split", metavar="train|validation", help="Which pictures.")] = "validation",
    heads: Picked = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE.csv", help="Columns name, label; else the data's own.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            metavar="NAME",
            help='Labels: class, superclass (of CIFAR-100); family, shape, fill, "shape and fill" (of glyphs).',
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure heads: against labels where there are some, and without; mean and spread over several runs."""
    from xai.scan.metrics import summarise
    from xai.scan.run import open_run

    found: list[dict[str, Any]] = []
    tables: dict[str, Any] = {}
    for name in run:
        opened = open_run(name)
        for head in pick_heads(opened, heads):
            evaluation, told_level = _evaluate(opened, head, split, labels, level)
            found.append({"run": name, "head": head.name, "labels": told_level, **evaluation.summary()})
            tables[head.name] = evaluation.table()
    if json:
        print_json({"measured": found, "clusters": {name: table.to_dict("records") for name, table in tables.items()}})
        return
    for head_name in dict.fromkeys(row["head"] for row in found):
        rows = [row for row in found if row["head"] == head_name]
        print(f"{head_name} on {split}, labels: {rows[0]['labels'] or 'none'}")
        numbers = [{k: v for k, v in row.items() if isinstance(v, int | float)} for row in rows]
        if len(rows) > 1:
            lines = [(name, str(spread)) for name, spread in summarise(numbers).items()]
        else:
            lines = [(name, f"{value:.4g}") for name, value in numbers[0].items()]
        print_table(("measure", "value"), lines, right="value")
        if len(rows) == 1:
            print(tables[head_name].to_string(index=False, float_format="{:.3f}".format))
        print()


def pick_heads(run: ScanRun, wanted: str | None) -> list[Head]:
    """The best head of each size, or those that were named."""
    if wanted is None:
        run.head()  # says so where there is none yet
        return [head for head in run.heads if head.replica == 0]
    return [run.head(part.strip()) for part in wanted.split(",")]


def _evaluate(run: ScanRun, head: Head, split: str, file: Path | None, level: str | None) -> tuple[Any, str]:
    from xai.scan.evaluation import Neighbours
    from xai.scan.evaluation import evaluate as measure

    pictures, train = run.pictures(split), run.pictures("train")
    if file is not None:
        base: np.ndarray | None = None
        classes: np.ndarray | None
        classes, names = read_labels(file, pictures)
        told = file.name
    else:
        told = level or _closest_level(pictures, head.clusters)
        if told and told not in pictures.levels:
            raise UserError(f"There are no labels '{told}'; there are: {', '.join(pictures.levels) or 'none'}.")
        classes = pictures.levels[told].labels if told else None
        names = pictures.levels[told].names if told else ()
        base = train.levels[told].labels if told else None
    evaluation = measure(
        run.probabilities(head, split),
        classes=classes,
        class_names=names,
        features=run.features(split),
        space=f"pretext {run.config.space}",
        neighbours=Neighbours(run.neighbours(split)[0], run.assigned(head, "train"), base),
    )
    return evaluation, told


def _closest_level(pictures: Pictures, clusters: int) -> str:
    """The labels whose number is nearest to that of the clusters; fills of glyphs only when asked for."""
    levels = {name: abs(len(each.names) - clusters) for name, each in pictures.levels.items() if name != "fill"}
    return min(levels, key=lambda name: levels[name]) if levels else ""


def read_labels(file: Path, pictures: Pictures) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read labels from a table of names and labels; pictures that it lacks count as unlabelled (-1).

    Raises:
        UserError: it cannot be read, or names no picture of the run.
    """
    import numpy as np

    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if len(row) >= 2]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The labels '{file}' cannot be read: {error}.") from error
    said = {row[0].strip(): row[1].strip() for row in rows}
    labels = [said.get(name, said.get(Path(name).name)) for name in pictures.names]
    names = tuple(sorted({label for label in labels if label is not None}))
    if not names:
        raise UserError(f"The labels '{file}' name no picture of the run; its names look like '{pictures.names[0]}'.")
    return np.array([-1 if label is None else names.index(label) for label in labels], np.int64), names


def query(
    run: Run,
    images: Annotated[
        list[str], typer.Argument(metavar="IMG...", help="Files, folders, patterns or samples; commas separate too.")
    ],
    heads: Picked = None,
    count: Annotated[int, typer.Option("--topk", "-k", min=1, help="Neighbours.")] = 10,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write neighbours and maps there as PNG.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="Of the maps; see `xai methods`.")
    ] = CLUSTER_CAM,
    cam: Annotated[bool, typer.Option("--cam/--no-cam", help="Which places speak for the cluster.")] = True,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Words that set the cluster apart.")] = True,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="The pictures of the neighbours.")] = True,
    perf: Annotated[
        bool, typer.Option("--perf", help="Only clusters and neighbours, and the seconds they took.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the clusters and nearest neighbours of pictures; only these pictures go through the network."""
    from xai.cli.pictures import find_pictures, report_failures
    from xai.io.images import load_image
    from xai.scan.query import query as ask
    from xai.scan.run import open_run

    opened = open_run(run)
    picked = pick_heads(opened, heads)
    sources = find_pictures(_split_commas(images)).sources
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    told, failures = [], []
    ask(opened, opened.pictures("train")[0], heads=picked, count=1)  # networks and features are loaded from here on
    for source in sources:
        begun = time.perf_counter()
        try:
            image = load_image(source)
        except UserError as error:
            failures.append(f"{source}: {error}")
            continue
        answer = ask(opened, image, heads=picked, count=count)
        record = {"picture": str(source), **_as_json(answer)}
        if text and not perf:
            record["words"] = _words(opened, answer)
        if output is not None and not perf:
            record["files"] = _draw(opened, answer, image, output, cam=cam, plots=plots, method=method)
        record["seconds"] = time.perf_counter() - begun
        told.append(record)
        if not json:
            _print(record, perf=perf)
    if json:
        print_json(told)
    if failures and len(sources) == 1:
        raise UserError(failures[0].partition(": ")[2])
    report_failures(failures, len(sources))


def _split_commas(values: Sequence[str]) -> list[str]:
    """Take "a.png,b.png" apart, unless a file is called that."""
    return [part for value in values for part in ([value] if Path(value).exists() else value.split(",")) if part]


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "clusters": [
            {
                "head": each.head.name,
                "cluster": each.cluster,
                "probability": each.probability,
                "second": each.second,
                "second_probability": each.second_probability,
                "neighbours_in_cluster": each.shared,
            }
            for each in answer.heads
        ],
        "neighbours": [
            {"place": int(place), "name": name, "similarity": float(similarity)}
            | ({"label": answer.labels[rank]} if answer.labels else {})
            for rank, (place, name, similarity) in enumerate(
                zip(answer.neighbours, answer.names, answer.similarities, strict=True)
            )
        ],
        "similarity": answer.unlikeness.similarity,
        "unlike": answer.unlikeness.unlike,
        "sentence": answer.unlikeness.sentence,
        "query_seconds": answer.seconds,
    }


def _words(run: ScanRun, answer: Answer) -> dict[str, list[str]]:
    """Words that set the picture's clusters apart, by head; none where nothing is known of the training pictures."""
    from xai.scan.explain.survey import Survey, find_terms

    terms, found = find_terms(run), {}
    for each in answer.heads:
        words = Survey(run, each.head, terms).words[each.cluster]
        found[each.head.name] = [word.term for word in words[:5]]
    return found


def _draw(
    run: ScanRun, answer: Answer, image: Any, folder: Path, *, cam: bool, plots: bool, method: str
) -> dict[str, str]:
    """Write a map for each head, and the neighbours in a row."""
    import numpy as np

    from xai.io.files import save_png

    files, stem = {}, Path(image.name).stem
    if plots:
        pictures = run.pictures("train")
        row = np.concatenate([pictures[int(place)] for place in answer.neighbours], axis=1)
        path = folder / f"{stem}_neighbours.png"
        save_png(path, row)
        files["neighbours"] = str(path)
    for each in answer.heads if cam else ():
        path = folder / f"{stem}_{each.head.name}_{method}.png"
        map_cluster(run, each.head, image, method, cluster=each.cluster).save(path)
        files[each.head.name] = str(path)
    return files


def _print(record: dict[str, Any], *, perf: bool) -> None:
    print(record["picture"])
    rows = [
        (
            each["head"],
            each["cluster"],
            f"{each['probability']:.1%}",
            f"{each['second']} ({each['second_probability']:.1%})",
            f"{each['neighbours_in_cluster']:.0%}",
            ", ".join(record.get("words", {}).get(each["head"], [])),
        )
        for each in record["clusters"]
    ]
    print_table(("head", "cluster", "sure", "second", "neighbours", "words"), rows, right="cluster sure neighbours")
    near = [f"{each['name']} ({each['similarity']:.2f})" for each in record["neighbours"]]
    print(f"neighbours: {', '.join(near)}")
    print(record["sentence"])
    for path in record.get("files", {}).values():
        print(path)
    if perf:
        print(f"{record['query_seconds']:.4f} s for clusters and neighbours, {record['seconds']:.4f} s with reading")
    print(flush=True)


def choose_k(
    run: Run,
    sizes: Annotated[
        str, typer.Option("--range", metavar="LOW:HIGH|K,K,...", help="Numbers of clusters to try.")
    ] = "2:32",
    replicas: Annotated[int, typer.Option("--replicas", min=2, help="Heads of each size.")] = 3,
    epochs: Annotated[int, typer.Option("--epochs", "-e", min=1, help="On cached features.")] = 60,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare numbers of clusters without labels; nothing is written."""
    from dataclasses import asdict

    from xai.scan.choose_k import choose_k as compare
    from xai.scan.run import EMBEDDED

    folder = EMBEDDED if run == "embedded" else Path(run)
    with progress("Heads", quiet=quiet) as tell:
        found = compare(folder, parse_range(sizes), replicas=replicas, epochs=epochs, on_progress=tell)
    if json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (
            each.clusters,
            each.used,
            *(f"{value:.3f}" for value in (each.score, each.entropy, each.stability, each.silhouette)),
            f"{each.information:.2f}",
            f"{each.code_length:.2f}",
        )
        for each in found
    ]
    headings = ("clusters", "used", "score", "entropy", "stability", "silhouette", "shared", "code")
    print_table(headings, rows, right=" ".join(headings))
    if sys.stdout.isatty():
        say("score, code: less is better; stability, silhouette, shared bits: more; entropy far below 1: too many.")


def parse_range(text: str) -> tuple[int, ...]:
    """Read "4:64" as up to ten numbers from 4 to 64, each about as much larger than the one before, or a list.

    Raises:
        UserError: it is neither.
    """
    if ":" not in text:
        return parse_heads(text)
    low, _, high = text.partition(":")
    if not (low.isdecimal() and high.isdecimal() and 2 <= int(low) < int(high)):
        raise UserError(f"--range takes LOW:HIGH from 2 on, such as 4:64, or a list such as 5,10,20, not {text!r}.")
    sizes, last = [int(low)], int(high)
    for left in range(min(10, last - sizes[0] + 1) - 1, 0, -1):
        sizes.append(max(sizes[-1] + 1, round(sizes[-1] * (last / sizes[-1]) ** (1 / left))))
    return tuple(sizes)
