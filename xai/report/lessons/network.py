"""Introduce the network of a notebook: what it is, which of its layers are looked at, what it says of the pictures."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from torch import nn

from xai.compute.filters import list_convolutions
from xai.figures.overlays import draw_box
from xai.figures.panels import draw_panels
from xai.io.images import Image, load_image
from xai.io.models import MODELS
from xai.model import Model
from xai.report.lessons.finding import Finding
from xai.tracing import Picture, predict

RELU = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.SiLU, nn.GELU)


@dataclass(frozen=True)
class ChosenLayers:
    """Layers that stand for the depths of a network, found by their place, so that they exist in any network.

    Attributes:
        first_convolution, middle_convolution: names; the second has kernels larger than 1 x 1, about half way down.
        stages: the last layer at each resolution, in the order of computation.
        after_relu: every output of an activation function; the stages where the network has no such modules.
    """

    first_convolution: str
    middle_convolution: str
    stages: tuple[str, ...]
    after_relu: tuple[str, ...]

    @property
    def middle(self) -> str:
        """Output of the activation function a third of the way down."""
        return self.after_relu[len(self.after_relu) // 3]

    @property
    def before_last(self) -> str:
        """The stage before the last one."""
        return self.stages[max(0, len(self.stages) - 2)]

    @property
    def last(self) -> str:
        """The last stage."""
        return self.stages[-1]


def choose_layers(model: Model) -> ChosenLayers:
    """Choose the layers that the notebooks look at."""
    layers = model.all_layers
    stages = tuple(name for name, layer in layers.items() if layer.group == "stage") or tuple(model.layers())
    after_relu = tuple(name for name in layers if isinstance(model.network.get_submodule(name), RELU))
    convolutions = list_convolutions(model.network)
    wide = [name for name, module in convolutions if max(module.kernel_size) > 1]
    return ChosenLayers(
        first_convolution=convolutions[0][0],
        middle_convolution=wide[len(wide) // 2],
        stages=stages,
        after_relu=after_relu or stages,
    )


def describe_network(model: Model, origin: str = "") -> str:
    """Say in a few lines which network is looked at.

    Args:
        model: from `load_model`.
        origin: where its weights come from, in one sentence.
    """
    height, width = model.input_size
    lines = [
        f"Network: {model.title}, SHA-256 of the weights {model.weights_digest[:12]}",
        f"{model.parameters:,} parameters, {len(model.class_names):,} classes, input {height} x {width} pixels",
    ]
    preset = MODELS[model.name].presets.get(model.weights) if model.name in MODELS else None
    if preset is not None:
        lines.append(f"Measured on {preset.measured_on}: top-1 {preset.top1:g} %, top-5 {preset.top5:g} %")
    if not model.trained:
        lines.append("Its weights are random: nothing below shows anything learned.")
    return "\n".join(lines + ([origin] if origin else []))


def describe_versions() -> str:
    """Name the versions that decide the numbers."""
    names = ("torch", "torchvision", "numpy", "matplotlib")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)


def load_pictures(pictures: Sequence[Picture]) -> tuple[Image, ...]:
    """Load each of several pictures: anything that `load_image` takes."""
    return tuple(load_image(picture) for picture in pictures)


def show_answers(model: Model, images: Sequence[Image]) -> Finding:
    """Show the photographs, the part of each that the network is given, and its first answer."""
    boxes = model.prepare(list(images)).boxes
    answers = [predict(model, image, k=1)[0] for image in images]
    named = [f"{image.name}: {name} {share:.1%}" for image, (name, share, _) in zip(images, answers, strict=True)]
    panels = [draw_box(image.pixels, box) for image, box in zip(images, boxes, strict=True)]
    figure = draw_panels(
        panels,
        named,
        alt=f"{len(panels)} photographs with the network's first answer: {'; '.join(named)}.",
        columns=min(len(panels), 3),
        suptitle=f"What {model.name} answers",
        blocky=False,
    )
    return Finding(figure, f"First answers: {'; '.join(named)}.")
