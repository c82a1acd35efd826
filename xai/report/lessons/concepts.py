"""What a layer tells apart: concepts that photographs share, how many there are, and what excites one channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xai.concepts import Concepts, concepts
from xai.dreams import dream
from xai.figures.concepts import concept_overlay
from xai.figures.panels import draw_panels
from xai.figures.style import count
from xai.inspection import feature_maps
from xai.io.images import Image, load_image
from xai.io.samples import SAMPLES
from xai.model import Model
from xai.patches import strongest
from xai.report.lessons.finding import Finding, correlate, crop_picture
from xai.tracing import Picture, predict

PRESENT = 0.5  # of a concept's largest value, from which a picture counts as holding it
PATCHES = 5


def show_concepts(found: Concepts) -> Finding:
    """Show the concepts on every photograph, and say what they leave over and how many photographs share them."""
    peaks = found.factorization.cells.amax((2, 3)).numpy()  # (N, k)
    holding = (peaks >= PRESENT).sum(0).tolist()
    shared = sum(value > 1 for value in holding)
    each = "; ".join(
        f"concept {number} ({share:.0%}) in {', '.join(_holders(found, index))}"
        for index, (number, share) in enumerate(
            zip(range(1, found.components + 1), found.factorization.shares.tolist(), strict=True)
        )
    )
    sentence = (
        f"{count(found.components, 'concept')} at {found.layer.name} leave {found.factorization.error:.0%} of the "
        f"activations' norm over. Found at half of their largest value in more than one photograph: {shared}. Each: "
        f"{each}."
    )
    return Finding(found.figure(), sentence)


def show_choice(found: Concepts) -> Finding:
    """Show error and stability for every number of concepts that was tried."""
    choice, figure = found.choice, found.choice_figure()
    assert choice is not None and figure is not None, "ask for components='auto'"
    stable = [n for n, value in zip(choice.counts, choice.stabilities, strict=True) if value >= 0.9]
    listed = ", ".join(map(str, stable)) or "none"
    at = choice.counts.index(choice.chosen)
    sentence = (
        f"From {choice.counts[0]} to {choice.counts[-1]} concepts what is left over falls from {choice.errors[0]:.0%} "
        f"to {choice.errors[-1]:.0%}. Stable (0.9 or more between random starts): {listed}. Proposed: {choice.chosen}, "
        f"with stability {choice.stabilities[at]:.2f}."
    )
    return Finding(figure, sentence)


def compare_counts(model: Model, images: Sequence[Image], counts: Sequence[int]) -> Finding:
    """Show the same photographs cut into several numbers of concepts, and say how the largest concept changes."""
    made = [concepts(model, list(images), components=number) for number in counts]
    panels, titles = [], []
    for index, image in enumerate(images):
        crop = crop_picture(image, made[0].boxes[index])
        laid = [concept_overlay(crop, found.factorization.maps[index].numpy()) for found in made]
        panels += [crop, *laid]
        titles += [image.name, *(count(number, "concept") for number in counts)]
    layer = made[0].layer.name
    figure = draw_panels(
        panels,
        titles,
        alt=f"{count(len(images), 'photograph')}, each cut into {', '.join(map(str, counts))} concepts of {layer}.",
        columns=len(counts) + 1,
        suptitle=f"The same activations in {' or '.join(map(str, counts))} concepts · {layer} · {model.name}",
        blocky=False,
    )
    said = [
        f"{number} concepts leave {found.factorization.error:.0%} over, the largest makes up "
        f"{float(found.factorization.shares[0]):.0%}"
        for number, found in zip(counts, made, strict=True)
    ]
    return Finding(figure, f"{'; '.join(said)}.")


def compare_layers(model: Model, images: Sequence[Image], layers: Sequence[str], components: int) -> Finding:
    """Show as many concepts at several layers, and say which layer can name them."""
    made = [concepts(model, list(images), layer=layer, components=components) for layer in layers]
    panels, titles = [], []
    for index, image in enumerate(images):
        crop = crop_picture(image, made[0].boxes[index])
        panels += [concept_overlay(crop, found.factorization.maps[index].numpy()) for found in made]
        titles += [f"{image.name} at {layer}" for layer in layers]
    sizes = [" x ".join(map(str, found.factorization.cells.shape[2:])) for found in made]
    figure = draw_panels(
        panels,
        titles,
        alt=f"{components} concepts over {count(len(images), 'photograph')}, found at {', '.join(layers)}.",
        columns=len(layers),
        suptitle=f"{components} concepts, by layer; a colour means another concept in each column · {model.name}",
        blocky=False,
    )
    said = [
        f"{layer} ({size} places): {found.factorization.error:.0%} left over, "
        f"{'class labels' if found.factorization.labels is not None else 'no class labels'}"
        for layer, size, found in zip(layers, sizes, made, strict=True)
    ]
    return Finding(figure, f"{'; '.join(said)}.")


def strongest_channel(model: Model, picture: Picture, layer: str) -> int:
    """Find the channel of a layer that speaks most for what the network answers."""
    return int(feature_maps(model, picture, layer, sort="contribution").order[0])


def show_dream(model: Model, layer: str, channel: int, *, steps: int, seed: int = 0) -> Finding:
    """Show a picture made to excite a channel beside the parts of the sample photographs that excite it most."""
    made = dream(model, layer, channel, steps=steps, seed=seed)
    seen = strongest(model, list(SAMPLES), layer, channel, PATCHES)
    best = seen.patches[0]
    after, before = float(made.after[0]), float(made.before[0])
    names = ", ".join(patch.name for patch in seen.patches)
    grown = f"{after / before:,.0f} times the noise" if before > 0 else "from noise that left it at zero"
    sentence = (
        f"Channel {channel} of {layer}: mean activation {before:.3g} for noise, {after:.3g} after {steps} steps "
        f"({grown}). Single places of {seen.searched} photographs reach {best.value:.3g} at most; the strongest are in "
        f"{names}."
    )
    return Finding(made.figure(seen.patches), sentence)


def show_diversity(model: Model, layer: str, channel: int, *, steps: int, pictures: int = 4, seed: int = 0) -> Finding:
    """Show several pictures that excite one channel, driven apart, and say how little they resemble each other."""
    made = dream(model, layer, channel, count=pictures, diversity=1.0, steps=steps, seed=seed)
    shown = made.pictures.astype(np.float64)
    alike = [correlate(shown[i], shown[j]) for i in range(pictures) for j in range(i)]
    sentence = (
        f"{pictures} pictures, mean activation {float(made.after.min()):.3g} to {float(made.after.max()):.3g}, start "
        f"{float(made.before.mean()):.3g}. Correlation of their pixels, mean of {len(alike)} pairs: "
        f"{np.mean(alike):.2f}."
    )
    return Finding(made.figure(), sentence)


def show_class_dream(model: Model, target: int, *, steps: int, seed: int = 0) -> Finding:
    """Show a picture made for a class, and say what the network answers to it."""
    made = dream(model, target=target, steps=steps, seed=seed)
    name, share, _ = predict(model, load_image(made.pictures[0]), k=1, resize="keep")[0]
    sentence = (
        f"{made.goal}: score {made.before[0]:.2g} for noise, {made.after[0]:.3g} after {steps} steps. The network "
        f"answers {name} with {share:.1%}."
    )
    return Finding(made.figure(), sentence)


def _holders(found: Concepts, index: int) -> list[str]:
    """Name the photographs where a concept reaches half of its largest value."""
    peaks = found.factorization.cells[:, index].amax((1, 2)).tolist()
    return [image.name for image, value in zip(found.images, peaks, strict=True) if value >= PRESENT]
