"""Attack a model: the smallest of changes, what the network then says, and where the reason for it seems to lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xai.compute.adversarial import ATTACKS, Adversarial, fgsm, pgd
from xai.compute.attribution import Progress
from xai.errors import UserError, one_of
from xai.explanation import explain
from xai.io.images import Image
from xai.model import Model
from xai.registry import METHODS, Method, find_method
from xai.spec import RunSpec
from xai.tracing import ImageTrace, Picture, check_trace, predict, trace, trace_ready

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPSILON = 2 / 255
LABELS = {"fgsm": "FGSM", "pgd": "PGD"}
Said = tuple[str, float, int]  # class, probability, index


@dataclass(frozen=True, eq=False)
class Attack:
    """A picture before and after an attack.

    Attributes:
        original, changed: float32 (3, h, w) in [0, 1], working pixels.
        before, after: what the network says to each, the five most likely classes, best first.
        success: whether the first class is another one, or with a target, is the target.
        classes: of the maps: the class said before and, where it is another, the one said after.
        map_before, map_after: float32 (K, h, w), raw, the explanation of these classes for each picture.
        signed: whether the maps may be negative.
        image, spec: the source picture, and how to make it again.
    """

    original: np.ndarray
    changed: np.ndarray
    before: tuple[Said, ...]
    after: tuple[Said, ...]
    success: bool
    classes: tuple[int, ...]
    map_before: np.ndarray
    map_after: np.ndarray
    signed: bool
    image: Image
    spec: RunSpec

    @property
    def method(self) -> str:
        """The attack, "fgsm" or "pgd"."""
        return attack_of(self.spec)

    @property
    def epsilon(self) -> float:
        """Largest change of a value, pixels running from 0 to 1."""
        return self.spec.params["epsilon"]

    @property
    def target(self) -> int | None:
        """The class to reach, or None."""
        return next(iter(self.spec.target), None)

    @property
    def explained_by(self) -> Method:
        """The method of the maps."""
        return METHODS[self.spec.params["explain_with"]]

    @property
    def verdict(self) -> str:
        """Say in one sentence what came of it."""
        size = format_epsilon(self.epsilon)
        if self.target is None:
            return f"The prediction {'changed' if self.success else 'did not change'} at epsilon {size}."
        return f"The target was {'' if self.success else 'not '}reached at epsilon {size}."

    @property
    def title(self) -> str:
        """Attack, size, picture and network, for headings."""
        size = format_epsilon(self.epsilon)
        return f"{LABELS[self.method]}, epsilon {size} · {self.image.name} · {self.spec.title}"

    @property
    def names(self) -> list[str]:
        """Names of the classes of the maps."""
        return [next(name for name, _, index in (*self.before, *self.after) if index == k) for k in self.classes]

    def figure(self, **options: Any) -> Figure:
        """Draw picture, change and changed picture, and the maps on one scale; options go to `attack_figure`."""
        from xai.figures.attacks import attack_figure

        options.setdefault("suptitle", self.title)
        return attack_figure(
            self.original.transpose(1, 2, 0),
            self.changed.transpose(1, 2, 0),
            said=(_line(self.before[0]), _line(self.after[0])),
            maps=(self.map_before, self.map_after),
            names=self.names,
            signed=self.signed,
            value_label=self.explained_by.label,
            **options,
        )


def attack(
    source: Model | ImageTrace,
    image: Picture = None,
    method: str = "fgsm",
    *,
    epsilon: float = EPSILON,
    target: int | str | None = None,
    steps: int = 10,
    layer: str | None = None,
    explain_with: str = "grad_cam",
    resize: str = "center-crop",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Attack:
    """Change a picture a little so that the model says something else, and explain what it says before and after.

    Args:
        source: a model, or the trace of one picture.
        image: anything `load_image` takes; may be left out with a trace.
        method: "fgsm" (one step) or "pgd" (many small ones).
        epsilon: largest change of a value, pixels running from 0 to 1; 1/255 is one step of an 8-bit picture.
        target: class to reach; without, the attack leaves the class that the model says first.
        steps: of "pgd".
        layer: for the explanation, by default the model's.
        explain_with: key of the method that makes the maps.
        resize: how the working pixels are made; a trace has its own.
        seed: of the random start of "pgd" and of the explanation.
        on_progress: called with (fraction, None); may raise `Cancelled`.

    Raises:
        UserError: something named does not exist, or an option is out of range.
    """
    check_method(method)
    model = source.model if isinstance(source, ImageTrace) else source
    chosen, names = _explainer(model, explain_with, layer)
    traced = _trace(source, image, names, resize)
    aim = None if target is None else model.find_class(target)
    tell = partial(_part, on_progress)
    made = _change(traced, method, aim, epsilon=epsilon, steps=steps, seed=seed, on_progress=tell(0.0, 0.5))
    after = trace_ready(model, traced.images, replace(traced.ready, pixels=made.pixels), names)
    said = [tuple(predict(each)) for each in (traced, after)]
    classes = tuple(dict.fromkeys(each[0][2] for each in said))
    asked: dict[str, Any] = {"method": chosen.key, "target": classes, "layer": names or None, "seed": seed}
    known = explain(traced, on_progress=tell(0.5, 0.25), **asked)
    new = explain(after, on_progress=tell(0.75, 0.25), **asked)
    params: dict[str, Any] = {"epsilon": float(epsilon)} | ({"steps": steps} if method == "pgd" else {})
    spec = traced.spec("fgsm", layer=next(iter(names), None), params=params | {"explain_with": chosen.key}, seed=seed)
    return Attack(
        original=traced.ready.pixels[0].numpy(),
        changed=made.pixels[0].numpy(),
        before=said[0],
        after=said[1],
        success=bool(made.success[0]),
        classes=classes,
        map_before=known.map,
        map_after=new.map,
        signed=known.signed,
        image=traced.images[0],
        spec=spec if aim is None else replace(spec, target=(aim,)),
    )


def _trace(source: Model | ImageTrace, image: Picture, layers: list[str], resize: str) -> ImageTrace:
    """Return the trace that was given, if it is one of this picture, or make it."""
    if not isinstance(source, ImageTrace):
        return trace(source, image, layers, resize=resize)
    check_trace(source, image)
    return source


def _explainer(model: Model, name: str, layer: str | None) -> tuple[Method, list[str]]:
    """Find the method of the maps and, if it needs one, its layer."""
    method = find_method(name)
    if layer is not None and not method.needs_layer:
        raise UserError(f"{method.key} looks at the whole network; leave out the layer.")
    return method, [model.layer(layer or model.default_layer).name] if method.needs_layer else []


def _change(
    traced: ImageTrace,
    method: str,
    aim: int | None,
    *,
    epsilon: float,
    steps: int,
    seed: int,
    on_progress: Progress | None,
) -> Adversarial:
    """Attack the working pixels: away from what the model says, or towards `aim`."""
    classifier, pixels = traced.model.classifier, traced.ready.pixels
    classes = [int(traced.scores[0].argmax()) if aim is None else aim]
    common: dict[str, Any] = {"epsilon": epsilon, "targeted": aim is not None, "output": traced.model.output}
    common |= {"on_progress": on_progress}
    if method == "fgsm":
        return fgsm(classifier, pixels, classes, **common)
    return pgd(classifier, pixels, classes, steps=steps, seed=seed, **common)


def _part(on_progress: Progress | None, start: float, share: float) -> Progress | None:
    """Turn the progress of one part into that of all."""
    return on_progress and (lambda fraction, _: on_progress(start + share * fraction, None))


def check_method(method: str) -> None:
    """Refuse an attack that does not exist."""
    if method not in ATTACKS:
        raise one_of("attack", method, ATTACKS)


def _line(said: Said) -> str:
    from xai.figures.charts import format_share

    return f"{said[0]} {format_share(said[1])}"


def attack_of(spec: RunSpec) -> str:
    """Return the attack that a spec is about: only "pgd" takes steps."""
    return "pgd" if "steps" in spec.params else "fgsm"


def format_epsilon(epsilon: float) -> str:
    """Write a size as steps of an 8-bit picture: "2/255"."""
    return f"{epsilon * 255:.3g}/255"


def read_options(spec: RunSpec) -> dict[str, Any]:
    """Return what a spec says about an attack or a sweep, as options of `attack` or `attack_sweep`.

    Raises:
        UserError: a value is of the wrong kind.
    """
    params: Mapping[str, Any] = spec.params
    sizes = params.get("epsilon", EPSILON)
    if not all(_is_number(each) for each in (sizes if isinstance(sizes, (list, tuple)) else [sizes])):
        raise UserError(f"The spec's 'epsilon' must be a number or numbers, not {sizes!r}.")
    steps = params.get("steps", 10)
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise UserError(f"The spec's 'steps' must be a whole number, not {steps!r}.")
    common = {"method": attack_of(spec), "target": next(iter(spec.target), None), "steps": steps, "seed": spec.seed}
    common["resize"] = spec.resize
    if params.get("sweep"):
        return {**common, "labels": params.get("labels"), "epsilons": np.atleast_1d(sizes).tolist()}
    layer = next(iter(spec.layers()), None)
    return {**common, "epsilon": sizes, "layer": layer, "explain_with": str(params.get("explain_with", "grad_cam"))}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
