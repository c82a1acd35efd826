"""Let a network dream: pictures that are made to excite a channel, a layer or a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.feature_visualization import Goal, Visualization, visualize_feature
from xai.errors import UserError
from xai.model import Model
from xai.patches import Strong, check_channel
from xai.spec import RunSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST, LARGEST = 16, 1024  # pixels of a side
STEPS = 256
OPTIONS = {"channel": int, "count": int, "steps": int, "diversity": float, "size": int}  # as a spec keeps them


@dataclass(frozen=True, eq=False)
class Dream:
    """Pictures that were made to excite something.

    Attributes:
        pictures: uint8 (n, h, w, 3).
        start: uint8 (n, h, w, 3), the random pictures it began with.
        objective: float32 (steps, n), value of the goal before each step, of pictures shifted, scaled and turned a bit.
        before, after: float32 (n,), value of the goal for `start` and for the pictures as they are.
        goal: what was to be excited, in words.
        spec: how to make it again.
    """

    pictures: np.ndarray
    start: np.ndarray
    objective: np.ndarray
    before: np.ndarray
    after: np.ndarray
    goal: str
    spec: RunSpec

    @property
    def value_label(self) -> str:
        """Name and unit of the goal's values."""
        if not self.spec.layers():
            return "Score of the class"
        return "Mean activation of the channel" if "channel" in self.spec.params else "Mean squared activation"

    def figure(self, patches: Sequence[Strong] = ()) -> Figure:
        """Draw start, result and the way between, and patches of photographs beside; see `figures.dreams`."""
        from xai.figures.dreams import dream_figure

        return dream_figure(
            self.pictures,
            self.start[0],
            self.objective,
            before=self.before,
            after=self.after,
            value_label=self.value_label,
            suptitle=f"{self.goal} · {self.spec.title}",
            patches=[patch.crop for patch in patches],
            patch_titles=[f"{patch.name}: {patch.value:.3g}" for patch in patches],
        )


def dream(
    model: Model,
    layer: str | None = None,
    channel: int | None = None,
    *,
    target: int | str | None = None,
    count: int = 1,
    steps: int = STEPS,
    diversity: float = 0.0,
    size: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Dream:
    """Make pictures that excite a channel, a whole layer or a class.

    Args:
        model: from `load_model`.
        layer: name of a layer; with a class, none.
        channel: index in the layer; without, the whole layer.
        target: class to excite, by index or name, instead of a layer.
        count: pictures, 1 to 16; without diversity they differ by their random start alone.
        steps: of gradient ascent; each costs a forward and a backward pass of all pictures.
        diversity: how much pictures are driven apart, 0 and up; about 1 shows; not for a class.
        size: height and width in pixels, by default what the model takes.
        seed: of the start and of the disturbances.
        on_progress: called with the fraction done and the pictures so far, float32 (n, 3, h, w) in [0, 1]; may raise
            `Cancelled`.

    Raises:
        UserError: something named does not exist, or an option is not valid.
    """
    goal, words = _find_goal(model, layer, channel, target)
    shape = model.input_size if size is None else (size, size)
    if not SMALLEST <= min(shape) <= max(shape) <= LARGEST:
        raise UserError(f"The size must be from {SMALLEST} to {LARGEST} pixels, not {size}.")
    if not 0 <= diversity < float("inf"):
        raise UserError(f"Diversity must be a number from 0, not {diversity}.")
    make = partial(visualize_feature, model.classifier, goal, size=shape, count=count, steps=steps, seed=seed)
    try:
        made = make(diversity=diversity, on_progress=on_progress)
    except (RuntimeError, AssertionError) as error:
        if shape == model.input_size:
            raise
        height, width = model.input_size
        raise UserError(f"{model.name} cannot take pictures of size {size}; it wants {height} x {width}.") from error
    chosen = {} if channel is None else {"channel": channel}
    options = {"count": count, "steps": steps, "diversity": float(diversity)} | ({"size": size} if size else {})
    aim = () if goal.layer is not None or goal.channel is None else (goal.channel,)
    return _dream(made, words, model.spec("dream", layer=goal.layer, target=aim, seed=seed, params=chosen | options))


def _dream(made: Visualization, words: str, spec: RunSpec) -> Dream:
    return Dream(
        pictures=to_rgb(made.pictures),
        start=to_rgb(made.start),
        objective=made.objective.numpy(),
        before=made.before.numpy(),
        after=made.after.numpy(),
        goal=words,
        spec=spec,
    )


def _find_goal(model: Model, layer: str | None, channel: int | None, target: int | str | None) -> tuple[Goal, str]:
    """Check what is to be excited, and say it in words."""
    if (layer is None) == (target is None) or (target is not None and channel is not None):
        raise UserError("Choose what to excite: a layer, a layer and a channel, or a class.")
    if target is not None:
        index = model.find_class(target)
        return Goal(None, index), f"Class {model.class_label(index)}"
    found = model.layer(str(layer))
    if channel is None:
        return Goal(found.name), f"{found.name}, the whole layer"
    check_channel(model, found.name, channel)
    return Goal(found.name, channel), f"{found.name}, channel {channel}"


def to_rgb(pictures: Tensor | np.ndarray) -> np.ndarray:
    """Turn pictures (n, 3, h, w) in [0, 1] into RGB, uint8 (n, h, w, 3)."""
    values = np.asarray(pictures, dtype=np.float32).clip(0, 1).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.rint(values * 255).astype(np.uint8))


def read_options(spec: RunSpec) -> dict[str, Any]:
    """Return what a spec says about a dream, as options of `dream`.

    Raises:
        UserError: a value is of the wrong kind.
    """
    params: Mapping[str, Any] = spec.params
    for name, kind in OPTIONS.items():
        value = params.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, kind)):
            raise UserError(f"The spec's '{name}' must be a number, not {value!r}.")
    options = {name: params[name] for name in OPTIONS if name in params}
    return {**options, "layer": next(iter(spec.layers()), None), "target": next(iter(spec.target), None)} | {
        "seed": spec.seed
    }
