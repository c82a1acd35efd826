"""The classifiers that are offered by name: how to build each, and the weights that exist for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
import torchvision
from torch import Tensor, nn

from xai.compute.small_resnet import SmallResNet
from xai.errors import UserError, one_of
from xai.io.geometry import InputFormat
from xai.io.model_files import is_model_file, read_model_file
from xai.io.weights import DownloadProgress, cached_file, download, load_state, read_state_dict

BUNDLED = "bundled"  # the classifier that comes with the project
_generator_lock = threading.RLock()  # a function that builds a network may build another


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Let what is built inside get the same random weights every time, in any thread, and put the generator back."""
    with _generator_lock, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@dataclass(frozen=True)
class Preset:
    """One set of published weights.

    Attributes:
        name: such as "IMAGENET1K_V1".
        url: where the weights come from.
        megabytes: size of the download.
        class_names: in the order of the scores.
        fmt: the preprocessing they were trained for.
        top1, top5: measured accuracy in percent.
        measured_on: the pictures it was measured on.
        shipped: the file, where the weights come with the project.
    """

    name: str
    url: str
    megabytes: float
    class_names: tuple[str, ...]
    fmt: InputFormat
    top1: float
    top5: float
    measured_on: str = "ImageNet"
    shipped: Path | None = None

    @property
    def path(self) -> Path:
        """Where the weights lie once they are on this computer."""
        return self.shipped or cached_file(self.url)

    @property
    def on_disk(self) -> bool:
        """Whether the weights can be loaded without a network connection."""
        return self.path.is_file()


@dataclass(frozen=True)
class ModelEntry:
    """A classifier that can be loaded by name.

    Attributes:
        name: torchvision's name of the architecture, or "bundled".
        presets: the weights that exist, by name; the first is the default.
        parameters: number of parameters.
    """

    name: str
    presets: Mapping[str, Preset]
    parameters: int

    @property
    def default_weights(self) -> str:
        """Name of the weights taken when none are named."""
        return next(iter(self.presets))

    def preset(self, weights: str) -> Preset:
        """Return the weights of that name.

        Raises:
            UserError: there are no such weights for this model.
        """
        if weights not in self.presets:
            raise one_of(f"weights for {self.name}", weights, self.presets)
        return self.presets[weights]

    def build(self, classes: int = 1000) -> nn.Module:
        """Build the untrained network; its random weights are the same every time."""
        with same_random_numbers():
            return self._construct(classes)

    def build_empty(self, classes: int = 1000) -> nn.Module:
        """Build the network with no weights in it, to be filled from a state dict: much faster than `build`."""
        try:
            with torch.device("meta"):
                network = self._construct(classes, transform_input=True)
        except NotImplementedError:  # RegNet computes its widths with tensors
            return self.build(classes)
        network.to_empty(device="cpu")
        for buffer in network.buffers():
            buffer.zero_()  # a state dict may lack the batch counters
        return network

    def _construct(self, classes: int, *, transform_input: bool = False) -> nn.Module:
        if self.name == BUNDLED:
            return SmallResNet(classes)
        options: dict[str, object] = {"num_classes": classes}
        if self.name in ("googlenet", "inception_v3"):  # their published weights want inputs scaled in their own way
            options |= {"aux_logits": False, "init_weights": not transform_input, "transform_input": transform_input}
        return torchvision.models.get_model(self.name, weights=None, **options)


_NAMES = (
    "resnet50",
    "resnet18",
    "resnet34",
    "resnet101",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "vgg16",
    "vgg16_bn",
    "alexnet",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "squeezenet1_1",
    "googlenet",
    "inception_v3",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "regnet_y_400mf",
)


def _entry(name: str) -> ModelEntry:
    presets = {}
    parameters = 0
    for weights in torchvision.models.get_model_weights(name):
        if not weights.name.startswith("IMAGENET1K_V"):
            continue
        shown = weights.transforms()
        fmt = InputFormat(
            mean=tuple(shown.mean),
            std=tuple(shown.std),
            size=(shown.crop_size[0], shown.crop_size[0]),
            resize=shown.resize_size[0],
            interpolation=shown.interpolation.value,
        )
        accuracy = weights.meta["_metrics"]["ImageNet-1K"]
        presets[weights.name] = Preset(
            name=weights.name,
            url=weights.url,
            megabytes=weights.meta["_file_size"],
            class_names=tuple(weights.meta["categories"]),
            fmt=fmt,
            top1=accuracy["acc@1"],
            top5=accuracy["acc@5"],
        )
        parameters = weights.meta["num_params"]
    return ModelEntry(name, MappingProxyType(presets), parameters)


def _shipped() -> dict[str, ModelEntry]:
    """Describe the classifier whose weights lie in the package; none while there are none."""
    folder = Path(__file__).resolve().parents[1] / BUNDLED
    if not is_model_file(str(folder)):
        return {}
    file = read_model_file(folder)
    measured = file.about["measured"]
    preset = Preset(
        name="TINY_IMAGENET",
        url="",
        megabytes=round(file.about["megabytes"], 1),
        class_names=file.class_names,
        fmt=file.fmt,
        top1=round(100 * measured["top1"], 1),
        top5=round(100 * measured["top5"], 1),
        measured_on="Tiny-ImageNet",
        shipped=file.weights,
    )
    return {BUNDLED: ModelEntry(BUNDLED, MappingProxyType({preset.name: preset}), file.about["parameters"])}


MODELS: Mapping[str, ModelEntry] = MappingProxyType({name: _entry(name) for name in _NAMES} | _shipped())


def find_model(name: str) -> ModelEntry:
    """Return the entry of that name.

    Raises:
        UserError: there is none; the sentence lists the valid ones.
    """
    if name not in MODELS:
        raise one_of("model", name, MODELS)
    return MODELS[name]


def build_pretrained(name: str, weights: str, on_progress: DownloadProgress | None = None) -> nn.Module:
    """Build a network with published weights, downloading them when they are not on this computer.

    Raises:
        UserError: unknown names, or the download failed; the sentence says what to use instead.
    """
    entry = find_model(name)
    preset = entry.preset(weights)
    try:
        path = preset.shipped or download(preset.url, on_progress)
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}. Without a network give weights as a file (.safetensors or .pth), "
            "or none for the untrained network."
        ) from error
    network = entry.build_empty(len(preset.class_names))
    load_state(network, _own_keys(network, read_state_dict(path)), f"{name} {weights}")
    return network


def build_from_file(name: str, path: Path) -> nn.Module:
    """Build a network with the weights of a file; the number of classes is read from its last layer.

    Raises:
        UserError: the file cannot be read or does not fit the architecture.
    """
    entry = find_model(name)
    state = read_state_dict(path)
    network = entry.build_empty()
    head = next(key for key in reversed(network.state_dict()) if key.endswith("weight"))
    if head in state and len(state[head]) != 1000 and state[head].ndim == network.state_dict()[head].ndim:
        network = entry.build_empty(len(state[head]))
    load_state(network, _own_keys(network, state), path.name)
    return network


def _own_keys(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the auxiliary heads of GoogLeNet and Inception, which only training uses.

    DenseNet's published weights write "norm.1" where the network says "norm1".
    """
    own = network.state_dict()
    renamed = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): value for key, value in state.items()
    }
    return {key: value for key, value in renamed.items() if key in own or not key.lower().startswith("aux")}
