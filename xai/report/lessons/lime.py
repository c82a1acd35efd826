"""What a LIME explanation asks and answers: superpixels hidden at random, a line through the answers, and a check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.compute.fills import make_fill
from xai.compute.lime import LimeDetails
from xai.compute.lime_sampling import Neighbours, Plan, ask_neighbours, draw_coalitions
from xai.compute.masking import MaskedPicture, compose
from xai.explanation import Explanation, explain
from xai.figures.cutouts import outline_superpixels, show_superpixels
from xai.figures.lines import bars_with_errors
from xai.figures.overlays import overlay, place_map
from xai.figures.panels import Scale, draw_panels
from xai.figures.style import colour_scale, count
from xai.io.images import Image
from xai.model import Model
from xai.report.lessons.finding import ALPHA, Finding, crop_picture, overlay_each
from xai.report.lessons.verdicts import Verdict
from xai.tracing import ImageTrace, trace

TOP = 5  # superpixels that are singled out
RANDOM_SETS = 20  # of so many superpixels, to compare with


def details(made: Explanation) -> LimeDetails:
    """Return the linear model behind a LIME explanation."""
    assert isinstance(made.details, LimeDetails), "ask for method='lime'"
    return made.details


def reopen(traced: ImageTrace, made: Explanation) -> MaskedPicture:
    """Make the picture of an explanation ready to be asked about again, hidden in the same way."""
    pixels, how = traced.ready.pixels[0], made.params
    fill = make_fill(pixels, how["fill"], segments=details(made).segments, color=how["color"], seed=made.seed)
    return MaskedPicture(traced, pixels, fill, made.target, how["output"])


def ask_again(traced: ImageTrace, made: Explanation, samples: int, seed: int) -> Neighbours:
    """Draw samples around the picture of an explanation and ask the network about them."""
    plan = Plan(samples, False, made.params["kernel_width"], made.params["distance"], seed)
    return ask_neighbours(reopen(traced, made), details(made).segments, plan, on_check=None, on_progress=None)


def show_question(traced: ImageTrace, made: Explanation, shown: int = 4) -> Finding:
    """Show the superpixels, and some of the pictures with about half of them hidden, with the network's answer."""
    segments = details(made).segments
    masked, superpixels = reopen(traced, made), int(segments.max()) + 1
    coalitions = draw_coalitions(shown + 1, superpixels, made.seed)
    answers = masked.answers(coalitions[:, segments])[:, 0].tolist()
    pictures = compose(masked.pixels, masked.fill, coalitions[:, segments])  # (n, 3, h, w)
    hidden = float(masked.answers(torch.zeros(1, *segments.shape, dtype=torch.bool))[0, 0])
    crop = crop_picture(made.image, made.box)
    name = made.target_names[0]
    panels = [outline_superpixels(crop, segments.numpy()), *(_to_bytes(each) for each in pictures)]
    titles = [f"{superpixels} superpixels", f"Whole picture: {answers[0]:.1%}"]
    titles += [f"Sample {number}: {share:.1%}" for number, share in enumerate(answers[1:], start=1)]
    figure = draw_panels(
        panels,
        titles,
        alt=f"The photograph {made.image.name} cut into {superpixels} superpixels, and {shown} samples with about half "
        f"of them hidden; probability of {name}: {'; '.join(titles[1:])}.",
        columns=3,
        suptitle=f"What LIME asks: how likely is {name} now? · {traced.model.name}",
        blocky=False,
    )
    listed = ", ".join(f"{share:.1%}" for share in answers[1:])
    sentence = (
        f"{superpixels} superpixels. Probability of {name}: {answers[0]:.1%} for the whole picture, {listed} for the "
        f"samples shown, {hidden:.1%} with all superpixels hidden."
    )
    return Finding(figure, sentence)


def show_explanation(traced: ImageTrace, made: Explanation, top: int = TOP) -> Finding:
    """Show the signed map and the superpixels that speak most for the answer, and ask what those alone are worth."""
    found = details(made)
    values, segments = found.coefficients[0], found.segments
    best = values.argsort(descending=True, stable=True)[:top].tolist()
    crop, name = crop_picture(made.image, made.box), made.target_names[0]
    limit = float(values.abs().max())
    placed = place_map(made.map[0], (crop.shape[1], crop.shape[0]), None)
    figure = draw_panels(
        [
            crop,
            overlay(crop, placed, signed=True, limit=limit, alpha=ALPHA),
            show_superpixels(crop, segments.numpy(), best),
        ],
        ["What the network is given", "Coefficients: red for, blue against", f"The {top} that speak most for it"],
        alt=f"LIME for {name} on the photograph {made.image.name}: signed coefficients of {len(values)} superpixels on "
        f"a scale to {limit:.2g}, and the {top} largest of them alone.",
        suptitle=f"LIME for {made.titles[0]} · {traced.model.name}",
        scale=Scale(colour_scale(limit, signed=True), "Coefficient"),
        columns=3,
        blocky=False,
    )
    whole, only, without = keep_and_hide(reopen(traced, made), segments, best)
    sentence = (
        f"{int((values > 0).sum())} of {len(values)} superpixels speak for {name}, {int((values < 0).sum())} against. "
        f"The {top} strongest alone give it {only:.1%}; without them it keeps {without:.1%}, the whole picture has "
        f"{whole:.1%}."
    )
    return Finding(figure, sentence)


def keep_and_hide(masked: MaskedPicture, segments: Tensor, chosen: Sequence[int]) -> tuple[float, float, float]:
    """Return the output for the whole picture, for the chosen superpixels alone, and for all but them."""
    kept = torch.isin(segments, torch.tensor(list(chosen)))
    whole, only, without = masked.answers(torch.stack([torch.ones_like(kept), kept, ~kept]))[:, 0].tolist()
    return whole, only, without


def show_coefficients(made: Explanation) -> Finding:
    """Show every coefficient with its standard error, the largest first."""
    found = details(made)
    values, errors = found.coefficients[0].numpy(), found.standard_errors[0].numpy()
    order = np.argsort(-values, kind="stable")
    sure = np.abs(values) > 2 * errors
    figure = bars_with_errors(
        [f"{index}, {_place(found.segments, int(index))}" for index in order],
        values[order],
        2 * errors[order],
        value_label="Coefficient, and twice its standard error",
        alt=f"Bars of {len(values)} LIME coefficients for {made.target_names[0]} from {values.max():.2g} down to "
        f"{values.min():.2g}, each with a line of two standard errors.",
        title=f"Coefficients for {made.titles[0]} · {made.image.name} · {count(found.samples[0], 'sample')}",
    )
    sentence = (
        f"{int(sure.sum())} of {len(values)} coefficients are more than two standard errors away from zero, from "
        f"{found.samples[0]:,} samples; the largest is {values.max():.3g} with an error of "
        f"{errors[int(values.argmax())]:.2g}."
    )
    return Finding(figure, sentence)


def compare_controls(traced: ImageTrace, made: Explanation, top: int = TOP) -> Finding:
    """Hide the superpixels that come first by LIME, and as many by rules that never ask the network."""
    found, masked = details(made), reopen(traced, made)
    segments, values = found.segments, found.coefficients[0]
    sizes = segments.flatten().bincount()
    by_rule, maps = {"LIME": values}, {"LIME": made.map[0]}
    for key in ("center", "edges"):
        control = explain(traced, method=key, target=made.target)
        sums = torch.bincount(segments.flatten(), weights=torch.from_numpy(control.map[0].flatten()).double())
        by_rule[control.method.label], maps[control.method.label] = sums / sizes, control.map[0]
    left = {}
    for label, each in by_rule.items():
        best = each.argsort(descending=True, stable=True)[:top].tolist()
        left[label] = keep_and_hide(masked, segments, best)[2]
    draws = [torch.randperm(len(values), generator=torch.Generator().manual_seed(n))[:top] for n in range(RANDOM_SETS)]
    drawn = [keep_and_hide(masked, segments, each.tolist())[2] for each in draws]
    name, whole = made.target_names[0], float(found.outputs[0])
    titles = [f"{label}: {left[label]:.1%} left" for label in maps]
    figure = overlay_each(
        [(made.image, made.box)] * len(maps),
        list(maps.values()),
        titles,
        suptitle=f"Hide the {top} superpixels that come first · {name} {whole:.1%} · {traced.model.name}",
        alt=f"Three maps over the photograph {made.image.name}, each on its own scale, and the probability of {name} "
        f"that is left when the {top} superpixels with the highest mean are hidden: {'; '.join(titles)}.",
        signed=True,
    )
    rest = ", ".join(f"{share:.1%} by {label}" for label, share in left.items())
    better = [label for label, share in left.items() if label != "LIME" and share <= left["LIME"]]
    won = "No control does as well" if not better else f"As low or lower comes {' and '.join(better)}"
    sentence = (
        f"{name} keeps, of {whole:.1%}: {rest}, and {np.mean(drawn):.1%} on average when {top} are drawn at random "
        f"({min(drawn):.1%} to {max(drawn):.1%} in {RANDOM_SETS} draws). {won}; "
        f"{sum(share <= left['LIME'] for share in drawn)} of {RANDOM_SETS} random draws do."
    )
    return Finding(figure, sentence)


def compare_cases(model: Model, cases: Sequence[Verdict], top: int = TOP, **options: Any) -> Finding:
    """Show LIME for the answer and for its rival of each of several photographs, with the quality of every fit.

    Args:
        model: from `load_model`.
        cases: photographs with verdicts.
        top: superpixels hidden to see whether the explanation holds.
        options: of LIME.
    """
    pictures: list[tuple[Image, tuple[float, float, float, float]]] = []
    maps, titles, said = [], [], []
    for case in cases:
        traced = trace(model, case.image)
        made = explain(traced, method="lime", target=[case.answer[2], case.rival[2]], **options)
        found = details(made)
        best = found.coefficients[0].argsort(descending=True, stable=True)[:top].tolist()
        whole, _, without = keep_and_hide(reopen(traced, made), found.segments, best)
        pictures += [(made.image, made.box)] * 2
        maps += list(made.map)
        limits = [float(np.abs(values).max()) for values in made.map]
        titles += [f"{name}, to {limit:.2g}" for name, limit in zip(made.titles, limits, strict=True)]
        said.append(
            f"{case.line}: R2 {float(found.r2[0]):.2f}, {whole:.1%} falls to {without:.1%} without the first {top}"
        )
    figure = overlay_each(
        pictures,
        maps,
        titles,
        suptitle=f"LIME for the answer and for its rival, red for, blue against · {model.name}",
        alt=f"Signed LIME maps, each on its own scale: {'; '.join(titles)}.",
        signed=True,
        columns=2,
    )
    return Finding(figure, f"{'. '.join(said)}.")


def _place(segments: Tensor, index: int) -> str:
    """Say in which ninth of the crop the middle of a superpixel lies."""
    height, width = segments.shape
    row, column = (float(part.double().mean()) for part in torch.nonzero(segments == index, as_tuple=True))
    down = ("upper", "middle", "lower")[int(3 * row / height)]
    across = ("left", "centre", "right")[int(3 * column / width)]
    return f"{down} {across}".replace("middle centre", "centre")


def _to_bytes(pixels: Tensor) -> np.ndarray:
    """Turn (3, h, w) in [0, 1] into uint8 (h, w, 3)."""
    return np.rint(255 * pixels.clamp(0, 1).permute(1, 2, 0).numpy()).astype(np.uint8)
