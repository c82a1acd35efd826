"""What the convolutions of a network hold: how many, how coloured, how alike, and what they do to a photograph."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from xai.compute.filters import convolution_weights, filter_statistics, list_convolutions
from xai.figures.charts import layer_chart, similarity_heatmap
from xai.figures.panels import draw_panels
from xai.figures.style import colour_values
from xai.inspection import Filters
from xai.model import Model
from xai.report.lessons.finding import Finding
from xai.tracing import ImageTrace

TWIN = 0.9  # cosine from which two filters count as twins
GREY = 0.1  # share of a filter's energy that differs between the colours, below which it counts as grey


def tabulate_convolutions(model: Model) -> pd.DataFrame:
    """Count the convolutions of a network by kernel size and kind; one row each, the most weights first."""
    rows = []
    for name, module in list_convolutions(model.network):
        size = " x ".join(map(str, module.kernel_size))
        rows.append((size, _kind(name, module), module.out_channels, module.weight.numel()))
    table = pd.DataFrame(rows, columns=["kernel", "kind", "filters", "weights"])
    groups = table.groupby(["kernel", "kind"], sort=False)
    counted = groups.agg(convolutions=("filters", "size"), filters=("filters", "sum"), weights=("weights", "sum"))
    counted["share of weights (%)"] = (100 * counted["weights"] / counted["weights"].sum()).round(2)
    counted.index = [f"{size} {kind}" for size, kind in counted.index]
    return counted.rename_axis(columns="kernel").sort_values("weights", ascending=False)


def describe_count(model: Model) -> str:
    """Say how many convolutions there are, and how many of them are short cuts."""
    names = [name for name, _ in list_convolutions(model.network)]
    cuts = sum("downsample" in name for name in names)
    return f"{model.name} has {len(names)} convolutions; {cuts} of them are short cuts between stages."


def show_colours(kernels: Filters) -> Finding:
    """Show first-layer filters in colour, and say how many are dead, grey or coloured.

    The colour share of a filter is the part of its squared norm that remains when the mean over the three colours is
    taken away: 0 for a filter that treats red, green and blue alike, 1 for one that compares colours only.
    """
    weight = kernels.weight[~kernels.statistics.dead.numpy()]  # (living, 3, kh, kw)
    differing = np.square(weight - weight.mean(axis=1, keepdims=True)).sum(axis=(1, 2, 3))
    share = differing / np.square(weight).sum(axis=(1, 2, 3))  # (living,)
    count = len(kernels.weight)
    sentence = (
        f"{kernels.layer_name}: {count} filters. Dead: {count - len(weight)}; grey (colour share below {GREY:.0%}): "
        f"{int((share < GREY).sum())}; mostly a contrast of colours (above 50%): {int((share > 0.5).sum())}; "
        f"the median share is {float(np.median(share)):.0%}."
    )
    return Finding(kernels.figure(columns=8), sentence)


def show_components(kernels: Filters) -> Finding:
    """Show the first principal kernel of each filter, and say how much of the filter it holds."""
    inputs, explained = kernels.weight.shape[1], kernels.explained
    assert explained is not None, "ask for the filters with show='components'"
    living = explained[~kernels.statistics.dead.numpy()]
    sentence = (
        f"{kernels.layer_name}: {len(kernels.weight)} filters with {inputs} kernel{'s' * (inputs > 1)} each; the first "
        f"principal kernel holds {float(np.median(living)):.0%} of a filter (median; least {float(living.min()):.0%})."
    )
    return Finding(kernels.figure(columns=8), sentence)


def show_similarity(kernels: Filters) -> Finding:
    """Show which filters of a convolution resemble each other, similar ones side by side."""
    similar, dead = kernels.similarity, kernels.statistics.dead.numpy()
    above = np.triu(similar, k=1)
    first, second = np.unravel_index(int(above.argmax()), above.shape)
    title = f"Likeness of filters · {kernels.layer_name}"
    figure = similarity_heatmap(similar, order=kernels.order.tolist(), title=title)
    sentence = (
        f"The most alike pair is {first} and {second}, cosine {similar[first, second]:.2f}; pairs above {TWIN}: "
        f"{int((above > TWIN).sum())}. The most opposed pair has {above.min():.2f}. Dead filters: {int(dead.sum())}."
    )
    return Finding(figure, sentence)


def show_dead_and_twins(model: Model) -> Finding:
    """Show for each convolution with kernels larger than 1 x 1 how many filters are dead and how many have a twin."""
    named = [(name, module) for name, module in list_convolutions(model.network) if max(module.kernel_size) > 1]
    statistics = [filter_statistics(convolution_weights(model.network, name)) for name, _ in named]
    dead = [100 * each.dead_share for each in statistics]
    twins = [100 * float((each.nearest_similarity > TWIN).float().mean()) for each in statistics]
    figure = layer_chart(
        [name for name, _ in named],
        {"Dead filters (%)": dead, f"Filters with a twin, cosine > {TWIN} (%)": twins},
        title=f"{model.name} · convolutions with kernels larger than 1 x 1",
    )
    by_kind: dict[str, list[float]] = {}
    for share, (name, module) in zip(twins, named, strict=True):
        by_kind.setdefault(_kind(name, module), []).append(share)
    medians = [f"{np.median(shares):.0f}% ({kind}: {len(shares)})" for kind, shares in by_kind.items()]
    sentence = (
        f"Filters with a twin, median over the layers of each kind: {', '.join(medians)}. "
        f"Dead filters: {max(dead):.0f}% in {named[int(np.argmax(dead))][0]}, the most of all."
    )
    return Finding(figure, sentence)


def show_responses(traced: ImageTrace, kernels: Filters, count: int = 6) -> Finding:
    """Show the strongest first-layer filters above what each makes of the photograph, on one scale."""
    layer, network = kernels.layer_name, traced.model.network
    chosen = torch.argsort(kernels.statistics.norm, descending=True)[:count].tolist()
    maps = traced.activation(layer)[0].cpu().numpy()  # (C, h, w)
    limit = float(np.abs(maps[chosen]).max())
    colours = [np.rint(255 * kernels.kernels[index]).astype(np.uint8) for index in chosen]
    peaks = [f"max |value| {np.abs(maps[index]).max():.1f}" for index in chosen]
    panels = colours + [colour_values(maps[index], limit, signed=True) for index in chosen]
    figure = draw_panels(
        panels,
        [*(f"Filter {index}" for index in chosen), *peaks],
        alt=f"Filters {', '.join(map(str, chosen))} of {layer} in colour, above their responses to the photograph.",
        columns=len(chosen),
        suptitle=f"Filters and their responses, red positive, blue negative · {traced.images[0].name}",
    )
    gap = float(np.abs(_apply_by_hand(traced, network.get_submodule(layer)) - maps).max())
    sentence = (
        f"The {len(chosen)} filters with the largest norm, on one scale from {-limit:.1f} to {limit:.1f}. Sliding the "
        f"kernels over the picture by hand gives the network's own maps: largest difference {gap:.1g}."
    )
    return Finding(figure, sentence)


def _apply_by_hand(traced: ImageTrace, convolution: nn.Module) -> np.ndarray:
    """Compute a first convolution as sums of products of kernels and picture patches: float32 (C, h, w)."""
    assert isinstance(convolution, nn.Conv2d) and not isinstance(convolution.padding, str)
    classifier, (above, beside) = traced.classifier, convolution.padding
    normalised = (traced.pixels.detach() - classifier.mean) / classifier.std  # (1, 3, H, W)
    padded = nn.functional.pad(normalised, (beside, beside, above, above))[0]  # (1, 3, H, W) -> (3, H', W')
    (high, wide), (down, across) = convolution.kernel_size, convolution.stride
    patches = padded.unfold(1, high, down).unfold(2, wide, across)  # (3, H', W') -> (3, h, w, kh, kw)
    values = torch.einsum("cihw,iyxhw->cyx", convolution.weight.detach(), patches)  # (C, h, w)
    return (values if convolution.bias is None else values + convolution.bias.detach()[:, None, None]).cpu().numpy()


def _kind(name: str, module: nn.Conv2d) -> str:
    """Say whether a convolution mixes all channels or keeps to one each."""
    if "downsample" in name:
        return "short cut"
    if module.groups == 1:
        return "full"
    return "depthwise" if module.groups == module.in_channels else "grouped"
