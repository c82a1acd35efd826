"""A classifier ready to be explained: the network, its preprocessing, its class names and its layers."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xai.compute.layers import Layer, offered
from xai.compute.trace import Classifier
from xai.errors import UserError, one_of
from xai.io.geometry import InputFormat, Prepared, prepare_images
from xai.io.images import Image
from xai.spec import RunSpec

UNTRAINED = "untrained"


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier that several threads may share; nothing about it changes after loading.

    Attributes:
        name: of the architecture, or of the caller's class or factory.
        weights: "IMAGENET1K_V1", "file NAME", "untrained" or "own".
        class_names: in the order of the scores.
        fmt: what the network wants to be given.
        output: "softmax" (one class out of many) or "sigmoid" (each class on its own).
        classifier: pixels in [0, 1] (N, 3, h, w) to scores (N, K), normalisation inside; the project's own frozen copy.
        all_layers: every module that yields feature maps, by dotted name, in the order of computation.
        default_layer: the layer an explanation uses when none is named.
        weights_digest: sha256 of all parameters and buffers.
        notes: what preflight found worth knowing, in plain sentences.
        options: what `load_model` was told about input and output, for the RunSpec.
    """

    name: str
    weights: str
    class_names: tuple[str, ...]
    fmt: InputFormat
    output: str
    classifier: Classifier
    all_layers: Mapping[str, Layer]
    default_layer: str
    weights_digest: str
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The wrapped network, whose module names are the layer names."""
        return self.classifier.network

    @property
    def trained(self) -> bool:
        """False when the weights are random, so that explanations show nothing learned."""
        return self.weights != UNTRAINED

    @property
    def title(self) -> str:
        """Name and weights for headings: "resnet50 · IMAGENET1K_V1" or "resnet18 (untrained)"."""
        return f"{self.name} · {self.weights}" if self.trained else f"{self.name} (untrained)"

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the working pixels."""
        return self.fmt.size

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.classifier.mean.device

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def layers(self) -> Mapping[str, Layer]:
        """Return the layers offered to people: stages, blocks and convolutions, in the order of computation."""
        return {name: self.all_layers[name] for name in offered(self.all_layers)}

    def layer(self, name: str) -> Layer:
        """Return any layer that yields feature maps.

        Raises:
            UserError: there is none of that name; the sentence lists the offered ones.
        """
        if name not in self.all_layers:
            raise one_of("layer", name, self.layers())
        return self.all_layers[name]

    def prepare(self, image: Image | Sequence[Image], resize: str = "center-crop") -> Prepared:
        """Make the working pixels (N, 3, h, w) in [0, 1] of one or more images; see `prepare_images`."""
        return prepare_images([image] if isinstance(image, Image) else list(image), self.fmt, resize)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Turn scores (N, K) into probabilities (N, K)."""
        return scores.sigmoid() if self.output == "sigmoid" else scores.softmax(-1)

    def class_label(self, index: int) -> str:
        """Return the name of a class, with its index where two classes share the name."""
        name = self.class_names[index]
        return f"{name} ({index})" if self.class_names.count(name) > 1 else name

    def find_class(self, target: int | str) -> int:
        """Return the index of a class given by index, name or label.

        Raises:
            UserError: there is no such class, or several have the name; the sentence gives close names or the indices.
        """
        last = len(self.class_names) - 1
        if not isinstance(target, str) or target.strip().isdecimal():
            index = _as_index(target)
            if not 0 <= index <= last:
                raise UserError(f"Unknown class {str(target)[:20]}; {self.name} has classes 0 to {last}.")
            return index
        wanted = " ".join(target.lower().replace("_", " ").split())
        found = [i for i, name in enumerate(self.class_names) if name.lower().replace("_", " ") == wanted]
        if not found:
            found = [i for i in range(last + 1) if self.class_label(i).lower() == wanted]
        if len(found) > 1:
            raise UserError(
                f"Class name '{target}' occurs {len(found)} times; give one index of: {', '.join(map(str, found))}."
            )
        if not found:
            raise self._unknown_class(target, wanted)
        return found[0]

    def spec(self, method: str, **rest: Any) -> RunSpec:
        """Return a RunSpec with what the model knows about itself."""
        return RunSpec(
            model=self.name,
            weights=self.weights,
            weights_digest=self.weights_digest,
            device=self.device.type,
            method=method,
            model_options=self.options,
            **rest,
        )

    def _unknown_class(self, target: str, wanted: str) -> UserError:
        containing = [
            self.class_label(i) for i, name in enumerate(self.class_names) if wanted and wanted in name.lower()
        ]
        if containing:
            return one_of("class", target, containing[:10])
        if len(self.class_names) <= 20:
            return one_of("class", target, self.class_names)
        last = len(self.class_names) - 1
        return UserError(
            f"Unknown class '{target}'; give an index from 0 to {last} or a name such as '{self.class_names[0]}'."
        )


def _as_index(target: object) -> int:
    """Return a class index given as digits or as an integer of any kind, NumPy's and torch's too."""
    try:
        return int(target.strip()[:20]) if isinstance(target, str) else operator.index(target)  # type: ignore[arg-type]
    except TypeError:
        raise UserError(f"A class is given by index or name, not {target!r}.") from None
