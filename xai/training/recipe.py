"""The recipe of a training run: every choice that decides the final weights, and the rates and sizes it implies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from xai.errors import UserError, one_of

SCHEDULES = ("one-cycle", "cosine", "constant")
OPTIMIZERS = ("sgd", "adamw")
SIZE_STEP = 8  # progressive sizes are multiples of it


@dataclass(frozen=True)
class Recipe:
    """How to train; two runs with one recipe, one set of pictures and one thread count end in the same weights.

    Attributes:
        epochs: passes over the training pictures.
        batch_size: pictures per step, over all processes.
        learning_rate: highest rate of the schedule.
        schedule: "one-cycle" (linear up for `warmup` of the steps, cosine down to zero; Smith 2018), "cosine" (the same
            with a warm-up of 5 % unless `warmup` is given) or "constant" (after the warm-up).
        warmup: share of all steps in which the rate grows linearly, in [0, 1); None: 0.25, 0.05 or 0 by schedule.
        optimizer: "sgd" (Nesterov momentum) or "adamw".
        momentum: of SGD.
        weight_decay: on matrices and kernels only, not on biases and norms.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        mixup: parameter alpha of the Beta distribution that mixes pairs of pictures (Zhang et al. 2018); 0: off.
        randaugment: number of random operations per picture (Cubuk et al. 2020); 0: off.
        magnitude: strength of these operations, in [0, 1].
        crop_scale: smallest share of the picture's area in a random crop, in (0, 1].
        flip: mirror half of the pictures.
        size: side in pixels of the square pictures that the network is measured and used with.
        resize: shorter side of a picture before the centre crop of `size`; None: as the architecture does it.
        train_size: side of the training pictures in the last epochs; None: `size`. A little less is faster, and makes
            up for objects being larger in crops than in whole pictures (Touvron et al. 2019).
        start_size: side in the first epoch; it grows to `train_size` over three quarters of the epochs.
        ema: decay of the moving average of the weights, which is what is measured and kept; 0: off.
        freeze: train the last linear layer alone.
        distill: weight of the teacher's probabilities against the labels, in [0, 1] (Hinton et al. 2015).
        temperature: of student and teacher in that term.
        teacher_size: side in pixels at which the teacher sees the pictures.
        seed: of order, crops, mixing and dropout.
    """

    epochs: int = 25
    batch_size: int = 64
    learning_rate: float = 0.1
    schedule: str = "one-cycle"
    warmup: float | None = None
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    mixup: float = 0.0
    randaugment: int = 0
    magnitude: float = 0.3
    crop_scale: float = 0.35
    flip: bool = True
    size: int = 224
    resize: int | None = None
    train_size: int | None = None
    start_size: int | None = None
    ema: float = 0.999
    freeze: bool = False
    distill: float = 0.0
    temperature: float = 2.0
    teacher_size: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        if self.schedule not in SCHEDULES:
            raise one_of("schedule", self.schedule, SCHEDULES)
        if self.optimizer not in OPTIMIZERS:
            raise one_of("optimizer", self.optimizer, OPTIMIZERS)
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not (low <= value <= high):
                raise UserError(f"The recipe's {name} must lie between {low:g} and {high:g}, not {value:g}.")
        if self.first_size > self.last_size:
            raise UserError(f"The first size ({self.first_size}) must not be larger than the last ({self.last_size}).")
        if self.resize is not None and self.resize < self.size:
            raise UserError(f"The recipe's resize ({self.resize}) must not be smaller than its size ({self.size}).")

    @property
    def last_size(self) -> int:
        """Side of the training pictures in the last epochs."""
        return self.size if self.train_size is None else self.train_size

    @property
    def first_size(self) -> int:
        """Side of the training pictures in the first epoch."""
        return self.last_size if self.start_size is None else self.start_size

    def size_at(self, epoch: int) -> int:
        """Side of the training pictures in an epoch (from 0), in pixels."""
        growing = max(1, math.ceil(0.75 * self.epochs) - 1)
        if epoch >= min(growing, self.epochs - 1):
            return self.last_size
        grown = self.first_size + (self.last_size - self.first_size) * epoch / growing
        return max(self.first_size, SIZE_STEP * round(grown / SIZE_STEP))

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step (from 0) out of all steps of the run."""
        share = (
            {"one-cycle": 0.25, "cosine": 0.05, "constant": 0.0}[self.schedule] if self.warmup is None else self.warmup
        )
        rising = round(share * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    def as_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Read what `as_json` wrote.

        Raises:
            UserError: a name is unknown or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise one_of("recipe entry", name, known)
        return cls(**values)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("epochs", 1, 100_000),
    ("batch_size", 1, 1_000_000),
    ("learning_rate", 1e-9, 100),
    ("warmup", 0, 0.99),
    ("momentum", 0, 0.999),
    ("weight_decay", 0, 10),
    ("label_smoothing", 0, 0.99),
    ("mixup", 0, 10),
    ("randaugment", 0, 10),
    ("magnitude", 0, 1),
    ("crop_scale", 0.01, 1),
    ("size", 8, 4096),
    ("resize", 8, 4096),
    ("train_size", 8, 4096),
    ("start_size", 8, 4096),
    ("ema", 0, 0.999999),
    ("distill", 0, 1),
    ("temperature", 0.1, 100),
    ("teacher_size", 8, 4096),
)
