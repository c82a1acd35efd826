"""What class activation maps say about an answer, where two methods agree or must agree, and how a scale misleads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import nn

from xai.compute.cam import CamDetails
from xai.explanation import Explanation, explain
from xai.model import Model
from xai.report.lessons.finding import Finding, correlate, overlay_each
from xai.tracing import ImageTrace, Picture, predict, trace


def show_answer(explanation: Explanation) -> Finding:
    """Show the map of one class on the whole picture, and say how concentrated it is and where its peak lies."""
    values, what = np.clip(explanation.map[0], 0, None), f"{explanation.method.label} for {explanation.titles[0]}"
    figure = explanation.figure(suptitle=f"{what} at {explanation.layer} · {explanation.spec.model}")
    total = float(values.sum())
    if total == 0:
        return Finding(figure, f"{what}: the map has no positive value.")
    ordered = np.sort(values, axis=None)[::-1]
    half = float((np.searchsorted(np.cumsum(ordered), total / 2) + 1) / ordered.size)
    peak = f"its peak, {values.max():.3g}, lies {_place(values)}"
    return Finding(figure, f"{what}: half of the map's total lies in {half:.0%} of the crop; {peak}.")


def compare_classes(explanation: Explanation) -> Finding:
    """Show the maps of several classes of one picture, each on its own scale, with peak, place and likeness."""
    image, maps, names = explanation.image, explanation.map, explanation.target_names
    titles = [f"{title}, peak {values.max():.2g}" for title, values in zip(explanation.titles, maps, strict=True)]
    figure = overlay_each(
        [(image, explanation.box)] * len(maps),
        list(maps),
        titles,
        suptitle=f"{explanation.method.label} at {explanation.layer} · {image.name} · {explanation.spec.model}",
        alt=f"Maps over the photograph {image.name}, each on its own scale: {'; '.join(titles)}.",
        columns=2,
    )
    places = [f"{name} {_place(values)}" for name, values in zip(names, maps, strict=True)]
    alike = [f"{name} {correlate(maps[0], values):.2f}" for name, values in zip(names[1:], maps[1:], strict=True)]
    return Finding(figure, f"Peaks: {'; '.join(places)}. Correlation with the map for {names[0]}: {', '.join(alike)}.")


def compare_layers(traced: ImageTrace, layers: Sequence[str]) -> Finding:
    """Show Grad-CAM of the predicted class at several layers, and fused over the last two, each on its own scale."""
    made = [explain(traced, layer=layer) for layer in layers]
    fused = explain(traced, layer=list(layers[-2:]))
    maps = [each.map[0] for each in (*made, fused)]
    titles = [f"{layer} (max {values.max():.2g})" for layer, values in zip(layers, maps, strict=False)]
    titles.append(f"{' + '.join(layers[-2:])}, fused")
    figure = overlay_each(
        [(fused.image, fused.box)] * len(maps),
        maps,
        titles,
        suptitle=f"Grad-CAM for {made[0].target_names[0]} by layer · {fused.image.name} · {traced.model.name}",
        alt=f"Grad-CAM maps over the photograph {fused.image.name}, each on its own scale: {', '.join(titles)}.",
        columns=3,
    )
    last = maps[len(layers) - 1]
    alike = [f"{correlate(values, last):.2f} at {layer}" for layer, values in zip(layers[:-1], maps, strict=False)]
    return Finding(figure, f"Correlation with the map at {layers[-1]}: {', '.join(alike)}.")


def compare_methods(traced: ImageTrace, layers: Sequence[str]) -> Finding:
    """Show Grad-CAM without clipping and HiResCAM, side by side at each layer, each panel on its own scale."""
    pairs = [
        (explain(traced, method="grad_cam", layer=layer, relu=False), explain(traced, method="hires_cam", layer=layer))
        for layer in layers
    ]
    made = [each for pair in pairs for each in pair]
    titles = [f"{each.method.label} at {each.layer} (max |value| {np.abs(each.map).max():.2g})" for each in made]
    figure = overlay_each(
        [(each.image, each.box) for each in made],
        [each.map[0] for each in made],
        titles,
        suptitle=f"Two methods, signed, for {made[0].target_names[0]} · {made[0].image.name} · {traced.model.name}",
        alt=f"Signed maps over the photograph {made[0].image.name}, red for and blue against: {', '.join(titles)}.",
        signed=True,
        columns=2,
    )
    compared = [
        f"at {a.layer} correlation {correlate(a.map, b.map):.4f}, largest difference "
        f"{np.abs(a.map - b.map).max() / np.abs(b.map).max():.2g} of the largest value"
        for a, b in pairs
    ]
    return Finding(figure, f"Grad-CAM and HiResCAM: {'; '.join(compared)}.")


def check_completeness(model: Model, pictures: Sequence[Picture], layer: str) -> pd.DataFrame:
    """Add up the HiResCAM map of each photograph and compare it with the score that it explains.

    Returns:
        One row per photograph: the sum over the layer's places, the bias of the class, both together, the score, and
        the gap between the two. The gap is zero only where global average pooling and one linear layer follow.
    """
    head = [module for module in model.network.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    rows = []
    for picture in pictures:
        traced = trace(model, picture)
        made = explain(traced, method="hires_cam", layer=layer)
        assert isinstance(made.details, CamDetails)
        target = made.target[0]
        total, bias = float(made.details.cells.sum()), 0.0 if head.bias is None else float(head.bias[target])
        score = float(traced.scores.detach()[0, target])
        gap = f"{abs(total + bias - score):.2g}"
        rows.append((made.image.name, made.target_names[0], total, bias, total + bias, score, gap))
    columns = ["picture", "class", "sum of the map", "bias", "sum + bias", "score", "gap"]
    return pd.DataFrame(rows, columns=columns).round(4).set_index("picture").rename_axis(index=None, columns="picture")


def choose_targets(model: Model, picture: Picture, names: Sequence[str], count: int = 4) -> list[int]:
    """Choose classes to compare: those named that the network has, then its likeliest answers."""
    ranked = predict(model, picture, k=len(model.class_names))
    chosen = [index for name in names for label, _, index in ranked if label == name]
    return [*chosen, *(index for _, _, index in ranked if index not in chosen)][:count]


def compare_scales(traced: ImageTrace, rank: int = 50) -> Finding:
    """Show the predicted class and one ranked far behind it: on one scale, and each stretched to its own.

    The class is the last one up to that rank for which something speaks at all.
    """
    answers = predict(traced, k=rank)
    highest = explain(traced, target=[index for _, _, index in answers]).map.max((1, 2))
    rank = int(max(np.flatnonzero(highest[1:] > 0), default=len(answers) - 2)) + 2
    made = explain(traced, target=[answers[0][2], answers[rank - 1][2]])
    peaks = [float(values.max()) for values in made.map]
    factors = [max(peaks) / peak if peak else 1.0 for peak in peaks]
    stretched = [values * factor for values, factor in zip(made.map, factors, strict=True)]
    titles = [f"{name}, raw" for name in made.titles]
    titles += [f"{name}, times {factor:.1f}" for name, factor in zip(made.target_names, factors, strict=True)]
    figure = overlay_each(
        [(made.image, made.box)] * 4,
        [*made.map, *stretched],
        titles,
        suptitle=f"The same maps on one scale, and each stretched to its own maximum · {traced.model.name}",
        alt=f"Grad-CAM maps over the photograph {made.image.name}: {', '.join(titles)}.",
        columns=4,
        limit=max(peaks),
        value_label="Grad-CAM value as drawn",
    )
    sentence = (
        f"Raw peaks: {peaks[0]:.3g} for {made.target_names[0]} (rank 1), {peaks[1]:.3g} for {made.target_names[1]} "
        f"(rank {rank}). Stretching multiplies the second map by {factors[1]:.1f}."
    )
    return Finding(figure, sentence)


def compare_smoothing(traced: ImageTrace, layer: str) -> Finding:
    """Show Grad-CAM plain, averaged over changed copies of the picture, and reduced to its first component."""
    made = {
        "plain": explain(traced, layer=layer),
        "augmented copies": explain(traced, layer=layer, augment_smooth=True),
        "first component": explain(traced, layer=layer, eigen_smooth=True),
    }
    maps = {name: each.map[0] for name, each in made.items()}
    plain = made["plain"]
    titles = [f"{name} (max {values.max():.2g})" for name, values in maps.items()]
    figure = overlay_each(
        [(plain.image, plain.box)] * len(maps),
        list(maps.values()),
        titles,
        suptitle=f"Grad-CAM for {plain.target_names[0]} at {layer}, smoothed · {plain.image.name}",
        alt=f"Grad-CAM over the photograph {plain.image.name}, each on its own scale: {', '.join(titles)}.",
    )
    alike = [f"{correlate(maps['plain'], values):.2f} for {name}" for name, values in maps.items() if name != "plain"]
    return Finding(figure, f"Correlation with the plain map: {', '.join(alike)}.")


def _place(values: np.ndarray) -> str:
    """Say in which ninth of the crop a map (h, w) has its peak."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    down = ("upper", "middle", "lower")[int(3 * row / values.shape[0])]
    across = ("left", "centre", "right")[int(3 * column / values.shape[1])]
    return f"in the {down} {across}".replace("middle centre", "centre")
