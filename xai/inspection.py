"""Look inside a model: the feature maps of a layer for a picture, and the filters of a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xai.compute import activations
from xai.compute import filters as convolution
from xai.compute.layers import Layer
from xai.errors import UserError, one_of
from xai.io.geometry import Box
from xai.io.images import Image
from xai.model import Model
from xai.spec import RunSpec
from xai.tracing import ImageTrace, Picture, Target, check_trace, find_targets, trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = ("auto", "colours", "components", "channel")


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What the channels of one layer did for one picture.

    Attributes:
        maps: float32 (C, h, w), read-only, raw, in the network's own order of channels.
        order: int64 (C,), channels as sorted, best first.
        sort: how, one of `activations.RANKINGS`.
        statistics: of each channel.
        contributions: float32 (C,), how much each accounts for the score of the target; None if no class was asked for.
        target_name: the class that contributions speak of, or None.
        layer, image, box, spec: what was looked at, the part of the picture the maps cover, and how to make it again.
    """

    maps: np.ndarray
    order: np.ndarray
    sort: str
    statistics: activations.ChannelStatistics
    contributions: np.ndarray | None
    target_name: str | None
    layer: Layer
    image: Image
    box: Box
    spec: RunSpec

    @cached_property
    def signed(self) -> bool:
        """Whether the layer has negative values (it lies before a ReLU)."""
        return bool(self.maps.min() < 0)

    def activation_map(self, reduce: str = "mean") -> np.ndarray:
        """Return one value per place over all channels, float32 (h, w): "mean", "max" or "l2"."""
        return activations.activation_map(torch.from_numpy(self.maps.copy()), reduce).numpy()

    def table(self) -> pd.DataFrame:
        """Return one row per channel, in the sorted order."""
        import pandas as pd

        columns = {name: getattr(self.statistics, name).numpy() for name in ("mean", "minimum", "maximum", "variance")}
        columns |= {"zero_share": self.statistics.zero_share.numpy(), "dead": self.statistics.dead.numpy()}
        if self.contributions is not None:
            columns["contribution"] = self.contributions
        table = pd.DataFrame({"channel": np.arange(len(self.maps)), **columns})
        return table.iloc[self.order].reset_index(drop=True)

    def _order(self) -> str:
        return f"contribution to {self.target_name}" if self.sort == "contribution" else self.sort

    def figure(self, count: int = 64, **options: Any) -> Figure:
        """Draw the first `count` channels in sorted order on one scale; options go to `figures.grids.map_grid`."""
        from xai.figures.grids import map_grid

        chosen = self.order[:count]
        title = f"{self.layer.label} · first {len(chosen)} by {self._order()} · {self.spec.title}"
        options.setdefault("suptitle", title)
        titles = [str(channel) for channel in chosen]
        return map_grid(self.maps[chosen], titles, signed=self.signed, **options)


def feature_maps(
    source: Model | ImageTrace,
    image: Picture = None,
    layer: str | None = None,
    *,
    sort: str = "mean",
    target: Target = None,
    resize: str = "center-crop",
) -> FeatureMaps:
    """Take the feature maps of one layer from a real forward pass.

    Args:
        source: a model, or the trace of one picture, which saves the forward pass.
        image: anything `load_image` takes; may be left out with a trace.
        layer: name of a layer, by default the model's.
        sort: "channel" (the network's order), "mean", "max", "variance" (largest first) or "contribution" (to the score
            of the target).
        target: class for contributions; with sort "contribution" the predicted class unless given.
        resize: how the working pixels are made; a trace has its own.

    Raises:
        UserError: something named does not exist.
    """
    if sort not in activations.RANKINGS:
        raise one_of("sort", sort, activations.RANKINGS)
    model = source.model if isinstance(source, ImageTrace) else source
    found = model.layer(layer or model.default_layer)
    if isinstance(source, ImageTrace):
        check_trace(source, image)
    if not isinstance(source, ImageTrace) or found.name not in source.outputs:
        picture = source.images[0] if isinstance(source, ImageTrace) else image
        source = trace(
            model,
            picture,
            [found.name],
            resize=source.ready.resize if isinstance(source, ImageTrace) else resize,
        )
    values = source.activation(found.name)[0]  # (C, h, w)
    wanted = target is not None or sort == "contribution"
    targets = find_targets(source, target)[:1] if wanted else ()
    gradient = source.gradients(found.name, targets)[0] if wanted else None  # (C, h, w)
    contributions = None if gradient is None else activations.channel_contributions(values, gradient).numpy()
    maps = values.float().cpu().contiguous().numpy()
    maps.setflags(write=False)
    return FeatureMaps(
        maps=maps,
        order=activations.rank_channels(values, sort, gradient).cpu().numpy(),
        sort=sort,
        statistics=activations.channel_statistics(values),
        contributions=contributions,
        target_name=model.class_label(targets[0]) if targets else None,
        layer=found,
        image=source.images[0],
        box=source.ready.boxes[0],
        spec=source.spec("feature_maps", target=targets, layer=found.name, params={"sort": sort}),
    )


@dataclass(frozen=True, eq=False)
class Filters:
    """The kernels of one convolution.

    Attributes:
        weight: float32 (O, I, kh, kw), raw; I is the number of input channels per group.
        shown: "colours", "components" (first principal kernel of each filter) or "channel" (one input channel).
        kernels: what is drawn: float32 (O, kh, kw, 3) in [0, 1] for colours, else (O, kh, kw), signed.
        explained: float32 (O,), share of each filter that its first component holds; None unless components are shown.
        statistics: norms, nearest filters and dead filters.
        similarity: float32 (O, O), cosine between filters.
        order: int64 (O,), filters such that similar ones stand together.
        layer_name, spec: what was looked at, and how to make it again.
    """

    weight: np.ndarray
    shown: str
    kernels: np.ndarray
    explained: np.ndarray | None
    statistics: convolution.FilterStatistics
    similarity: np.ndarray
    order: np.ndarray
    layer_name: str
    spec: RunSpec

    def table(self) -> pd.DataFrame:
        """Return one row per filter."""
        import pandas as pd

        names = ("norm", "nearest", "nearest_similarity", "dead")
        columns = {name: getattr(self.statistics, name).numpy() for name in names}
        if self.explained is not None:
            columns["explained"] = self.explained
        return pd.DataFrame({"filter": np.arange(len(self.weight)), **columns})

    def figure(self, count: int = 64, **options: Any) -> Figure:
        """Draw the first `count` filters on one scale; options go to `figures.grids.kernel_grid`."""
        from xai.figures.grids import kernel_grid

        size = " x ".join(map(str, self.weight.shape[2:]))
        what = {
            "colours": "in colour",
            "components": "first principal kernel",
            "channel": "one input channel",
        }[self.shown]
        chosen = self.kernels[:count]
        title = f"{self.layer_name} · {len(chosen)} of {len(self.weight)} filters {size}, {what} · {self.spec.title}"
        options.setdefault("suptitle", title)
        return kernel_grid(chosen, [str(index) for index in range(len(chosen))], **options)


def filters(model: Model, layer: str | None = None, *, show: str = "auto", input_channel: int = 0) -> Filters:
    """Show what the filters of a convolution look for.

    Args:
        model: from `load_model`.
        layer: name of a convolution, by default the first.
        show: "colours" (a convolution that reads RGB), "components" (the first principal kernel over input channels),
            "channel" (the kernels of one input channel), or "auto": colours where possible, else components.
        input_channel: for "channel".

    Raises:
        UserError: the layer is no convolution, or what is to be shown does not exist there.
    """
    if show not in SHOWN:
        raise one_of("show", show, SHOWN)
    convolutions = [name for name, _ in convolution.list_convolutions(model.network)]
    if not convolutions:
        raise UserError(f"{model.name} has no convolution.")
    layer = layer or convolutions[0]
    weight = convolution.convolution_weights(model.network, layer)
    if show == "auto":
        show = "colours" if weight.shape[1] == 3 else "components"
    explained = None
    if show == "colours":
        shown = convolution.kernel_colours(weight)
    elif show == "channel":
        shown = convolution.kernel_slices(weight, input_channel)
    else:
        components = convolution.kernel_components(weight, 1)
        shown, explained = components.patterns[:, 0], components.explained[:, 0].numpy()
    similarity = convolution.filter_similarity(weight)
    params = {"show": show} | ({"input_channel": input_channel} if show == "channel" else {})
    return Filters(
        weight=weight.numpy(),
        shown=show,
        kernels=shown.numpy(),
        explained=explained,
        statistics=convolution.filter_statistics(weight),
        similarity=similarity.numpy(),
        order=convolution.similarity_order(similarity).numpy(),
        layer_name=layer,
        spec=model.spec("filters", layer=layer, params=params),
    )
