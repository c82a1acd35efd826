"""Ask a model "why?": explain one picture, several, or by several methods."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xai.compute.attribution import AddsUp, Attribution, Progress, part_of
from xai.compute.trace import Trace
from xai.errors import UserError
from xai.io.files import write_atomic
from xai.io.geometry import Box
from xai.io.images import Image, load_image
from xai.model import Model
from xai.registry import Method, find_method
from xai.spec import RunSpec
from xai.tracing import ImageTrace, Picture, Target, check_trace, find_targets, trace, trace_ready

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answer of one method about one picture.

    Attributes:
        map: float32 (K, h, w), read-only, at working size; raw, negative where the method is signed.
        target, target_names: the K classes that were asked about.
        probabilities: of these classes, in [0, 1].
        layer: its name, several names when maps of layers were fused, or None.
        params, seed: the options of the method.
        seconds: how long it took, with the forward pass unless a trace was given.
        details: what else the method found, or None.
        box: part of the source that the map covers: left, top, right, bottom in source pixels.
        signed: whether negative values can occur.
        image, spec: the picture, and the record from which all this can be made again.
    """

    map: np.ndarray
    target: tuple[int, ...]
    target_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    method: Method
    layer: str | tuple[str, ...] | None
    params: Mapping[str, Any]
    seed: int
    seconds: float
    details: object | None
    box: Box
    signed: bool
    image: Image
    spec: RunSpec

    def __deepcopy__(self, memo: dict[int, object]) -> Explanation:
        """Return itself, as it never changes; pandas copies what lies in a table's attrs."""
        return self

    def source_map(self) -> np.ndarray:
        """Return the map on the source picture's own pixels: float32 (K, H, W), 0 outside the box."""
        from xai.figures.overlays import place_map

        return np.stack([place_map(each, self.image.size, self.box) for each in self.map])

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """Name and probability of each target, for headings."""
        return tuple(f"{n} {p:.1%}" for n, p in zip(self.target_names, self.probabilities, strict=True))

    @cached_property
    def limit(self) -> float:
        """Value that gets the end colour where nothing else is said: one scale for all targets."""
        from xai.figures.style import value_limit

        return value_limit(self.map, signed=self.signed, within=self.method.within)

    def figure(self, **options: Any) -> Figure:
        """Draw the picture and the overlay of each target on one scale; options go to `figures.grids.overlay_row`."""
        from xai.figures.grids import overlay_row

        where = (
            "" if self.layer is None else f" at {self.layer if isinstance(self.layer, str) else ' + '.join(self.layer)}"
        )
        options.setdefault("suptitle", f"{self.method.label}{where} · {self._model_title()}")
        options.setdefault("limit", self.limit)
        return overlay_row(
            self.image.pixels,
            self.source_map(),
            titles=self.titles,
            signed=self.signed,
            box=self.box,
            **options,
        )

    @cached_property
    def totals(self) -> tuple[tuple[float, float], ...]:
        """For each target the sum of all values and what the method promises it to be; empty without a promise.

        In the unit of what is explained: the score, or the probability where the option `output` says so. Magnitudes
        (`channels` other than "sum") add up to nothing that is promised.
        """
        if not isinstance(self.details, AddsUp) or self.params.get("channels", "sum") != "sum":
            return ()
        promised, gap = self.details.score_difference, self.details.completeness_gap
        if promised is None or gap is None:
            return ()
        return tuple(zip((promised + gap).tolist(), promised.tolist(), strict=True))

    @property
    def totals_text(self) -> str:
        """Say in a sentence how far the values add up, for each target; empty where nothing is promised."""
        pairs = [f"{found:.4g} against {promised:.4g}" for found, promised in self.totals]
        if len(pairs) > 1:
            pairs = [f"{each} ({name})" for each, name in zip(pairs, self.target_names, strict=True)]
        return f"The values add up to {', '.join(pairs)} for the {self.method.total}." if pairs else ""

    def _model_title(self) -> str:
        return f"{self.spec.model} ({self.spec.weights})"

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the figure (.png) or the raw map (.npy), and the spec beside it (.json).

        Raises:
            UserError: another suffix.
        """
        path = Path(path)
        buffer = io.BytesIO()
        if path.suffix == ".npy":
            np.save(buffer, self.map)
        elif path.suffix == ".png":
            self.figure(**options).savefig(buffer, format="png")
        else:
            raise UserError(f"Cannot save '{path.name}': the name must end in .png (figure) or .npy (raw map).")
        write_atomic(path, buffer.getvalue())
        self.spec.save(path.with_suffix(".json"))
        return path


def explain(
    source: Model | ImageTrace,
    image: Picture = None,
    method: str = "grad_cam",
    *,
    target: Target = None,
    layer: str | Sequence[str] | None = None,
    resize: str = "center-crop",
    seed: int = 0,
    on_progress: Progress | None = None,
    **params: Any,
) -> Explanation:
    """Explain why the model scores a picture as it does.

    Args:
        source: a model, or the trace of one picture, which saves the forward pass.
        image: anything `load_image` takes; may be left out with a trace.
        method: key or alias in METHODS.
        target: class index or name, several of them, or None for the predicted class.
        layer: name of a layer, by default the model's; several fuse their maps: each is scaled to [0, 1], the mean
            is scaled to [0, 1] again.
        resize: how the working pixels are made; a trace has its own.
        seed: of every random choice.
        on_progress: called with (fraction, partial maps); may raise `Cancelled`.
        params: options of the method.

    Raises:
        UserError: something named does not exist, an option is not valid, or the method is wrong for this model.
    """
    begun = time.perf_counter()
    chosen = find_method(method)
    if isinstance(source, ImageTrace):
        check_trace(source, image)
        model, images, ready = source.model, source.images, source.ready
    else:
        model, images = source, (load_image(image),)
        ready = model.prepare(images, resize)
    checked = _check(model, chosen, params)
    layers = _layers(model, chosen, layer)
    traced = source if isinstance(source, ImageTrace) and set(layers) <= set(source.outputs) else None
    if traced is None:
        traced = trace_ready(model, images, ready, layers, input_gradient=chosen.from_pixels)
    targets = find_targets(traced, target)
    given = checked | {"seed": seed} if chosen.random else checked
    attribution = _run(chosen, traced, targets, layers, on_progress, given)
    return _explanation(traced, 0, attribution, targets, chosen, layers, checked, seed, time.perf_counter() - begun)


def explain_batch(
    model: Model,
    images: Sequence[Picture],
    method: str = "grad_cam",
    *,
    target: int | str | None = None,
    layer: str | Sequence[str] | None = None,
    resize: str = "center-crop",
    seed: int = 0,
    **params: Any,
) -> list[Explanation]:
    """Explain several pictures in one pass each way; the results equal those of `explain` one by one.

    Args:
        model: from `load_model`.
        images: at least one; they are held in memory together.
        target: one class for all, or None for the predicted class of each.
        method, layer, resize, seed, params: as for `explain`.
    """
    begun = time.perf_counter()
    chosen = find_method(method)
    checked = _check(model, chosen, params)
    layers = _layers(model, chosen, layer)
    traced = trace(model, list(images), layers, resize=resize)
    if target is None:
        targets = tuple(traced.scores.argmax(1).tolist())
    else:
        targets = (model.find_class(target),) * len(traced.images)
    whole = _run(chosen, traced, targets, layers, None, checked | {"seed": seed} if chosen.random else checked)
    seconds = (time.perf_counter() - begun) / len(traced.images)
    return [
        _explanation(traced, i, whole.of_picture(i), (t,), chosen, layers, checked, seed, seconds)
        for i, t in enumerate(targets)
    ]


def _check(model: Model, method: Method, params: Mapping[str, Any]) -> dict[str, Any]:
    reason = method.supports(model)
    if reason is not None:
        raise UserError(f"{method.label} is not right for {model.name}: {reason}")
    return method.check_params(params)


def _layers(model: Model, method: Method, layer: str | Sequence[str] | None) -> tuple[str, ...]:
    if not method.needs_layer:
        return ()
    names = (layer,) if isinstance(layer, str) else tuple(layer or (model.default_layer,))
    return tuple(model.layer(name).name for name in names)


def _run(
    method: Method,
    traced: Trace,
    targets: tuple[int, ...],
    layers: tuple[str, ...],
    on_progress: Progress | None,
    params: Mapping[str, Any],
) -> Attribution:
    if len(layers) <= 1:
        return method.function(traced, targets, layer=next(iter(layers), None), on_progress=on_progress, **params)
    maps = [
        method.function(traced, targets, layer=name, on_progress=part_of(on_progress, done, len(layers)), **params).maps
        for done, name in enumerate(layers)
    ]
    return Attribution(_to_unit(torch.stack([_to_unit(each) for each in maps]).mean(0)))


def _to_unit(maps: torch.Tensor) -> torch.Tensor:
    """Scale each map (K, h, w) to [0, 1]; a constant map becomes 0."""
    low = maps.amin((1, 2), keepdim=True)
    span = maps.amax((1, 2), keepdim=True) - low
    return torch.where(span > 0, (maps - low) / span, torch.zeros(()))


def _explanation(
    traced: ImageTrace,
    index: int,
    attribution: Attribution,
    targets: tuple[int, ...],
    method: Method,
    layers: tuple[str, ...],
    params: dict[str, Any],
    seed: int,
    seconds: float,
) -> Explanation:
    model, image = traced.model, traced.images[index]
    values = np.ascontiguousarray(attribution.maps.numpy(), dtype=np.float32)
    values.setflags(write=False)
    layer = layers if len(layers) > 1 else next(iter(layers), None)
    probabilities = model.probabilities(traced.scores.detach()[index]).cpu()
    spec = traced.spec(method.key, index, target=targets, layer=layer, params=params, seed=seed)
    return Explanation(
        map=values,
        target=targets,
        target_names=tuple(model.class_label(t) for t in targets),
        probabilities=tuple(float(probabilities[t]) for t in targets),
        method=method,
        layer=layer,
        params=params,
        seed=seed,
        seconds=seconds,
        details=attribution.details,
        box=traced.ready.boxes[index],
        signed=method.is_signed(params) and len(layers) <= 1,
        image=image,
        spec=spec,
    )
