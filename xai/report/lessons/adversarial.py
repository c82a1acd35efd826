"""How small a change turns an answer: attacks of growing size beside noise of the same size, and what the maps do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xai.attacks import LABELS, Attack, attack, format_epsilon
from xai.compute.adversarial import fgsm
from xai.compute.trace import score_pixels
from xai.explanation import explain
from xai.figures.lines import Curve, curve_panels
from xai.figures.style import count
from xai.io.images import Image
from xai.model import Model
from xai.registry import METHODS
from xai.report.lessons.finding import Finding, correlate
from xai.report.lessons.verdicts import Verdict
from xai.sweeps import attack_sweep
from xai.tracing import ImageTrace, trace, trace_ready

NOISE_DRAWS = 5
STEPS = 20  # of an attack that has a class to reach
STEP = 1 / 255  # of an 8-bit picture


def show_attack(made: Attack) -> Finding:
    """Show picture, change and changed picture with the maps before and after, and say what came of it."""
    before, after = made.before[0], made.after[0]
    alike = correlate(made.map_before[0], made.map_after[0])
    name = made.names[0]
    peaks = float(made.map_before[0].max()), float(made.map_after[0].max())
    sentence = (
        f"{made.verdict} {before[0]} {before[1]:.1%} before, {after[0]} {after[1]:.1%} after. The map of {name} "
        f"correlates {alike:.2f} with itself before and after; its peak goes from {peaks[0]:.2g} to {peaks[1]:.2g}."
    )
    return Finding(made.figure(), sentence)


def find_smallest(model: Model, image: Image, sizes: Sequence[float], method: str = "fgsm") -> Attack:
    """Attack with growing changes and return the first that turns the answer, or the last one tried."""
    traced = trace(model, image, [model.default_layer])
    made = attack(traced, method=method, epsilon=sizes[0])
    for size in sizes[1:]:
        if made.success:
            break
        made = attack(traced, method=method, epsilon=size)
    return made


def show_sweep(model: Model, images: Sequence[Image]) -> Finding:
    """Show for how many photographs the answer stays, as FGSM, PGD and noise of the same size grow."""
    found = {name: attack_sweep(model, list(images), method=name).table for name in ("fgsm", "pgd")}
    sizes = found["fgsm"]["epsilon"].to_numpy()
    noise = measure_noise(model, images, sizes.tolist())
    steps = (255 * sizes).tolist()
    names = {"fgsm": "FGSM, one step", "pgd": "PGD, ten steps"}
    curves = {
        label: [
            *(Curve(names[key], (100 * table[column]).tolist()) for key, table in found.items()),
            Curve("Random signs", (100 * noise[column]).tolist()),
        ]
        for label, column in (
            ("Answer as without the change (%)", "accuracy"),
            ("Mean probability of that answer (%)", "confidence"),
        )
    }
    figure = curve_panels(
        steps,
        curves,
        place_label="Epsilon (steps of an 8-bit picture, 1/255)",
        alt=f"Share of {len(images)} photographs whose answer stays, and its mean probability, for changes up to "
        f"{steps[-1]:.3g}/255 by FGSM, PGD and random signs.",
        title=f"{count(len(images), 'photograph')} · {model.title}",
        limits=(-3, 103),
    )
    turned = {LABELS[key]: _first_below(sizes, table["accuracy"].to_numpy(), 0.5) for key, table in found.items()}
    said = " and by ".join(f"{name} at {size}" for name, size in turned.items())
    sentence = (
        f"Half of the {len(images)} answers or more are turned by {said}. At {format_epsilon(float(sizes[-1]))} random "
        f"signs leave {noise['accuracy'][-1]:.0%} of the answers as they were, FGSM "
        f"{found['fgsm']['accuracy'].iloc[-1]:.0%}, PGD {found['pgd']['accuracy'].iloc[-1]:.0%}."
    )
    return Finding(figure, sentence)


def measure_noise(model: Model, images: Sequence[Image], sizes: Sequence[float]) -> dict[str, np.ndarray]:
    """Add or take away each size at random, value by value: what is left of the answers?

    Returns:
        "accuracy" and "confidence" for each size, in [0, 1], means over `NOISE_DRAWS` draws.
    """
    pixels = model.prepare(list(images)).pixels
    clean = score_pixels(model.classifier, pixels).argmax(1)
    accuracy, confidence = [], []
    for size in sizes:
        hits, shares = [], []
        for draw in range(NOISE_DRAWS):
            scores = score_pixels(model.classifier, add_signs(pixels, size, seed=draw))
            hits.append(float((scores.argmax(1) == clean).float().mean()))
            shares.append(float(model.probabilities(scores).gather(1, clean[:, None]).mean()))
        accuracy.append(np.mean(hits))
        confidence.append(np.mean(shares))
    return {"accuracy": np.array(accuracy), "confidence": np.array(confidence)}


def show_target(model: Model, case: Verdict, other: Verdict, sizes: Sequence[float]) -> Finding:
    """Drive the answer to that of another photograph by growing changes, and show the maps of both classes."""
    target = (other.second if other.answer[2] == case.answer[2] else other.answer)[2]
    made = attack(model, case.image, "pgd", epsilon=sizes[0], target=target, steps=STEPS)
    for size in sizes[1:]:
        if made.success:
            break
        made = attack(model, case.image, "pgd", epsilon=size, target=target, steps=STEPS)
    before = made.before[0]
    names = ", ".join(f"{name} {share:.1%}" for name, share, _ in made.after[:3])
    wanted = model.class_label(target)
    sentence = (
        f"{made.verdict} Wanted: {wanted}. Before: {before[0]} {before[1]:.1%}. After: {names}. The largest change is "
        f"{255 * float(np.abs(made.changed - made.original).max()):.3g} of 255 steps."
    )
    return Finding(made.figure(), sentence)


def show_maps_under_attack(
    model: Model, images: Sequence[Image], methods: Sequence[str], steps: Sequence[float] = (0.25, 0.5, 1, 2, 4, 8)
) -> Finding:
    """Show how alike the map of the clean answer stays while FGSM, and noise of the same size, grow.

    Args:
        model: from `load_model`.
        images: photographs; the curves are their mean.
        methods: keys; a panel for each.
        steps: sizes of the change in 1/255.
    """
    labels = [METHODS[name].label for name in methods]
    kinds = {"FGSM": _push, "Random signs": _shake}
    found = {
        label: {
            kind: [_likeness(model, images, key, n * STEP, change) for n in steps] for kind, change in kinds.items()
        }
        for label, key in zip(labels, methods, strict=True)
    }
    figure = curve_panels(
        steps,
        {f"{label}: correlation": [Curve(kind, row) for kind, row in rows.items()] for label, rows in found.items()},
        place_label="Epsilon (steps of an 8-bit picture, 1/255)",
        alt=f"Correlation of the map for the clean answer with itself after a change of {steps[0]:g} to {steps[-1]:g} "
        f"of 255 steps, for {' and '.join(labels)}, by FGSM and by random signs.",
        title=f"Map of the clean answer, before and after · mean of {count(len(images), 'photograph')} · {model.title}",
        logarithmic=True,
        limits=(min(0.0, *(value for rows in found.values() for row in rows.values() for value in row)) - 0.05, 1.05),
    )
    said = [
        f"{label}: FGSM {rows['FGSM'][0]:.2f} to {rows['FGSM'][-1]:.2f}, random signs {rows['Random signs'][0]:.2f} to "
        f"{rows['Random signs'][-1]:.2f}"
        for label, rows in found.items()
    ]
    return Finding(
        figure, f"Correlation with the clean map, from {steps[0]:g}/255 to {steps[-1]:g}/255. {'; '.join(said)}."
    )


Change = Callable[[ImageTrace, int, float], Tensor]  # trace of one picture, its class and a size -> (1, 3, h, w)


def _likeness(model: Model, images: Sequence[Image], method: str, size: float, change: Change) -> float:
    """Correlate the map of the clean answer with the map of that class after a change: mean over photographs."""
    layers = [model.default_layer]
    values = []
    for image in images:
        clean = trace(model, image, layers)
        target = int(clean.scores[0].argmax())
        moved = trace_ready(model, clean.images, replace(clean.ready, pixels=change(clean, target, size)), layers)
        first, second = (explain(each, method=method, target=target).map[0] for each in (clean, moved))
        values.append(correlate(first, second))
    return float(np.mean(values))


def _push(clean: ImageTrace, target: int, size: float) -> Tensor:
    """Change a picture by FGSM, away from a class."""
    return fgsm(clean.model.classifier, clean.ready.pixels, [target], epsilon=size, output=clean.model.output).pixels


def _shake(clean: ImageTrace, target: int, size: float) -> Tensor:
    """Add or take away the size at random."""
    return add_signs(clean.ready.pixels, size, seed=0)


def add_signs(pixels: Tensor, size: float, *, seed: int) -> Tensor:
    """Add or take away a size from each value of pictures (N, 3, h, w) at random, within [0, 1]."""
    signs = torch.randint(2, pixels.shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    return (pixels + size * signs).clamp(0, 1)


def _first_below(sizes: np.ndarray, shares: np.ndarray, limit: float) -> str:
    """Say at which size a share first is at most a limit."""
    below = np.flatnonzero(shares <= limit)
    return format_epsilon(float(sizes[below[0]])) if below.size else f"more than {format_epsilon(float(sizes[-1]))}"
