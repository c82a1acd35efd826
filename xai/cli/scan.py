"""The commands that make clustering runs: train, go on, look how far one is, add heads, move runs in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.options import Json, Quiet
from xai.cli.text import print_json, print_table, say
from xai.cli.training import parse_time, stopping, training_progress
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.scan.config import ScanConfig
    from xai.scan.runner import Outcome

Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or 'embedded' for the one that ships.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Heads = Annotated[
    str | None, typer.Option("--heads", "-c", metavar="K,K,...", help="Numbers of clusters, such as 5,20,100.")
]
Budget = Annotated[
    str | None, typer.Option("--time-budget", metavar="TIME", help="Stop and save after 90s, 45m or 2h.")
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="ENTRY=VALUE", help="Any entry of run.json, such as pretext.rate=0.001; repeatable."),
]


def train(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the new run.")],
    preset: Annotated[
        str, typer.Option("--preset", "-p", metavar="NAME", help="What to start from: `xai scan presets` lists them.")
    ] = "pictures",
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", metavar="DIR|NAME|FILE", help="A folder, a set such as CIFAR10, .npz/.npy, or glyphs."
        ),
    ] = None,
    heads: Heads = None,
    replicas: Annotated[int | None, typer.Option("--replicas", min=1, help="Heads of each size.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", min=1, help="Of the pretext task.")] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="PIXELS", help="Side of the working pixels.")] = None,
    architecture: Annotated[
        str | None,
        typer.Option("--architecture", "-a", metavar="NAME", help="micro, tiny, resnet18-32, resnet18-96 ..."),
    ] = None,
    neighbours: Annotated[int | None, typer.Option("--neighbours", min=1, help="Mined for each picture.")] = None,
    labels: Annotated[
        bool | None, typer.Option("--labels/--no-labels", help="Read labels from folders, to measure with.")
    ] = None,
    fine_tune: Annotated[bool, typer.Option("--fine-tune/--no-fine-tune", help="Heads and network together.")] = True,
    self_label: Annotated[bool, typer.Option("--self-label/--no-self-label", help="Behind a gate.")] = True,
    seed: Annotated[int | None, typer.Option("--seed", help="Of every random choice.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Of the CPU.")] = None,
    settings: Settings = None,
    time_budget: Budget = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cluster pictures without labels: pretext task, neighbours, heads, fine-tuning, self-labelling."""
    from dataclasses import replace

    from xai.scan.presets import find_preset
    from xai.scan.runner import start

    config = find_preset(preset)
    entries: dict[str, Any] = {
        "data": data,
        "size": size,
        "architecture": architecture,
        "neighbours": neighbours,
        "seed": seed,
    }
    entries |= {"threads": threads, "labels": None if labels is None else "auto" if labels else "none"}
    config = replace(config, **{name: value for name, value in entries.items() if value is not None})
    if epochs is not None and config.pretext is not None:
        config = replace(config, pretext=replace(config.pretext, epochs=epochs))
    config = _with_heads(config, heads, replicas, fine_tune, self_label)
    config = _with_settings(config, settings)
    with stopping(parse_time(time_budget) if time_budget else None) as stop, training_progress(quiet) as tell:
        outcome = start(config, output, device=device, stop=stop, on_progress=tell)
    _tell(outcome, json=json)


def _with_heads(
    config: ScanConfig, heads: str | None, replicas: int | None, fine_tune: bool, self_label: bool
) -> ScanConfig:
    from dataclasses import replace

    changes: dict[str, Any] = {"heads": parse_heads(heads) if heads else None, "replicas": replicas}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= ({} if fine_tune else {"finetune": None}) | ({} if self_label else {"selflabel": None})
    return replace(config, groups=tuple(replace(group, **changes) for group in config.groups))


def _with_settings(config: ScanConfig, settings: Sequence[str] | None) -> ScanConfig:
    from xai.scan.config import changed

    for setting in settings or ():
        path, sign, value = setting.partition("=")
        if not sign:
            raise UserError(f"--set takes ENTRY=VALUE, such as pretext.rate=0.001, not {setting!r}.")
        config = changed(config, path, value)
    return config


def parse_heads(text: str) -> tuple[int, ...]:
    """Read numbers of clusters such as "5,20,100".

    Raises:
        UserError: one of them is no whole number from 2 on, or is there twice.
    """
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--heads takes numbers with commas, such as 5,20,100, not {text!r}.") from None
    if min(sizes) < 2 or len(set(sizes)) < len(sizes):
        raise UserError(f"--heads takes different numbers from 2 on, not {text!r}.")
    return sizes


def resume(
    run: RunFolder,
    time_budget: Budget = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped or killed, exactly where its last checkpoint is."""
    from xai.scan.runner import resume as go_on

    with stopping(parse_time(time_budget) if time_budget else None) as stop, training_progress(quiet) as tell:
        outcome = go_on(run, device=device, stop=stop, on_progress=tell)
    _tell(outcome, json=json)


def _tell(outcome: Outcome, *, json: bool) -> None:
    for note in outcome.notes:
        say(note)
    if json:
        print_json({"run": str(outcome.folder), "finished": outcome.finished, "notes": list(outcome.notes)})
    elif outcome.finished:
        print(f"Finished; look at it with: xai scan evaluate {outcome.folder}")
    else:
        print(f"Stopped and saved; go on with: xai scan resume {outcome.folder}")


def status(run: Run = "embedded", json: Json = False) -> None:
    """Tell how far a run is, what it measured, and about how long the rest takes."""
    from xai.scan.status import read_status

    found = read_status(run)
    if json:
        print_json(found)
        return
    print(f"{found['run']}: {found['preset']} on {found['data']}, {found['architecture']}")
    rows = []
    for stage in found["stages"]:
        facts = ", ".join(f"{name} {value:.3g}" for name, value in stage["facts"].items())
        rows.append(
            (stage["name"], f"{stage['epoch']}/{stage['epochs']}", stage["state"], f"{stage['seconds']:.0f}", facts)
        )
    print_table(("stage", "epochs", "state", "seconds", "measured"), rows, right="epochs seconds")
    if found["seconds_left"] is not None:
        print(f"About {found['seconds_left']:.0f} s of training are left.")
    for note in found["notes"]:
        say(note)


def presets(json: Json = False) -> None:
    """List what `xai scan train --preset` takes."""
    from xai.scan.presets import PRESETS

    if json:
        print_json({name: {"about": preset.about, **preset.config.as_json()} for name, preset in PRESETS.items()})
        return
    print_table(("preset", "what it does"), [(name, preset.about) for name, preset in PRESETS.items()])


def retrain_heads(
    run: Run,
    heads: Annotated[str, typer.Option("--heads", "-c", metavar="K,K,...", help="New numbers of clusters.")],
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Heads of each size.")] = 5,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", min=1, help="On cached features.")] = None,
    fine_tune: Annotated[
        bool, typer.Option("--fine-tune/--no-fine-tune", help="Train a copy of the network with them too.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Copy the run there first; needed for embedded."),
    ] = None,
    time_budget: Budget = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add heads of other sizes to a finished run, on the features that it has; `xai scan query` then knows them."""
    from xai.scan.moving import add_heads
    from xai.scan.runner import resume as go_on

    folder = add_heads(run, parse_heads(heads), replicas=replicas, epochs=epochs, fine_tune=fine_tune, output=output)
    with stopping(parse_time(time_budget) if time_budget else None) as stop, training_progress(quiet) as tell:
        outcome = go_on(folder, device=device, stop=stop, on_progress=tell)
    _tell(outcome, json=json)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights (.safetensors, .pth), features (.npz, .npy).")],
    data: Annotated[str, typer.Option("--data", "-d", metavar="DIR|NAME|FILE", help="As for `xai scan train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the new run.")],
    architecture: Annotated[
        str, typer.Option("--architecture", "-a", metavar="NAME", help="That the weights belong to.")
    ] = "resnet50",
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="PIXELS", help="Side of the working pixels: 224, or 64 where features come."),
    ] = None,
    heads: Annotated[str, typer.Option("--heads", "-c", metavar="K,K,...", help="Numbers of clusters.")] = "10",
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Heads of each size.")] = 10,
    fine_tune: Annotated[bool, typer.Option("--fine-tune/--no-fine-tune", help="Train the network too.")] = False,
    settings: Settings = None,
    time_budget: Budget = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Start a run from weights that were trained elsewhere, or from features, in place of a pretext task."""
    from dataclasses import replace

    from xai.scan.given import are_features
    from xai.scan.presets import find_preset
    from xai.scan.runner import start

    config = replace(
        find_preset("pictures"),
        preset="import",
        data=data,
        size=size or (64 if are_features(str(file)) else 224),
        architecture=architecture,
        space="backbone",
        start=str(file.resolve()),
        pretext=None,
    )
    config = _with_heads(config, heads, replicas, fine_tune, fine_tune)
    config = _with_settings(config, settings)
    with stopping(parse_time(time_budget) if time_budget else None) as stop, training_progress(quiet) as tell:
        outcome = start(config, output, device=device, stop=stop, on_progress=tell)
    _tell(outcome, json=json)


def export(
    run: Run,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR|FILE.npz", help="Where to.")],
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="NAME", help="Write this head as a classifier that --model takes everywhere."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run without what only training needs, one head as a model file, or all arrays as .npz."""
    from xai.scan.moving import export_arrays, export_head, export_run

    if output.suffix == ".npz":
        written = export_arrays(run, output)
    elif head is not None:
        written = export_head(run, head, output)
    else:
        written = export_run(run, output)
    total = sum(path.stat().st_size for path in written)
    if json:
        print_json({"files": [str(path) for path in written], "bytes": total})
    else:
        print(f"{len(written)} file(s), {total / 1e6:.2f} MB: {output}")
