"""The commands around the course report: grade it, write its generated parts, make its figures again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import load_network
from xai.cli.options import Json, NetworkOptions, Quiet
from xai.cli.text import print_json, print_table, progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.report.recompute import Recomputed
    from xai.report.rubric import Graded

PICTURES = "pictures"  # folder of a report's own photographs
Root = Annotated[Path, typer.Argument(metavar="[ROOT]", help="Folder with README.md, notebooks/ and exported_html/.")]


def check(root: Root = Path("."), json: Json = False) -> None:
    """Grade a report as its reader would: every check with what is wrong, file and line.

    Ends with exit code 1 when something is wrong.
    """
    from xai.report.rubric import grade

    graded = grade(root)
    if json:
        print_json({"passed": all(each.passed for each in graded), "checks": [_describe(each) for each in graded]})
    else:
        _show(graded)
    if not all(each.passed for each in graded):
        raise typer.Exit(1)


def _describe(graded: Graded) -> dict[str, Any]:
    found = [{"file": each.file, "line": each.line or None, "sentence": each.sentence} for each in graded.findings]
    return {"id": graded.check.id, "what": graded.check.what, "passed": graded.passed, "findings": found}


def _show(graded: Sequence[Graded]) -> None:
    for each in graded:
        print(f"{'pass' if each.passed else 'FAIL'}  {each.check.id:<6} {each.check.what}")
        for finding in each.findings:
            print(f"      {finding}")
    passed = sum(each.passed for each in graded)
    print(f"{passed} of {len(graded)} checks pass.")


def build(
    network: NetworkOptions,
    root: Root = Path("."),
    measure: Annotated[
        bool, typer.Option("--measure", help="First measure with the network, and draw the figures: takes minutes.")
    ] = False,
    img: Annotated[
        list[str] | None, typer.Option("--img", "-i", metavar="FILE", help="Photographs to measure with.")
    ] = None,
    accuracy: Annotated[
        str | None, typer.Option("--accuracy", metavar="SENTENCE", help="As measured, for weights from a file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the generated parts of README.md anew, from the registry and from what was measured."""
    from xai.report.build import build_report

    if measure:
        _measure(root, network, img, accuracy, quiet=quiet)
    elif any(value is not None for value in (network.model, network.weights, img, accuracy)):
        raise UserError("A network and photographs are only asked with --measure.")
    built = build_report(root)
    changed = f"changed: {', '.join(built.changed)}" if built.changed else "none changed"
    print(f"{root / 'README.md'}: {len(built.parts)} generated parts, {changed}.")


def _measure(
    root: Path, network: NetworkOptions, img: Sequence[str] | None, accuracy: str | None, *, quiet: bool
) -> None:
    from xai.report.blocks import find_blocks
    from xai.report.measure import measure_report
    from xai.report.project import Project

    pictures = report_pictures(root, img)
    model = load_network(network, quiet=quiet)
    clusters = any(block.name == "figures clusters" for block in find_blocks(Project.read(root).readme.lines))
    with progress("Measuring", quiet=quiet) as tell:
        measure_report(root, model, pictures, accuracy=accuracy, clusters=clusters, on_progress=tell)


def report_pictures(root: Path, img: Sequence[str] | None) -> list[str | Path]:
    """List the photographs of a report: those named, those in its folder pictures/, or the samples."""
    from xai.cli.pictures import find_pictures
    from xai.report.subjects import SAMPLES_SHOWN

    if img:
        return list(find_pictures(img).sources)
    own = sorted(path for path in (root / PICTURES).rglob("*") if path.is_file() and not path.name.startswith("."))
    return [*own] or list(SAMPLES_SHOWN)


def recompute(network: NetworkOptions, root: Root = Path("."), json: Json = False, quiet: Quiet = False) -> None:
    """Make every figure again from the RunSpec beside it, and compare numbers, map and picture.

    Ends with exit code 1 when one differs; figures made with other weights are listed as such.
    """
    from xai.report.recompute import DIFFERENT, OTHER, SAME
    from xai.report.recompute import recompute as make_again

    model = load_network(network, quiet=quiet)
    with progress("Figures", quiet=quiet) as tell:
        made = list(make_again(root, model, on_progress=tell))
    if json:
        print_json({"model": model.title, "figures": [vars(each) for each in made]})
    else:
        print_table(("figure", "state", "values", "pixels", "what differs"), [_row(each) for each in made])
        counts = ", ".join(f"{sum(each.state == state for each in made)} {state}" for state in (SAME, DIFFERENT, OTHER))
        say(f"{len(made)} figures: {counts}.")
    if any(each.state == DIFFERENT for each in made):
        raise typer.Exit(1)


def _row(made: Recomputed) -> tuple[str, ...]:
    values = "-" if made.values is None else f"{made.values:.1e}"
    pixels = "-" if made.pixels is None else f"{made.pixels:.2%}"
    return made.name, made.state, values, pixels, made.sentence


def init(
    network: NetworkOptions,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    img: Annotated[
        list[str] | None,
        typer.Option("--img", "-i", metavar="FILE", help="Photographs, folders, patterns; a folder may name a class."),
    ] = None,
    accuracy: Annotated[
        str | None, typer.Option("--accuracy", metavar="SENTENCE", help="Of your network, as you measured it.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Begin a report about your own network and photographs: all that can be computed is filled in.

    `xai report check DIR` then tells what is left to write.
    """
    from xai.cli.pictures import find_pictures
    from xai.report.build import build_report
    from xai.report.measure import measure_report
    from xai.report.skeleton import start_report

    sources = [source for source in find_pictures(img).sources if isinstance(source, Path)]
    if not sources:
        raise UserError("A report of your own needs photographs of your own: give --img with files or folders.")
    model = load_network(network, quiet=quiet)
    name, weights = network.model, network.weights
    if name is None:
        name, weights = model.name, model.weights if model.trained else "none"
    copies = start_report(folder, sources, model=name, weights=weights)
    with progress("Measuring", quiet=quiet) as tell:
        measure_report(folder, model, copies, accuracy=accuracy, on_progress=tell)
    built = build_report(folder)
    print(f"{folder / 'README.md'}: {len(built.parts)} generated parts from {len(copies)} photographs.")
    print(f"Execute the notebook: xai notebooks --from {folder / 'notebooks'} --output {folder / 'exported_html'}")
    print(f"What is left to do: xai report check {folder}")
