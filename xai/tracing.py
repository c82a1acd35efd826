"""Run a model on pictures once: predictions, and traces that explanations can be asked of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from xai.compute.trace import Trace, score_pixels, trace_pixels
from xai.errors import UserError
from xai.io.geometry import Prepared
from xai.io.images import Image, load_image
from xai.model import Model
from xai.spec import RunSpec

Target = int | str | Sequence[int | str] | None
Picture = Any  # whatever load_image takes


@dataclass(frozen=True, eq=False)
class ImageTrace(Trace):
    """A trace that knows its model and pictures; give it to `explain` and `predict` in place of the model."""

    model: Model
    images: tuple[Image, ...]
    ready: Prepared

    def spec(self, method: str, index: int = 0, **rest: Any) -> RunSpec:
        """Return a RunSpec for a result about one of the pictures."""
        image = self.images[index]
        return self.model.spec(method, image=image.name, image_digest=image.digest, resize=self.ready.resize, **rest)


def trace(
    model: Model,
    image: Picture,
    layers: Iterable[str] | None = None,
    *,
    resize: str = "center-crop",
) -> ImageTrace:
    """Run the model once and keep what its layers produced.

    Args:
        model: from `load_model`.
        image: a picture (anything `load_image` takes) or a list of pictures.
        layers: names to keep; by default all offered layers of one picture, or the default layer of several.
        resize: how the working pixels are made, see `Model.prepare`.

    Raises:
        UserError: a layer or resize mode is unknown, or a picture cannot be read.
    """
    images = tuple(load_image(each) for each in (image if isinstance(image, (list, tuple)) else (image,)))
    everything = layers is None and len(images) == 1
    if isinstance(layers, str):
        layers = (layers,)
    if layers is None:
        layers = model.layers() if everything else (model.default_layer,)
    names = [model.layer(name).name for name in layers]
    return trace_ready(model, images, model.prepare(images, resize), names, input_gradient=everything)


def trace_ready(
    model: Model,
    images: tuple[Image, ...],
    ready: Prepared,
    layers: Sequence[str],
    *,
    input_gradient: bool = False,
) -> ImageTrace:
    """Trace working pixels that are already made; the layers must exist."""
    try:
        traced = trace_pixels(model.classifier, ready.pixels, layers, input_gradient=input_gradient)
    except (RuntimeError, AssertionError) as error:
        raise _refused(model, ready, error) from error
    kept = {field.name: getattr(traced, field.name) for field in fields(Trace)}
    return ImageTrace(**kept, model=model, images=images, ready=ready)


def _refused(model: Model, ready: Prepared, error: Exception) -> Exception:
    height, width = ready.pixels.shape[2:]
    if (height, width) == model.input_size:
        return error
    return UserError(
        f"{model.name} cannot take a picture of {width} x {height} as it is; use resize center-crop or squash."
    )


def predict(
    source: Model | ImageTrace, image: Picture = None, k: int = 5, *, resize: str = "center-crop"
) -> list[tuple[str, float, int]]:
    """Return the k most likely classes of a picture, best first: (label, probability, index).

    Raises:
        UserError: k is below 1, or the picture cannot be read.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}.")
    if isinstance(source, ImageTrace):
        check_trace(source, image)
        model, scores = source.model, source.scores.detach()
    else:
        model, ready = source, source.prepare(load_image(image), resize)
        try:
            scores = score_pixels(model.classifier, ready.pixels)
        except (RuntimeError, AssertionError) as error:
            raise _refused(model, ready, error) from error
    best = model.probabilities(scores)[0].cpu().topk(min(k, len(model.class_names)))
    return [(model.class_label(i), p, i) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def check_trace(traced: ImageTrace, image: Picture) -> None:
    """Refuse a trace of several pictures, or of another picture than the one given."""
    if len(traced.images) != 1:
        raise UserError(
            f"This trace holds {len(traced.images)} pictures; trace one, or explain several with explain_batch."
        )
    if image is not None and load_image(image).digest != traced.images[0].digest:
        raise UserError("The trace was made from another picture; leave `image` out or trace this one.")


def find_targets(traced: ImageTrace, target: Target) -> tuple[int, ...]:
    """Return class indices for indices, names or None (the predicted class)."""
    if target is None:
        return (int(traced.scores[0].argmax()),)
    wanted: list[Any] = list(target) if np.ndim(target) else [target]  # type: ignore[arg-type]
    if not wanted:
        raise UserError(
            "target is empty; give a class index, a name, several of them, or None for the predicted class."
        )
    return tuple(traced.model.find_class(each) for each in wanted)
