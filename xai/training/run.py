"""A training run in a folder: what it was told, what it measured, and how it starts, stops and goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from xai.errors import UserError
from xai.io.datasets import LabelledPictures
from xai.io.files import quoted, write_atomic
from xai.io.model_files import RUN_FILE
from xai.training.checkpoint import CHECKPOINT
from xai.training.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """All that a run was told; `--resume` reads it back.

    Attributes:
        data: folder of the pictures, absolute.
        model: name of the architecture.
        weights: what it started from; None for random weights.
        teacher: (model, weights) to learn from, or None.
        classes: the ones that are kept, by folder or by name; None: all.
        validation_share: held out where the folder has no split of its own.
        digest: of the list of pictures, so that a changed folder is noticed.
        threads: of torch; sums in another order give other last digits.
        half: keep the final weights in 16 bits.
        measured: validation pictures measured after each epoch; the end measures all.
        recipe: how to train.
    """

    data: str
    model: str
    weights: str | None
    teacher: tuple[str, str] | None
    classes: tuple[str, ...] | None
    validation_share: float
    digest: str
    threads: int
    half: bool
    measured: int
    recipe: Recipe

    def write(self, folder: Path) -> None:
        """Write it into the folder of the run."""
        write_atomic(folder / RUN_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what `write` wrote.

        Raises:
            UserError: the folder holds no run.
        """
        path = folder / RUN_FILE
        if not path.is_file():
            raise UserError(f"The folder {quoted(folder)} holds no training run ({RUN_FILE} is missing).")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            recipe = Recipe.from_json(said.pop("recipe"))
            teacher, classes = (tuple(said.pop(name) or ()) or None for name in ("teacher", "classes"))
            return cls(**said, recipe=recipe, teacher=teacher, classes=classes)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{quoted(path)} is damaged: {error}.") from error


@dataclass(frozen=True)
class Epoch:
    """One row of metrics.csv: `size` in pixels, losses in nats, shares in [0, 1]."""

    epoch: int
    size: int
    rate: float
    train_loss: float
    train_accuracy: float
    loss: float
    top1: float
    top5: float
    seconds: float


def prepare_folder(folder: Path) -> None:
    """Make the folder of a new run.

    Raises:
        UserError: a run is in it already, or it cannot be made.
    """
    if (folder / RUN_FILE).exists() or (folder / CHECKPOINT).exists():
        raise UserError(
            f"The folder {quoted(folder)} already holds a run; go on with --resume {folder}, or name another."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {quoted(folder)} cannot be made: {error.strerror}.") from error


def check_same(plan: Plan, data: LabelledPictures) -> None:
    """Refuse to go on with other pictures than those that the run began with.

    Raises:
        UserError: the list of files has changed.
    """
    if plan.digest != data.digest:
        raise UserError(f"The pictures in {quoted(plan.data)} are not those that the run began with; start a new run.")


def write_metrics(folder: Path, history: Sequence[Epoch]) -> None:
    """Write metrics.csv and metrics.json, a row or entry for each epoch."""
    rows = [asdict(row) for row in history]
    write_table(folder / "metrics.csv", [field.name for field in fields(Epoch)], rows)
    write_atomic(folder / "metrics.json", (json.dumps(rows, indent=1) + "\n").encode())


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, floats with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    write_atomic(path, text.getvalue().encode())
