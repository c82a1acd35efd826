"""What a LIME explanation depends on: the fit, the kernel, the superpixels, and what hides them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xai.compute.lime_solve import kernel_weights
from xai.explanation import Explanation, explain
from xai.figures.lines import Curve, curve_panels, point_cloud
from xai.report.lessons.finding import Finding, overlay_each
from xai.report.lessons.lime import ask_again, details, reopen
from xai.report.lessons.lime_stability import OTHER, first_class, r_squared, rank_likeness
from xai.tracing import ImageTrace


def show_fit(traced: ImageTrace, made: Explanation) -> Finding:
    """Show what the linear model predicts for its own samples beside what the network says, and R2 on fresh ones."""
    samples = details(made).samples[0]
    own, fresh = (first_class(ask_again(traced, made, samples, seed)) for seed in (made.seed, made.seed + OTHER))
    intercept = float(details(made).intercepts[0])
    predicted = own.samples @ details(made).coefficients[0] + intercept
    r2 = float(details(made).r2[0])
    elsewhere = r_squared(fresh, details(made).coefficients[0], intercept)
    name, whole = made.target_names[0], float(details(made).outputs[0])
    figure = point_cloud(
        own.outputs,
        predicted,
        own.weights,
        labels=(f"Probability of {name} (network)", "Predicted by the linear model"),
        alt=f"Cloud of {samples} samples: probability of {name} by the network and by the linear model, R2 {r2:.2f}.",
        title=f"The line and the network · {made.image.name} · R² {r2:.2f}",
    )
    sentence = (
        f"Weighted R2: {r2:.2f} on the {samples:,} samples it was fitted to, {elsewhere:.2f} on as many others. For "
        f"the picture itself it predicts {float(details(made).predictions[0]):.1%}; the network says {whole:.1%}."
    )
    return Finding(figure, sentence)


def show_kernel_width(
    traced: ImageTrace, made: Explanation, widths: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 1.0, 4.0)
) -> Finding:
    """Refit the same samples with other kernel widths: how many of them count, how good the fit is, what changes."""
    known = first_class(ask_again(traced, made, details(made).samples[0], made.seed))
    default = made.params["kernel_width"]
    count, r2, alike = [], [], []
    for width in widths:
        weights = kernel_weights(known.samples.bool(), width, made.params["distance"])
        fitted = replace(known, weights=weights).fit()
        count.append(float(weights.sum().square() / weights.square().sum()))
        r2.append(fitted.r2)
        alike.append(rank_likeness(fitted.coefficients, details(made).coefficients[0]))
    samples = len(known.samples)
    figure = curve_panels(
        widths,
        {
            "Effective samples (number)": [Curve("Samples that count", count)],
            "R², rank correlation": [
                Curve("R² of the fit", r2),
                Curve(f"Rank correlation with width {default:g}", alike),
            ],
        },
        place_label="Kernel width (cosine distance)",
        alt=f"Effective number of samples, R2, and rank correlation with the map at the default, for kernel widths "
        f"{widths[0]:g} to {widths[-1]:g}.",
        title=f"The same {samples:,} samples, weighed by other kernels · {made.image.name}",
        logarithmic=True,
        mark=("Default", default),
    )
    sentence = (
        f"At width {widths[0]:g} {count[0]:.0f} of {samples:,} samples count, at {default:g} "
        f"{np.interp(default, widths, count):.0f}, at {widths[-1]:g} {count[-1]:.0f}. Rank correlation with the "
        f"default's coefficients: {alike[0]:.2f} at {widths[0]:g}, {alike[-1]:.2f} at {widths[-1]:g}."
    )
    return Finding(figure, sentence)


def compare_segmenters(traced: ImageTrace, made: Explanation, names: Sequence[str], samples: int) -> Finding:
    """Show LIME with other ways to cut the picture, each on its own scale, and how alike the maps are by pixel."""
    others = [explain_again(traced, made, segmenter=name, samples=samples) for name in names]
    parts = [int(details(each).segments.max()) + 1 for each in others]
    titles = [
        f"{name}: {number} parts, R² {float(details(each).r2[0]):.2f}"
        for name, number, each in zip(names, parts, others, strict=True)
    ]
    alike = [rank_likeness(torch.tensor(each.map[0].ravel()), torch.tensor(made.map[0].ravel())) for each in others]
    figure = overlay_each(
        [(made.image, made.box)] * len(others),
        [each.map[0] for each in others],
        titles,
        suptitle=f"LIME for {made.titles[0]}, cut in {len(names)} ways · {traced.model.name}",
        alt=f"Signed LIME maps over the photograph {made.image.name}, each on its own scale: {'; '.join(titles)}.",
        signed=True,
        columns=3,
    )
    listed = ", ".join(f"{value:.2f} for {name}" for name, value in zip(names, alike, strict=True))
    where = made.params["segmenter"]
    sentence = (
        f"From {min(parts)} ({names[int(np.argmin(parts))]}) to {max(parts)} superpixels "
        f"({names[int(np.argmax(parts))]}). Rank correlation with the map above ({where}), pixel by pixel: {listed}."
    )
    return Finding(figure, sentence)


def compare_fills(traced: ImageTrace, made: Explanation, fills: Sequence[str], samples: int) -> Finding:
    """Show LIME on the same superpixels with other things to hide them by, on one scale."""
    others = [explain_again(traced, made, fill=fill, samples=samples) for fill in fills]
    limit = max(float(np.abs(each.map).max()) for each in others)
    titles = [f"{fill}, R² {float(details(each).r2[0]):.2f}" for fill, each in zip(fills, others, strict=True)]
    figure = overlay_each(
        [(made.image, made.box)] * len(others),
        [each.map[0] for each in others],
        titles,
        suptitle=f"LIME for {made.titles[0]}, hidden by {len(fills)} fills · {traced.model.name}",
        alt=f"Signed LIME maps over the photograph {made.image.name} on one scale: {'; '.join(titles)}.",
        signed=True,
        limit=limit,
        value_label="Coefficient",
        columns=4,
    )
    first = details(others[0]).coefficients[0]
    alike = [
        f"{rank_likeness(details(each).coefficients[0], first):.2f} for {fill}"
        for fill, each in zip(fills[1:], others[1:], strict=True)
    ]
    nothing = torch.zeros(1, *details(made).segments.shape, dtype=torch.bool)
    left = [float(reopen(traced, each).answers(nothing)[0, 0]) for each in others]
    listed = ", ".join(f"{value:.1%} by {fill}" for fill, value in zip(fills, left, strict=True))
    sentence = (
        f"With every superpixel hidden, {made.target_names[0]} keeps {listed}. Rank correlation of the coefficients "
        f"with those for {fills[0]}: {', '.join(alike)}."
    )
    return Finding(figure, sentence)


def explain_again(traced: ImageTrace, made: Explanation, **changes: Any) -> Explanation:
    """Explain in the same way but for the options named."""
    options = {**made.params, **changes}
    return explain(traced, method="lime", target=made.target, seed=made.seed, **options)
