"""Load a classifier by name, or take one's own, and say in plain words what is wrong with it."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from xai.compute.layers import Layer, discover_layers, offered, propose_layer
from xai.compute.trace import Classifier, ModuleOutput, record_outputs, trace_pixels
from xai.errors import UserError, one_of
from xai.io.geometry import InputFormat
from xai.io.model_files import MODEL_FILE, RUN_FILE, ModelFile, is_model_file, model_file_beside, read_model_file
from xai.io.models import MODELS, Preset, build_from_file, build_pretrained, find_model, same_random_numbers
from xai.io.weights import (
    WEIGHT_SUFFIXES,
    DownloadProgress,
    first_line,
    load_state,
    read_state_dict,
    weights_digest,
)
from xai.model import UNTRAINED, Model

_Known = Preset | ModelFile  # both say class names and preprocessing
OUTPUTS = ("softmax", "sigmoid")
DEVICES = ("auto", "cpu", "cuda", "mps")


@torch.inference_mode(False)  # the weights of a network made in inference mode allow no gradients, ever
def load_model(
    source: str | nn.Module | Callable[[], nn.Module],
    *,
    weights: str | os.PathLike[str] | None = "default",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    output: str = "softmax",
    reshape: Callable[[Tensor], Tensor] | None = None,
    device: str | torch.device = "auto",
    on_progress: DownloadProgress | None = None,
) -> Model:
    """Load a classifier by name, or take one's own.

    Args:
        source: a name in `MODELS`, a model file of `xai train` (or the folder that holds it), a module (it is copied
            and never touched), a function that builds one (what it returns is frozen and belongs to the model from
            then on), or "package.module:function".
        weights: "default" (official weights; for an own network: as it is), the name of official weights, the path of
            a .safetensors or .pth state dict, or None or "none" for an untrained network. Official weights are
            downloaded once.
        mean, std: normalisation of pixels in [0, 1], one value per channel; ImageNet's unless given.
        input_size: height and width of the working pixels, or one number for both.
        class_names: one per score.
        output: "softmax" or "sigmoid": how scores become probabilities.
        reshape: turns the output of a token layer (N, T, D) into a map (N, D, h, w).
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "mps".
        on_progress: called with (fraction, sentence) during a download.

    Raises:
        UserError: a name is unknown, weights do not fit, or the network cannot classify pixels of that size.
    """
    if output not in OUTPUTS:
        raise one_of("output", output, OUTPUTS)
    place = find_device(device)
    name, network, label, preset = _build(source, None if weights == "none" else weights, on_progress)
    fmt = _input_format(network, preset, mean, std, input_size)
    sentences = describe_module(network) if isinstance(source, nn.Module) else []
    network = network.to(place).to(memory_format=torch.channels_last)
    classifier = Classifier(network, fmt.mean, fmt.std, channels=fmt.channels, reshape=reshape).to(place)
    scores, outputs = _try_out(classifier, fmt)
    names = _class_names(class_names, scores.shape[1], preset)
    layers = discover_layers(network, outputs, len(names))
    if not layers:
        raise UserError(f"No module of {name} yields feature maps (N, C, h, w); a network of tokens needs `reshape`.")
    return Model(
        name=name,
        weights=label,
        class_names=names,
        fmt=fmt,
        output=output,
        classifier=classifier,
        all_layers=MappingProxyType(layers),
        default_layer=propose_layer(layers) if reshape is None else _propose_token_layer(classifier, layers, fmt),
        weights_digest=weights_digest(network),
        notes=(*sentences, *_describe_outputs(scores, outputs, network, output)),
        options=_told(fmt, {"mean": mean, "std": std, "input_size": input_size}, output),
    )


def preflight(source: str | nn.Module | Callable[[], nn.Module], **options: object) -> tuple[str, ...]:
    """Say in plain sentences what `load_model` would find wrong or worth knowing about a network; empty if nothing."""
    try:
        return load_model(source, **options).notes  # type: ignore[arg-type]
    except UserError as error:
        return (str(error),)


def default_model() -> tuple[str, str | None]:
    """Return name and weights of what can be shown at once: official ones on disk, what ships, or none (untrained)."""
    there = (
        (entry.name, preset.name) for entry in MODELS.values() for preset in entry.presets.values() if preset.on_disk
    )
    return next(there, ("resnet18", None))


def _build(
    source: str | nn.Module | Callable[[], nn.Module],
    weights: str | os.PathLike[str] | None,
    on_progress: DownloadProgress | None,
) -> tuple[str, nn.Module, str, _Known | None]:
    """Return name, network (the project's own), weights label, and what is known of its preprocessing and classes."""
    path: Path | None
    described: ModelFile | None
    if isinstance(source, str) and is_model_file(source):
        file = read_model_file(source)
        if weights != "default":
            raise UserError(f"The weights of '{source}' lie beside it; leave them out, not {str(weights)!r}.")
        if not file.fits_weights():
            raise UserError(f"The weights '{file.weights}' are missing, or not those that '{source}' describes.")
        source, path, described = file.architecture, file.weights, file
    else:
        path = Path(weights) if weights is not None and _is_path(weights) else None
        described = model_file_beside(path) if path is not None else None
    if not isinstance(source, str) or ":" in source:
        name, network = own_network(source)
        if path is not None:
            load_state(network, read_state_dict(path), path.name)
            return name, network, f"file {path.name}", described
        if weights not in ("default", None):
            raise one_of(f"weights for {name}", weights, ("default", "a .safetensors or .pth file", "none"))
        return name, network, "own" if weights == "default" else UNTRAINED, None
    _refuse_path(source)
    entry = find_model(source)
    first = entry.preset(entry.default_weights)
    if path is not None:
        if described is not None and described.architecture != source:
            raise UserError(f"The weights '{path}' are those of {described.architecture}, not of {source}.")
        return source, build_from_file(source, path), f"file {path.name}", described or first
    if weights is None:
        return source, entry.build(), UNTRAINED, first
    chosen = entry.default_weights if weights == "default" else str(weights)
    return source, build_pretrained(source, chosen, on_progress), chosen, entry.preset(chosen)


def _refuse_path(source: str) -> None:
    """Say what is wrong with a path where the name of a network should be; nothing where it may be such a name."""
    if source.endswith(WEIGHT_SUFFIXES):
        raise UserError(
            f"'{source}' is a file of weights: give it as the weights, and the network it belongs to by name."
        )
    if (Path(source) / RUN_FILE).is_file():
        raise UserError(
            f"'{source}' holds a run, and no model yet: `xai train --resume` finishes a training, and"
            " `xai scan export` makes a model of a head."
        )
    if _is_path(source):
        raise UserError(
            f"There is no model at '{source}': it takes a folder with {MODEL_FILE}, as `xai train` and"
            " `xai scan export` write one, or the name of a network, see `xai models`."
        )


def _is_path(weights: str | os.PathLike[str]) -> bool:
    return not isinstance(weights, str) or weights.endswith(WEIGHT_SUFFIXES) or os.sep in weights


def own_network(source: str | nn.Module | Callable[[], nn.Module]) -> tuple[str, nn.Module]:
    """Return name and network of somebody's own module (copied), function, or "package.module:function".

    Raises:
        UserError: it cannot be copied, imported or called, or gives no module.
    """
    if isinstance(source, nn.Module):
        try:
            return type(source).__name__, copy.deepcopy(source)
        except (RuntimeError, TypeError) as error:
            raise UserError(
                f"{type(source).__name__} cannot be copied ({first_line(error)}); give a function that builds it."
            ) from error
    factory = _find_factory(source) if isinstance(source, str) else source
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UserError(f"{source!r} is no model: give a name, a torch.nn.Module, or a function that builds one.")
    name = source if isinstance(source, str) else getattr(source, "__name__", "own network")
    with same_random_numbers():
        try:
            network = factory()
        except Exception as error:  # somebody's own code may raise anything
            raise UserError(f"{name} failed with {type(error).__name__}: {first_line(error)}.") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} returned {type(network).__name__}, not a torch.nn.Module.")
    return name, network


def _find_factory(source: str) -> Callable[[], nn.Module]:
    module_name, _, attribute = source.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # importing runs somebody's own code
        raise UserError(
            f"Model '{source}' cannot be imported: {first_line(error)}; write it as package.module:function."
        ) from error


def find_device(device: str | torch.device) -> torch.device:
    """Return the device of that name; "auto" is a GPU if there is one.

    Raises:
        UserError: the name is unknown, or this computer has no such device.
    """
    device = str(device)
    if device not in DEVICES and not device.startswith("cuda:"):
        raise one_of("device", device, DEVICES)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next((name for name, present in there.items() if present), "cpu"))
    if not there.get(device.partition(":")[0], True):
        raise UserError(f"Device '{device}' is not on this computer; use 'cpu' or 'auto'.")
    return torch.device(device)


def _input_format(
    network: nn.Module,
    preset: _Known | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    input_size: int | tuple[int, int] | None,
) -> InputFormat:
    fmt = preset.fmt if preset else InputFormat()
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels == 1:
        fmt = replace(fmt, channels=1, mean=(0.5,), std=(0.5,))
    if mean is not None or std is not None:
        mean, std = (fmt.mean if mean is None else mean), (fmt.std if std is None else std)
        fmt = replace(fmt, mean=tuple(map(float, mean)), std=tuple(map(float, std)))
    if {len(fmt.mean), len(fmt.std)} != {fmt.channels} or min(fmt.std) <= 0:
        raise UserError(
            f"mean and std must each have {fmt.channels} value(s), std above 0; got mean {fmt.mean}, std {fmt.std}."
        )
    if input_size is not None:
        height, width = (input_size, input_size) if isinstance(input_size, int) else input_size
        fmt = replace(fmt, size=(height, width), resize=round(max(height, width) * fmt.resize / max(fmt.size)))
    return fmt


def _told(fmt: InputFormat, given: Mapping[str, object], output: str) -> dict[str, object]:
    """Keep what the caller chose about input and output: the weights' digest does not hold it."""
    used = {"mean": fmt.mean, "std": fmt.std, "input_size": fmt.size}
    told: dict[str, object] = {name: list(used[name]) for name, value in given.items() if value is not None}
    return told if output == "softmax" else told | {"output": output}


def _try_out(classifier: Classifier, fmt: InputFormat) -> tuple[Tensor, list[ModuleOutput]]:
    height, width = fmt.size
    name = type(classifier.network).__name__
    try:
        scores, outputs = record_outputs(classifier, torch.full((1, 3, height, width), 0.5))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise UserError(
            f"{name} cannot take pixels (1, {fmt.channels}, {height}, {width}): {first_line(error)}."
        ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(f"{name} must return scores (N, classes) for pixels (N, ...); it returns {shape}.")
    return scores, outputs


def _propose_token_layer(classifier: Classifier, layers: Mapping[str, Layer], fmt: InputFormat) -> str:
    """Choose the last layer where places matter: a head that reads only the class token leaves later ones without."""
    names = offered(layers)
    pixels = torch.rand(1, 3, *fmt.size, generator=torch.Generator().manual_seed(0))
    trace = trace_pixels(classifier, pixels, names, input_gradient=True)
    reached = [name for name in names if trace.edges[name] is not None and trace.gradients(name, [0]).any()]
    return (reached or [propose_layer(layers)])[-1]


def _class_names(given: Sequence[str] | None, classes: int, preset: _Known | None) -> tuple[str, ...]:
    if given is not None and len(given) != classes:
        raise UserError(f"class_names has {len(given)} names, but the network has {classes} scores.")
    if given is not None:
        return tuple(map(str, given))
    if preset is not None and len(preset.class_names) == classes:
        return preset.class_names
    return tuple(f"class {index}" for index in range(classes))


def describe_module(network: nn.Module) -> list[str]:
    """Say what the state of an own module means for its explanations."""
    sentences = []
    if any(module.training for module in network.modules()):
        sentences.append("The network was in train mode; a copy in eval mode is explained, with dropout off.")
    parameters = list(network.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        sentences.append("All weights are frozen; that is fine for explanations, only training needs them unfrozen.")
    return sentences


def _describe_outputs(scores: Tensor, outputs: Sequence[ModuleOutput], network: nn.Module, output: str) -> list[str]:
    sentences = []
    if scores.shape[1] == 1 and output == "softmax":
        sentences.append("The network has one score, whose softmax is always 100 %; load it with output 'sigmoid'.")
    if not torch.isfinite(scores).all():
        sentences.append("The scores of a plain grey picture are not finite; check the weights and the normalisation.")
    elif (
        scores.shape[1] > 1
        and scores.min() >= 0
        and torch.allclose(scores.sum(1), torch.ones(1, device=scores.device), atol=1e-4)
    ):
        sentences.append(
            "The scores sum to 1, so the network seems to end in softmax; explain the scores before it instead."
        )
    reused = [o.name for o in outputs if o.calls > 1]
    relus = [name for name in reused if isinstance(network.get_submodule(name), nn.ReLU)]
    if relus:
        sentences.append(
            f"{len(relus)} ReLU module(s) run more than once per pass (first: {relus[0]}): "
            "Grad-CAM is not touched by it; DeepLIFT, LRP and guided rules need a copy with one ReLU per call."
        )
    return sentences
