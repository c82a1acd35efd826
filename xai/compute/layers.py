"""Find and name what can be looked at in any network: its stages, blocks and convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from xai.compute.trace import ModuleOutput

GROUPS = ("stage", "block", "convolution", "other")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_POOLS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.FractionalMaxPool2d,
    nn.LPPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Layer:
    """One module whose output is a stack of feature maps.

    Attributes:
        name: dotted name of the module in the network.
        kind: class of the module, such as "Conv2d" or "Bottleneck".
        group: "stage" (last module at its resolution, or a row of blocks), "block", "convolution" or "other".
        shape: channels, height and width of its output at the network's input size.
        calls: how often one forward pass runs it; the last run is what a trace keeps.
    """

    name: str
    kind: str
    group: str
    shape: tuple[int, int, int]
    calls: int = 1

    @property
    def label(self) -> str:
        """Name, group and shape in one line."""
        channels, height, width = self.shape
        return f"{self.name} · {self.group} · {channels} × {height} × {width}"


def discover_layers(network: nn.Module, outputs: Sequence[ModuleOutput], classes: int) -> dict[str, Layer]:
    """Name every module that produces feature maps, in the order of computation.

    A stage is the last module of the trunk at each resolution (ResNet: relu, layer1 ... layer4); the trunk is found by
    descending from the root until a module changes the resolution at most once. A row of blocks that the network
    itself names is a stage too, also where the next one keeps the resolution (layer3 of a dilated ResNet). A block is
    a module of a class of its own inside the trunk (Bottleneck, InvertedResidual, CNBlock ...). Everything else that
    yields maps is "other". A last convolution with one channel per class (SqueezeNet) belongs to the head, not to a
    stage.

    Args:
        network: the network itself.
        outputs: what each module produced in one forward pass, from `record_outputs`.
        classes: number of scores.
    """
    maps = {o.name: o for o in outputs if len(o.shape) == 4 and min(o.shape[2:]) > 1}
    if not maps:
        maps = {o.name: o for o in outputs if len(o.shape) == 4}
    trunk = list(_trunk(network, "", maps))
    features = [name for name in trunk if maps[name].shape[1] != classes]
    stages = _last_of_each_size(network, features or trunk, maps)
    stages |= _named_rows(network, trunk)
    blocks = {name for item in trunk for name in _blocks(network.get_submodule(item), item, maps)} - stages
    layers = {}
    for name, output in maps.items():
        module = network.get_submodule(name)
        if name in stages:
            group = "stage"
        elif isinstance(module, CONVOLUTIONS):
            group = "convolution"
        else:
            group = "block" if name in blocks else "other"
        _, channels, height, width = output.shape
        layers[name] = Layer(name, type(module).__name__, group, (channels, height, width), output.calls)
    return layers


def offered(layers: Mapping[str, Layer]) -> tuple[str, ...]:
    """Names of the layers shown to people and kept by default: all but the "other" ones, or all if that leaves none."""
    return tuple(n for n, layer in layers.items() if layer.group != "other") or tuple(layers)


def propose_layer(layers: Mapping[str, Layer]) -> str:
    """Choose the layer where class evidence is most specific yet still has places: the last stage."""
    stages = [layer for layer in layers.values() if layer.group == "stage"] or list(layers.values())
    return stages[-1].name


def _trunk(module: nn.Module, prefix: str, maps: Mapping[str, ModuleOutput]) -> Iterator[str]:
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        inside = [n for n in maps if n.startswith(f"{full}.")]
        if full in maps and (not inside or len(_sizes(child, full, maps)) <= 2):
            yield full
        elif inside:
            yield from _trunk(child, f"{full}.", maps)


def _sizes(module: nn.Module, name: str, maps: Mapping[str, ModuleOutput]) -> set[tuple[int, ...]]:
    """Resolutions that occur inside a module: those of its convolutions (token layers are not maps), and its own."""
    sizes = {maps[name].shape[2:]}
    for inner, child in module.named_modules():
        output = maps.get(f"{name}.{inner}")
        if output is not None and isinstance(child, CONVOLUTIONS):
            sizes.add(output.shape[2:])
    return sizes


def _last_of_each_size(network: nn.Module, trunk: Sequence[str], maps: Mapping[str, ModuleOutput]) -> set[str]:
    last: dict[tuple[int, ...], str] = {}
    order = {name: position for position, name in enumerate(maps)}
    for name in sorted(trunk, key=order.__getitem__):
        if not isinstance(network.get_submodule(name), _POOLS):
            last[maps[name].shape[2:]] = name
    return set(last.values())


def _named_rows(network: nn.Module, trunk: Sequence[str]) -> set[str]:
    """Members of the trunk that are attributes of the network and hold blocks in a row."""
    children = dict(network.named_children())
    rows = {name: list(children[name].children()) for name in trunk if isinstance(children.get(name), nn.Sequential)}
    return {name for name, row in rows.items() if row and all(next(part.children(), None) is not None for part in row)}


def _is_encoder(module: nn.Module) -> bool:
    """Whether a module without convolutions holds a row of equal blocks, as the encoder of a transformer does."""
    rows = [list(part.children()) for part in module.children() if isinstance(part, _CONTAINERS)]
    equal = any(len(row) > 1 and len(set(map(type, row))) == 1 and list(row[0].children()) for row in rows)
    return equal and not any(isinstance(part, CONVOLUTIONS) for part in module.modules())


def _blocks(module: nn.Module, name: str, maps: Mapping[str, ModuleOutput]) -> Iterator[str]:
    """Yield the outermost modules with parts that are more than a plain container, at or below `name`."""
    parts = list(module.children())
    nested = any(next(part.children(), None) is not None for part in parts)
    plain = type(module) is nn.Sequential or (isinstance(module, _CONTAINERS) and nested) or _is_encoder(module)
    if parts and not plain and name in maps:
        yield name
    else:
        for inner, child in module.named_children():
            yield from _blocks(child, f"{name}.{inner}", maps)
