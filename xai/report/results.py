"""Make the result of any RunSpec again: its figure and its values, whatever the method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xai.attacks import attack
from xai.attacks import read_options as read_attack
from xai.comparison import compare, draw_comparison
from xai.concepts import concepts
from xai.dreams import dream
from xai.dreams import read_options as read_dream
from xai.explanation import explain
from xai.figures.panels import draw_panels
from xai.inspection import feature_maps, filters
from xai.io.images import Image
from xai.model import Model
from xai.registry import METHODS, find_method
from xai.report.lessons.finding import crop_picture
from xai.spec import RunSpec
from xai.tracing import predict

CHANNELS = 24  # feature maps shown


@dataclass(frozen=True, eq=False)
class Result:
    """A result as a report keeps it: the figure, the values it shows (float, any shape), and how it was made."""

    figure: Figure
    values: NDArray[np.floating]
    spec: RunSpec


def make_result(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    """Do what a spec says.

    Args:
        model: the network of the spec.
        spec: of any method of the registry, or "predict", "filters", "feature_maps", "dff", "dream", "fgsm", "compare".
        images: its pictures, in the order of `spec.pictures`.

    Raises:
        UserError: the spec asks for something that does not exist.
    """
    return _MAKERS.get(spec.method, _explain)(model, spec, images)


def _layer(spec: RunSpec) -> str | None:
    return next(iter(spec.layers()), None)


def _predict(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    """Show of each photograph the part that the network is given, with its first answer."""
    answers = [predict(model, image, k=1, resize=spec.resize)[0] for image in images]
    boxes = model.prepare(list(images), spec.resize).boxes
    titles = [f"{image.name}: {name} {share:.1%}" for image, (name, share, _) in zip(images, answers, strict=True)]
    figure = draw_panels(
        [crop_picture(image, box) for image, box in zip(images, boxes, strict=True)],
        titles,
        alt=f"{len(images)} photographs with the network's first answer: {'; '.join(titles)}.",
        columns=min(len(images), 4),
        suptitle=f"What {model.name} answers",
        blocky=False,
    )
    asked = model.spec("predict", resize=spec.resize)
    made = asked.about([image.name for image in images], [image.digest for image in images])
    return Result(figure, np.array([share for _, share, _ in answers]), made)


def _filters(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    params = spec.params
    made = filters(
        model, _layer(spec), show=str(params.get("show", "auto")), input_channel=int(params.get("input_channel", 0))
    )
    return Result(made.figure(), made.kernels, made.spec)


def _feature_maps(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    asked: dict[str, Any] = {"sort": str(spec.params.get("sort", "mean")), "target": spec.target or None}
    made = feature_maps(model, images[0], _layer(spec), resize=spec.resize, **asked)
    return Result(made.figure(CHANNELS), made.maps[made.order[:CHANNELS]], made.spec)


def _concepts(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    made = concepts(
        model,
        list(images),
        layer=_layer(spec),
        components=int(spec.params.get("components", 5)),
        top_k=int(spec.params.get("top_k", 2)),
        resize=spec.resize,
        seed=spec.seed,
    )
    return Result(made.figure(), made.factorization.cells.numpy(), made.spec)


def _dream(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    made = dream(model, **read_dream(spec))
    return Result(made.figure(), made.pictures.astype(np.float32), made.spec)


def _attack(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    made = attack(model, images[0], **read_attack(spec))
    return Result(made.figure(), made.changed - made.original, made.spec)


def _compare(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    asked: dict[str, Any] = {"target": spec.target or None, "layer": _layer(spec), "resize": spec.resize}
    keys = str(spec.params["methods"]).split(",")
    explanations = compare(model, images[0], keys, seed=spec.seed, **asked).attrs["explanations"]
    values = np.stack([each.map[0] / (each.limit or 1.0) for each in explanations])
    made = replace(
        explanations[0].spec, method="compare", layer=spec.layer, params=dict(spec.params), target=spec.target
    )
    return Result(draw_comparison(explanations), values, made)


def _explain(model: Model, spec: RunSpec, images: Sequence[Image]) -> Result:
    params = find_method(spec.method).check_params(spec.params)
    asked: dict[str, Any] = {"target": spec.target or None, "layer": spec.layers() or None, "resize": spec.resize}
    if not METHODS[find_method(spec.method).key].needs_layer:
        asked.pop("layer")
    made = explain(model, images[0], spec.method, seed=spec.seed, **asked, **params)
    return Result(made.figure(), made.map, made.spec)


_MAKERS: Mapping[str, Callable[[Model, RunSpec, Sequence[Image]], Result]] = {
    "predict": _predict,
    "filters": _filters,
    "feature_maps": _feature_maps,
    "dff": _concepts,
    "dream": _dream,
    "fgsm": _attack,
    "compare": _compare,
}
