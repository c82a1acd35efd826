"""What the layers answer to a photograph: strength, silence, places, and what a wrong way to compute them gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from xai.compute.activations import REDUCTIONS, activation_map, layer_statistics
from xai.compute.filters import list_convolutions
from xai.figures.charts import layer_chart
from xai.figures.panels import Scale, draw_panels
from xai.figures.style import colour_scale
from xai.inspection import FeatureMaps, feature_maps
from xai.io.images import load_image
from xai.model import Model
from xai.report.lessons.finding import OWN_SCALE, Finding, colour_each, correlate, crop_picture, overlay_each
from xai.report.lessons.network import choose_layers
from xai.tracing import ImageTrace, Picture, trace


def show_maps(maps: FeatureMaps, count: int = 64) -> Finding:
    """Show channels of a layer, and say how many were silent, which answered most, what they add to a class score."""
    channels, height, width = maps.maps.shape
    dead, strongest = int(maps.statistics.dead.sum()), int(maps.statistics.maximum.argmax())
    sentence = (
        f"{maps.layer.name}: {channels} channels of {height} x {width}; {dead} of them ({dead / channels:.0%}) are "
        f"dead for this picture; the highest value, {float(maps.maps.max()):.1f}, is in channel {strongest}."
    )
    if not maps.signed:
        sentence += f" {float((maps.maps == 0).mean()):.0%} of the values are zero."
    if maps.contributions is not None:
        speaking, total = maps.contributions[maps.contributions > 0], float(maps.contributions.sum())
        half = int(np.searchsorted(np.cumsum(np.sort(speaking)[::-1]), speaking.sum() / 2)) + 1
        sentence += (
            f" {len(speaking)} channels speak for {maps.target_name}, and {half} of them give half of what speaks "
            f"for it; all channels together add {total:.2f} to its score."
        )
    order = {"channel": "in the network's order", "contribution": f"by contribution to {maps.target_name}"}
    shown, how = min(count, channels), order.get(maps.sort, f"by {maps.sort}")
    where = f"{maps.layer.name} ({channels} x {height} x {width}) · {maps.image.name} · {maps.spec.model}"
    limit, label = None, "Activation"
    if maps.signed:  # a few spots would set the scale and leave all else pale
        limit, label = float(np.quantile(np.abs(maps.maps), 0.995)), "Activation (0.5% lie beyond)"
    title = f"{shown} of {channels} channels, {how} · {where}"
    figure = maps.figure(count, columns=8, suptitle=title, limit=limit, value_label=label)
    figure.set_label(
        f"{shown} feature maps of {maps.layer.name} for the photograph {maps.image.name}, {how}, on one scale."
    )
    return Finding(figure, sentence)


def show_layer_statistics(model: Model, picture: Picture) -> Finding:
    """Show how much of each layer stays silent, after each activation function, in one forward pass."""
    layers = choose_layers(model).after_relu
    rows = layer_statistics(trace(model, picture, layers).outputs)
    zero, dead = [100 * row.zero_share for row in rows], [100 * row.dead_share for row in rows]
    name = load_image(picture).name
    figure = layer_chart(
        [row.layer for row in rows],
        {"Mean activation": [row.mean for row in rows], "Values at zero (%)": zero, "Dead channels (%)": dead},
        title=f"{model.name} · {name} · after each activation function",
    )
    most = max(rows, key=lambda row: row.dead_share)
    sentence = (
        f"Values at zero: {zero[0]:.0f}% after the first activation function, {zero[-1]:.0f}% after the last. "
        f"Dead channels: most in {most.layer}, {most.dead_share:.0%} of {most.channels}; "
        f"{sum(row.dead_share < 0.05 for row in rows)} of {len(rows)} layers have fewer than 5%."
    )
    return Finding(figure, sentence)


def show_depth(traced: ImageTrace, layers: Sequence[str]) -> Finding:
    """Show where each of several layers answers: the length of the channel vector at each place."""
    maps = [_reduced(traced, layer, "l2") for layer in layers]
    sizes = [f"{values.shape[0]} x {values.shape[1]}" for values in maps]
    titles = [
        f"{layer}, {size}, max {values.max():.3g}" for layer, size, values in zip(layers, sizes, maps, strict=True)
    ]
    image = traced.images[0]
    figure = draw_panels(
        [crop_picture(image, traced.ready.boxes[0]), *colour_each(maps, signed=False)],
        ["What the network is given", *titles],
        alt=f"The photograph {image.name} and one activation map for each of: {'; '.join(titles)}.",
        columns=3,
        suptitle=f"Length of the channel vector at each place · {image.name} · {traced.model.name}",
        scale=Scale(colour_scale(1.0), OWN_SCALE),
    )
    places = [values.size for values in maps]
    sentence = (
        f"From {layers[0]} to {layers[-1]} the number of places falls from {places[0]:,} to {places[-1]:,}, "
        f"while the channels at each place go from {traced.activation(layers[0]).shape[1]} "
        f"to {traced.activation(layers[-1]).shape[1]:,}."
    )
    return Finding(figure, sentence)


def compare_reductions(traced: ImageTrace, layer: str) -> Finding:
    """Show mean, maximum and length over the channels of one layer side by side."""
    maps = [_reduced(traced, layer, reduce) for reduce in REDUCTIONS]
    names = ("Mean", "Maximum", "Length (L2)")
    titles = [f"{name} over channels (max {values.max():.3g})" for name, values in zip(names, maps, strict=True)]
    figure = overlay_each(
        [(traced.images[0], traced.ready.boxes[0])] * len(maps),
        maps,
        titles,
        suptitle=f"One layer, three summaries · {layer} · {traced.model.name}",
        alt=f"Three activation maps of {layer} over the photograph {traced.images[0].name}: {', '.join(titles)}.",
    )
    mean_max, mean_length = correlate(maps[0], maps[1]), correlate(maps[0], maps[2])
    sentence = f"Correlation with the mean: {mean_length:.2f} for the length, {mean_max:.2f} for the maximum."
    return Finding(figure, sentence)


def compare_with_chain(traced: ImageTrace) -> Finding:
    """Show what chaining the convolutions, with nothing between them, gives in place of the network's own maps."""
    names = [name for name, _ in list_convolutions(traced.model.network) if "downsample" not in name]
    chained = chain_convolutions(traced, names)
    reached = list(chained)
    chosen = [reached[round(share * (len(reached) - 1))] for share in (0, 0.1, 0.5, 1)]
    real = {name: traced.activation(name)[0].cpu() for name in chosen}
    rows = [[values[name].mean(0).numpy() for name in chosen] for values in (real, chained)]
    # Without the pooling layers the chain may keep more places; it is compared at the real layer's.
    same = [correlate(real[name].numpy(), _pool_to(chained[name], real[name]).numpy()) for name in chosen]
    titles = [f"Real: {name}" for name in chosen] + [f"Chained: r = {value:.2f}" for value in same]
    figure = draw_panels(
        colour_each([*rows[0], *rows[1]], signed=True),
        titles,
        alt=f"Mean over channels of {', '.join(chosen)}: above as the network computes them, below chained.",
        columns=len(chosen),
        suptitle=f"Real forward pass and chained convolutions · {traced.images[0].name} · {traced.model.name}",
        scale=Scale(colour_scale(1.0, signed=True), OWN_SCALE),
    )
    sentence = (
        f"Correlation of chained and real values, all channels: {same[0]:.2f} at convolution 1, {same[1]:.2f} at "
        f"{reached.index(chosen[1]) + 1}, {same[-1]:.2f} at {len(reached)}. Largest |value| there: "
        f"{float(chained[chosen[-1]].abs().max()):.2g} chained, {float(real[chosen[-1]].abs().max()):.2g} real."
    )
    return Finding(figure, sentence)


def chain_convolutions(traced: ImageTrace, names: Sequence[str]) -> dict[str, Tensor]:
    """Apply convolutions one after another, without the norms, activation functions, pools and short cuts between.

    This is not what the network computes; it is the common mistake to compare with.

    Args:
        traced: of one picture.
        names: convolutions of its model, in order; from the first that does not fit on, the rest is left out.

    Returns:
        Name to float32 (C, h, w).
    """
    classifier = traced.classifier
    values = ((traced.pixels.detach() - classifier.mean) / classifier.std)[:1]  # (1, 3, H, W)
    made: dict[str, Tensor] = {}
    with torch.inference_mode():
        for name in names:
            convolution = classifier.network.get_submodule(name)
            if not isinstance(convolution, nn.Conv2d) or convolution.in_channels != values.shape[1]:
                break
            values = convolution(values)  # (1, I, h, w) -> (1, C, h, w)
            made[name] = values[0].cpu()
    return made


def follow_channel(model: Model, pictures: Sequence[Picture], layer: str, channel: int) -> Finding:
    """Show where one channel of a layer answers in several photographs, on one scale."""
    looked = [feature_maps(model, picture, layer, sort="channel") for picture in pictures]
    maps = [each.maps[channel] for each in looked]
    highest = {each.image.name: float(values.max()) for each, values in zip(looked, maps, strict=True)}
    titles = [f"{name} (max {value:.2f})" for name, value in highest.items()]
    figure = overlay_each(
        [(each.image, each.box) for each in looked],
        maps,
        titles,
        suptitle=f"Channel {channel} of {layer} · {model.name}",
        alt=f"Channel {channel} of {layer} laid over photographs, on one scale: {', '.join(titles)}.",
        limit=max(highest.values()),
        value_label="Activation",
        columns=3,
    )
    strong = [name for name, value in highest.items() if value > max(highest.values()) / 2]
    sentence = (
        f"Channel {channel} of {layer} exceeds half of its largest value ({max(highest.values()):.2f}) "
        f"in {len(strong)} of {len(highest)} photographs: {', '.join(strong)}."
    )
    return Finding(figure, sentence)


def _reduced(traced: ImageTrace, layer: str, reduce: str) -> np.ndarray:
    return activation_map(traced.activation(layer)[0], reduce).numpy()


def _pool_to(values: Tensor, like: Tensor) -> Tensor:
    """Average (C, H, W) down to the places of (C, h, w)."""
    _, height, width = like.shape
    return nn.functional.adaptive_avg_pool2d(values, (height, width))
