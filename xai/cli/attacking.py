"""The command that attacks pictures: a change too small to see, and what the network says then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.comparing import DRAWN
from xai.cli.network import announce, load_network
from xai.cli.options import DrawingOptions, Json, NetworkOptions, Pictures, Quiet, Resize, RunOptions
from xai.cli.pictures import PictureList, Source, check_resize, find_pictures, report_failures, run_over
from xai.cli.results import Destination, write_figure, write_picture, write_table
from xai.cli.several import find_again
from xai.cli.text import print_json, print_table, progress
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.attacks import Attack
    from xai.model import Model
    from xai.spec import RunSpec

Record = dict[str, Any]


@dataclass(frozen=True)
class AttackOptions:
    """How pictures are attacked, and where the results go."""

    img: Pictures = None
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Figure to write (.png, .jpg).")] = (
        "fgsm.png"
    )
    epsilon: Annotated[
        str | None,
        typer.Option("--epsilon", metavar="SIZE", help="Largest change, 2/255 or 0.008; for --sweep also a list."),
    ] = None
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="INT|NAME", help="Class to reach (default: any other).")
    ] = None
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Take many small steps (PGD) instead of one.")
    ] = None
    sweep: Annotated[bool, typer.Option("--sweep", help="Show accuracy and confidence up to epsilon (8/255).")] = False
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="INT,INT", help="True classes of the pictures, for --sweep.")
    ] = None
    layer: Annotated[str | None, typer.Option("--layer", "-l", metavar="NAME", help="For the maps.")] = None
    explain_with: Annotated[
        str | None, typer.Option("--explain-with", metavar="KEY", help="Method of the maps (default: grad_cam).")
    ] = None
    resize: Resize = None
    seed: Annotated[int, typer.Option("--seed", help="Of every random choice.")] = 0
    json: Json = False
    quiet: Quiet = False

    def asked(self) -> Record:
        """Return the options of `attack_sweep` or `attack`.

        Raises:
            UserError: an option has no such value, or does not go with the others.
        """
        sizes = None if self.epsilon is None else [read_epsilon(part) for part in self.epsilon.split(",")]
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps takes a number from 1, not {self.steps}.")
        asked: Record = {"method": "fgsm" if self.steps is None else "pgd", "steps": self.steps or 1}
        asked |= {"target": self.target, "seed": self.seed, "resize": check_resize(self.resize)}
        if self.sweep:
            stray = [name for name in ("layer", "explain_with") if getattr(self, name) is not None]
            if stray:
                raise UserError(f"A sweep makes no maps; leave out --{stray[0].replace('_', '-')}.")
            labels = None if self.labels is None else self.labels.split(",")
            return {**asked, "epsilons": _spread(sizes), "labels": labels}
        if self.labels is not None:
            raise UserError("--labels says nothing without --sweep.")
        if sizes is not None and len(sizes) > 1:
            raise UserError(f"--epsilon takes one size, not {len(sizes)}; a list is for --sweep.")
        asked |= {"layer": self.layer, "explain_with": self.explain_with or "grad_cam"}
        return asked if sizes is None else {**asked, "epsilon": sizes[0]}


def fgsm(run: AttackOptions, network: NetworkOptions, drawing: DrawingOptions) -> None:
    """Change pictures a little so that the network says something else: FGSM, or PGD with --steps.

    Writes a figure (pictures, change, maps before and after) and the changed picture itself (_picture.png, as the
    network sees it, in 8 bits), or with --sweep the curves and a table (.csv), with a record (.json) beside it.
    """
    pictures = find_pictures(run.img)
    asked, given = run.asked(), check_drawn(drawing.given(), sweep=run.sweep)
    where = Destination(run.output, pictures.sources, many=len(pictures) > 1 and not run.sweep)
    model = load_network(network, quiet=run.quiet, announced=False)
    if not run.sweep:
        _attack_all(where, model, pictures, asked, given, run, chosen=network.model is not None)
        return
    record = write_sweep(where, model, pictures.sources, asked, quiet=run.quiet)
    announce(model, chosen=network.model is not None)
    show_sweep(record, as_json=run.json)


def read_epsilon(text: str) -> float:
    """Read a size: a number from 0 to 1, or a fraction such as 2/255.

    Raises:
        UserError: it is neither.
    """
    top, _, bottom = text.partition("/")
    try:
        value = float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 <= value <= 1:
        raise UserError(f"--epsilon takes a share of the range of pixels, such as 2/255 or 0.008, not {text!r}.")
    return value


def check_drawn(drawing: Mapping[str, Any], *, sweep: bool) -> Record:
    """Return drawing options that an attack has; refuse others."""
    extra = [f"--{name.replace('_', '-')}" for name in drawing if sweep or name not in DRAWN]
    if extra:
        raise UserError(f"{'A sweep' if sweep else 'An attack'} has no {extra[0]}; leave it out.")
    return dict(drawing)


def _spread(sizes: list[float] | None) -> list[float]:
    """Return the sizes of a sweep: those given, or several up to the only one."""
    from xai.sweeps import sweep_epsilons

    if sizes is None:
        return sweep_epsilons()
    return sizes if len(sizes) > 1 else sweep_epsilons(sizes[0])


def _attack_all(
    where: Destination,
    model: Model,
    pictures: PictureList,
    asked: Mapping[str, Any],
    drawing: Mapping[str, Any],
    run: AttackOptions,
    *,
    chosen: bool,
) -> None:
    from xai.attacks import attack
    from xai.figures.style import find_colormap
    from xai.registry import find_method

    method = find_method(asked["explain_with"])
    find_colormap(drawing.get("colormap"), signed=method.is_signed(method.defaults))
    announce(model, chosen=chosen)
    records: list[Record] = []

    def keep(source: Source, made: Attack) -> None:
        records.append(write_attack(where, source, made, drawing))

    with progress("Attacking", quiet=run.quiet or len(pictures) > 1) as tell:
        failures = run_over(
            pictures,
            lambda images: [
                attack(model, each, on_progress=lambda part, _: tell(part, ""), **asked) for each in images
            ],
            keep,
            label="Attacking",
            quiet=run.quiet,
        )
    show_attacks(model, records, failures, as_json=run.json)
    report_failures(failures, len(pictures))


def write_attack(where: Destination, source: Source, made: Attack, drawing: Mapping[str, Any]) -> Record:
    """Draw and write an attack and the changed picture; return what there is to say about it."""
    from xai.figures.attacks import to_bytes

    spec = replace(made.spec, drawing=dict(drawing))
    path = where.place(Path(made.image.name).stem, made.method, spec)
    write_figure(path, made.figure(**drawing))
    picture = path.with_name(f"{path.stem}_picture.png")
    write_picture(picture, to_bytes(made.changed.transpose(1, 2, 0)))
    spec.save(path.with_suffix(".json"))
    said = {"before": made.before, "after": made.after}
    return {
        "picture": str(source),
        "output": str(path),
        "changed_picture": str(picture),
        "spec": str(path.with_suffix(".json")),
        "method": made.method,
        "epsilon": made.epsilon,
        "success": made.success,
        "verdict": made.verdict,
        **{when: [{"name": n, "probability": p, "index": i} for n, p, i in classes] for when, classes in said.items()},
    }


def show_attacks(model: Model, records: Sequence[Record], failures: Sequence[str] = (), *, as_json: bool) -> None:
    """Print what was written about attacks."""
    if as_json:
        about = {"model": model.name, "weights": model.weights, "weights_digest": model.weights_digest}
        print_json({**about, "results": records, "skipped": list(failures)})
        return
    for record in records:
        first, last = record["before"][0], record["after"][0]
        print(
            f"{record['output']}: {first['name']} {first['probability']:.1%} -> {last['name']} "
            f"{last['probability']:.1%}. {record['verdict']}"
        )


def write_sweep(
    where: Destination, model: Model, sources: Sequence[Source], asked: Mapping[str, Any], *, quiet: bool = False
) -> Record:
    """Sweep, draw and write; return what there is to say about it."""
    from xai.attacks import attack_of
    from xai.sweeps import attack_sweep

    with progress("Sweep", quiet=quiet) as tell:
        made = attack_sweep(model, sources, on_progress=lambda fraction, _: tell(fraction, ""), **asked)
    path = where.place(Path(made.spec.image).stem, f"{attack_of(made.spec)}_sweep", made.spec)
    write_figure(path, made.figure())
    write_table(path.with_suffix(".csv"), made.table)
    made.spec.save(path.with_suffix(".json"))
    beside = {"output": path, "table": path.with_suffix(".csv"), "spec": path.with_suffix(".json")}
    about = {"model": model.name, "weights": model.weights, "weights_digest": model.weights_digest}
    rows = made.table.to_dict("records")
    return {**about, **{name: str(file) for name, file in beside.items()}, "pictures": len(sources), "rows": rows}


def show_sweep(record: Record, *, as_json: bool) -> None:
    """Print what was written about a sweep."""
    if as_json:
        print_json(record)
        return
    from xai.attacks import format_epsilon

    rows = [
        (format_epsilon(row["epsilon"]), *(f"{row[name]:.1%}" for name in ("accuracy", "confidence", "success")))
        for row in record["rows"]
    ]
    headings = ("epsilon", "accuracy", "confidence", "success")
    print_table(headings, rows, right=" ".join(headings))
    print(record["output"])


def remake_attack(spec: RunSpec, model: Model, run: RunOptions, folder: Path, drawing: Mapping[str, Any]) -> None:
    """Make an attack or a sweep again from its spec."""
    from xai.attacks import attack, read_options

    asked = read_options(spec)
    sweep = "epsilons" in asked
    drawn = check_drawn(drawing, sweep=sweep)
    sources = find_again(spec, run.img, folder)
    where = Destination(run.output, sources)
    if not sources:
        raise UserError("The spec names no picture; say where it is: --img FILE.")
    if sweep:
        show_sweep(write_sweep(where, model, sources, asked, quiet=run.quiet), as_json=run.json)
        return
    with progress("Attacking", quiet=run.quiet) as tell:
        made = attack(model, sources[0], on_progress=lambda fraction, _: tell(fraction, ""), **asked)
    show_attacks(model, [write_attack(where, sources[0], made, drawn)], as_json=run.json)
