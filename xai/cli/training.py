"""The command that trains a classifier on labelled pictures, goes on with a run, and measures a trained one."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import read_class_names
from xai.cli.options import Json, Quiet
from xai.cli.text import print_json, progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.training.session import Outcome

_RUN, _RECIPE, _LOOK = "Run", "Recipe", "Augmentation"


def _option(panel: str, *names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


@dataclass(frozen=True)
class RecipeOptions:
    """The fields of a recipe; None where the user said nothing."""

    epochs: Annotated[int | None, _option(_RECIPE, "--epochs", "-e", help="Passes over the pictures (25).")] = None
    batch_size: Annotated[int | None, _option(_RECIPE, "--batch-size", "-b", help="Pictures per step (64).")] = None
    learning_rate: Annotated[
        float | None, _option(_RECIPE, "--learning-rate", "--lr", help="Highest rate (0.1; 0.01 on given weights).")
    ] = None
    schedule: Annotated[
        str | None, _option(_RECIPE, "--schedule", metavar="NAME", help="one-cycle (default), cosine or constant.")
    ] = None
    warmup: Annotated[float | None, _option(_RECIPE, "--warmup", metavar="SHARE", help="Of the steps.")] = None
    optimizer: Annotated[str | None, _option(_RECIPE, "--optimizer", metavar="sgd|adamw", help="sgd.")] = None
    momentum: Annotated[float | None, _option(_RECIPE, "--momentum", help="Of sgd (0.9).")] = None
    weight_decay: Annotated[float | None, _option(_RECIPE, "--weight-decay", help="On kernels only (0.0005).")] = None
    label_smoothing: Annotated[float | None, _option(_RECIPE, "--label-smoothing", help="In 0..1 (0.1).")] = None
    ema: Annotated[float | None, _option(_RECIPE, "--ema", help="Decay of averaged weights (0.999); 0: off.")] = None
    freeze: Annotated[bool | None, _option(_RECIPE, "--freeze/--no-freeze", help="Train the last layer alone.")] = None
    distill: Annotated[
        float | None, _option(_RECIPE, "--distill", metavar="SHARE", help="Weight of the teacher in the loss (0.5).")
    ] = None
    temperature: Annotated[float | None, _option(_RECIPE, "--temperature", help="Of the teacher (2).")] = None
    teacher_size: Annotated[int | None, _option(_RECIPE, "--teacher-size", help="What the teacher sees (224).")] = None
    seed: Annotated[int | None, _option(_RECIPE, "--seed", help="Of every random choice (0).")] = None
    size: Annotated[
        int | None, _option(_LOOK, "--size", metavar="PIXELS", help="Side of the pictures (the network's own).")
    ] = None
    resize: Annotated[
        int | None, _option(_LOOK, "--resize", metavar="PIXELS", help="Shorter side before the centre crop of --size.")
    ] = None
    train_size: Annotated[
        int | None, _option(_LOOK, "--train-size", metavar="PIXELS", help="Side in the last epochs (--size).")
    ] = None
    start_size: Annotated[
        int | None,
        _option(_LOOK, "--start-size", metavar="PIXELS", help="Side in the first epoch (--train-size)."),
    ] = None
    crop_scale: Annotated[
        float | None, _option(_LOOK, "--crop-scale", metavar="SHARE", help="Smallest area of a random crop (0.35).")
    ] = None
    flip: Annotated[bool | None, _option(_LOOK, "--flip/--no-flip", help="Mirror half of the pictures.")] = None
    mixup: Annotated[float | None, _option(_LOOK, "--mixup", metavar="ALPHA", help="Mix pairs (0: off).")] = None
    randaugment: Annotated[
        int | None, _option(_LOOK, "--randaugment", metavar="N", help="Random operations per picture (0).")
    ] = None
    magnitude: Annotated[float | None, _option(_LOOK, "--magnitude", help="Their strength in 0..1 (0.3).")] = None

    def given(self) -> dict[str, Any]:
        """What the user said, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def train(
    recipe: RecipeOptions,
    data: Annotated[
        str | None,
        _option(_RUN, "--data", metavar="DIR|NAME", help="Folder with one folder per class; or such as CIFAR10."),
    ] = None,
    model: Annotated[
        str | None, _option(_RUN, "--model", "-m", metavar="NAME", help="See `xai models`, or package.module:function.")
    ] = None,
    weights: Annotated[
        str | None,
        _option(_RUN, "--weights", "-w", metavar="NAME|FILE|none", help="What to start from (none: random)."),
    ] = None,
    output: Annotated[Path | None, _option(_RUN, "--output", "-o", metavar="RUN", help="Folder of a new run.")] = None,
    resume: Annotated[Path | None, _option(_RUN, "--resume", metavar="RUN", help="Go on with a run.")] = None,
    evaluate: Annotated[
        str | None,
        _option(_RUN, "--evaluate", metavar="MODEL", help="Only measure a model on --data."),
    ] = None,
    time_budget: Annotated[
        str | None, _option(_RUN, "--time-budget", metavar="TIME", help="Stop and save after 90s, 45m or 2h.")
    ] = None,
    classes: Annotated[
        Path | None, _option(_RUN, "--classes", metavar="FILE", help="Keep only the classes on its lines.")
    ] = None,
    validation_share: Annotated[
        float, _option(_RUN, "--validation-share", metavar="SHARE", help="Held out where the folder has no val/.")
    ] = 0.1,
    measured: Annotated[int, _option(_RUN, "--measured", min=1, help="Pictures measured after each epoch.")] = 2000,
    teacher: Annotated[
        str | None, _option(_RUN, "--teacher", metavar="NAME:FILE", help="Learn from this network too (see --distill).")
    ] = None,
    half: Annotated[bool, _option(_RUN, "--half/--no-half", help="Keep the final weights in 16 bits.")] = False,
    memory: Annotated[float, _option(_RUN, "--memory", metavar="GB", min=0, help="Decoded pictures to hold.")] = 4.0,
    device: Annotated[str, _option(_RUN, "--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")] = "auto",
    threads: Annotated[int | None, _option(_RUN, "--threads", min=1, help="Of the CPU (all cores).")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on a folder of labelled pictures; a stopped or killed run goes on with --resume."""
    ways = [name for name, given in (("--output", output), ("--resume", resume), ("--evaluate", evaluate)) if given]
    if len(ways) != 1:
        raise UserError("Give one of --output RUN (new), --resume RUN (go on) or --evaluate MODEL (only measure).")
    if evaluate is not None:
        held = {"validation_share": validation_share, "memory": memory * 1e9, "device": device}
        _evaluate(evaluate, _data(data, quiet), classes=read_class_names(classes), **held, json=json, quiet=quiet)
        return
    seconds = parse_time(time_budget) if time_budget else None

    from xai.training.session import resume as go_on
    from xai.training.session import start

    more: dict[str, Any] = {"device": device, "memory": memory * 1e9}
    with stopping(seconds) as stop, training_progress(quiet) as tell:
        more |= {"stop": stop, "on_progress": tell}
        if resume is not None:
            outcome = go_on(resume, **more)
        else:
            assert output is not None
            outcome = start(
                _data(data, quiet),
                _needed("--model", model),
                output,
                _recipe(recipe, model, weights, teacher),
                weights=None if weights == "none" else weights,
                teacher=_split_teacher(teacher),
                classes=read_class_names(classes),
                validation_share=validation_share,
                measured=measured,
                half=half,
                threads=threads,
                **more,
            )
    _tell(outcome, json=json)


def parse_time(text: str) -> float:
    """Read a time such as 90, 90s, 45m, 2h or 1.5h as seconds.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise UserError(f"--time-budget takes a time such as 90s, 45m or 2h, not {text!r}.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _needed(flag: str, value: Any) -> Any:
    if value is None:
        raise UserError(f"{flag} is missing; see `xai train --help`.")
    return value


def _data(data: str | None, quiet: bool) -> Path:
    from xai.io.torchvision_sets import data_folder

    with progress("Pictures", quiet=quiet) as tell:
        return data_folder(_needed("--data", data), tell)


def _recipe(options: RecipeOptions, model: str | None, weights: str | None, teacher: str | None) -> Any:
    from xai.training.recipe import Recipe

    given = options.given()
    if "size" not in given:
        from xai.io.models import MODELS

        entry = MODELS.get(model or "")
        given["size"] = entry.preset(entry.default_weights).fmt.size[0] if entry else 224
    if weights not in (None, "none"):
        given.setdefault("learning_rate", 0.01)
    if teacher is not None:
        given.setdefault("distill", 0.5)
    elif given.get("distill"):
        raise UserError("--distill needs a network to learn from: name it with --teacher NAME:FILE.")
    return Recipe(**given)


def _split_teacher(teacher: str | None) -> tuple[str, str] | None:
    if teacher is None:
        return None
    name, _, weights = teacher.partition(":")
    return name, weights or "default"


@contextmanager
def stopping(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """Give a function that says when to stop: the time is over, Ctrl-C (once; twice ends at once) or SIGTERM."""
    end = None if seconds is None else time.monotonic() + seconds
    asked = False

    def ask(number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("Stopping after this step; once more to end at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked or (end is not None and time.monotonic() > end)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def training_progress(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal; elsewhere a line a minute, so that a log tells how far a run is."""
    said = time.monotonic()
    with progress("Training", quiet=quiet) as bar:

        def tell(fraction: float, sentence: str) -> None:
            nonlocal said
            bar(fraction, sentence)
            if not quiet and not sys.stderr.isatty() and time.monotonic() - said > 60:
                said = time.monotonic()
                say(f"{fraction:.1%}  {sentence}")

        yield tell


def _tell(outcome: Outcome, *, json: bool) -> None:
    folder, measured = outcome.folder, outcome.evaluation
    if json:
        told = {"run": str(folder), "finished": outcome.finished, "skipped": outcome.skipped}
        if measured is not None:
            told |= {"pictures": measured.pictures, "top1": measured.top1, "top5": measured.top5}
        print_json(told)
    elif measured is None:
        print(f"Stopped and saved; go on with: xai train --resume {folder}")
    else:
        print(_measures(measured))
        print(f"{folder / 'model.json'}")
    if outcome.skipped:
        say(f"{outcome.skipped} picture(s) could not be read and were left out: see {folder / 'skipped.csv'}.")


def _measures(measured: Any) -> str:
    return f"top-1 {measured.top1:.2%}, top-5 {measured.top5:.2%} on {measured.pictures:,} validation pictures"


def _evaluate(source: str, data: Path, *, json: bool, quiet: bool, **options: Any) -> None:
    from xai.training.report import summarise
    from xai.training.session import measure

    with progress("Measuring", quiet=quiet) as tell:
        found = measure(source, data, **options, on_progress=tell)
    model, measured = found.model, found.evaluation
    if json:
        told = {"model": model.title, "skipped": found.skipped, "unknown": found.unknown}
        print_json({**told, **summarise(measured, model.class_names)})
        return
    print(f"{model.title}: {_measures(measured)}")
    for true, said, count in measured.confused():
        print(f"  {count:4} x {model.class_names[true]} taken for {model.class_names[said]}")
    if found.unknown:
        say(f"{len(found.unknown)} class(es) of the folder are unknown to it and were left out.")
    if found.skipped:
        say(f"{found.skipped} picture(s) could not be read and were left out.")
