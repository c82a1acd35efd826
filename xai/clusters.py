"""Look at the clusters of a run: galleries, words, maps, flows and edits, computed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xai.explanation import Explanation, explain
from xai.figures import style
from xai.figures.cluster_charts import usage_chart
from xai.figures.cluster_flows import Levels
from xai.figures.clusters import Picture, cluster_colours, picture_sheet, word_cloud
from xai.figures.overlays import overlay, place_map
from xai.scan.explain.contrast import contrast_model
from xai.scan.explain.influence import pair_pulls
from xai.scan.explain.maps import CLUSTER_CAM, contrast_options, map_cluster
from xai.scan.explain.members import Members, leads, neighbour_disagreement
from xai.scan.explain.query import Counterfactual, Story
from xai.scan.explain.replay import replay
from xai.scan.explain.survey import TRAIN, Survey, main_heads, measure_flows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xai.scan.run import Head, ScanRun

ALPHA = 0.65
TILE = 96  # pixels of a picture in a row of maps
KINDS = {
    "prototypes": "Most typical first: probability times mean likeness to the cluster's pictures.",
    "borderline": "Smallest lead first; the caption names the cluster that comes second, with the lead.",
    "outliers": "Most neighbours in other clusters, and least like them, first; below: that share and the mean cosine.",
}


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures side by side as one picture, with what there is to say about them."""

    picture: Picture
    alt: str
    sentence: str = ""


def measures(survey: Survey) -> list[tuple[str, str, str]]:
    """Name each measure, with its value for the training pictures and for those held out, as text."""
    held_out = survey.measure("validation").summary()
    return [
        (name.replace("_", " "), number_text(value), number_text(held_out.get(name)))
        for name, value in survey.evaluation.summary().items()
        if name != "silhouette_space"  # a sentence, not a number
    ]


def number_text(value: Any) -> str:
    """Write one number of a table: three decimals of a fraction, nothing for None."""
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def growth(survey: Survey) -> tuple[Figure, str] | None:
    """Show how the clusters of the head grew in training, and say which went empty; None where nothing is known."""
    moved = replay(survey.run.history, survey.head.name)
    if moved is None:
        return None
    chart = usage_chart([(_stage_title(stage), epoch) for stage, epoch in moved.moments], moved.shares)
    empty = [
        f"cluster {cluster} since epoch {epoch} of {_stage_title(stage)}"
        for cluster, (stage, epoch) in moved.deaths().items()
    ]
    return chart, f"Without a held-out picture: {', '.join(empty)}." if empty else "No cluster went empty."


def _stage_title(stage: str) -> str:
    kind = stage.partition("-")[0]
    return {"finetune": "fine-tuning", "selflabel": "self-labelling"}.get(kind, kind)


def gallery(survey: Survey, cluster: int, kind: str = "prototypes", most: int = 16, *, columns: int = 8) -> Row | None:
    """Show pictures of a cluster: "prototypes", "borderline" or "outliers"; None where it is empty."""
    found = survey.members(cluster, most)
    if not found.size:
        return None
    chosen: NDArray[np.int64] = getattr(found, kind)
    captions = _captions(survey, found, kind)
    colours = cluster_colours(survey.head.clusters)
    frames = [colours[second] for second in found.second] if kind == "borderline" else None
    pictures = survey.run.pictures(TRAIN)
    sheet = picture_sheet([pictures[int(i)] for i in chosen], captions, columns=columns, frames=frames)
    return Row(sheet, f"{len(chosen)} {kind} of cluster {cluster}: {', '.join(captions[:6])}.", KINDS[kind])


def _captions(survey: Survey, found: Members, kind: str) -> list[str]:
    values = survey.probabilities
    if kind == "borderline":
        lead, _ = leads(values[found.borderline])
        return [f"or {second}: {gap:.2f}" for second, gap in zip(found.second, lead, strict=True)]
    if kind == "outliers":
        near, alike = survey.run.neighbours(TRAIN)
        apart = neighbour_disagreement(survey.clusters, near)[found.outliers]
        means = alike[found.outliers].astype(float).mean(1)
        return [f"{share:.0%}, {mean:.2f}" for share, mean in zip(apart, means, strict=True)]
    return [f"{value:.0%}" for value in values[found.prototypes, found.cluster]]


def neighbours_row(story: Story, head: Head) -> Row:
    """Show the nearest training pictures, framed in the colours of their clusters, with their pull."""
    run, found, own = story.run, story.found, story.cluster(head.name)
    pictures, clusters = run.pictures(TRAIN), run.assigned(head, TRAIN)[found.neighbours]
    theirs = run.probabilities(head, TRAIN)[found.neighbours]
    pulls = pair_pulls(story.probabilities[head.name], theirs)[:, own]
    colours = cluster_colours(head.clusters)
    captions = [f"{cluster}: {pull:+.2f}" for cluster, pull in zip(clusters, pulls, strict=True)]
    tiles = [pictures[int(i)] for i in found.neighbours]
    sheet = picture_sheet(tiles, captions, columns=10, frames=[colours[cluster] for cluster in clusters])
    share = float((clusters == own).mean())
    alt = f"{len(tiles)} nearest training pictures; captions are cluster and pull: {', '.join(captions)}."
    sentence = (
        f"{share:.0%} of the nearest training pictures lie in cluster {own} as well. Captions: cluster, and how far a "
        f"training step on the pair would pull the picture towards cluster {own} (+) or away (-)."
    )
    return Row(sheet, alt, sentence)


def pairs_row(story: Story, pairs: Sequence[tuple[int, int, float]]) -> Row | None:
    """Show mined pairs side by side with their influence."""
    if not pairs:
        return None
    pictures = story.run.pictures(TRAIN)
    tiles = [pictures[i] for a, b, _ in pairs for i in (a, b)]
    captions = [text for *_, value in pairs for text in (f"{value:+.2g}", "and")]
    captions[1::2] = [""] * len(pairs)
    alt = f"{len(pairs)} pairs of training pictures with influence {', '.join(captions[::2])}."
    return Row(picture_sheet(tiles, captions, columns=12, tile=64), alt)


def cluster_maps(
    run: ScanRun, picture: Any, heads: Sequence[Head], method: str = CLUSTER_CAM, layer: str | None = None
) -> list[Explanation]:
    """Explain, at each head, the cluster that a picture lies in."""
    return [map_cluster(run, head, picture, method, layer=layer) for head in heads]


def contrast_map(
    run: ScanRun,
    picture: Any,
    head: Head,
    method: str = CLUSTER_CAM,
    layer: str | None = None,
    *,
    other: int | None = None,
) -> Explanation:
    """Explain why a picture lies in its cluster rather than in the runner-up, or in another given one.

    Grad-CAM keeps its negative values here: they speak for the other cluster. It stands in for Grad-CAM++, which has
    none.
    """
    probabilities = run.assign(picture, [head])[head.name]
    first, second = np.argsort(-probabilities, kind="stable")[:2]
    model = contrast_model(run.model(head), int(first), int(second) if other is None else other)
    method, options = contrast_options(method)
    return explain(model, picture, method, target=0, layer=layer, **options)


def draw_map(made: Explanation, side: int = TILE) -> Picture:
    """Lay a map over the part of the picture that the network saw, enlarged: uint8 (side, side, 3)."""
    import PIL.Image

    left, top, right, bottom = (round(edge) for edge in made.box)
    part = PIL.Image.fromarray(made.image.pixels[top:bottom, left:right])
    shown = np.asarray(part.resize((side, side), PIL.Image.Resampling.BICUBIC))
    return overlay(shown, place_map(made.map[0], (side, side)), signed=made.signed, limit=made.limit, alpha=ALPHA)


def maps_sheet(
    survey: Survey, indices: Sequence[int], method: str = CLUSTER_CAM, layer: str | None = None, split: str = TRAIN
) -> Row:
    """Show pictures in rows: each alone, its cluster's map at every head, and its cluster rather than the runner-up."""
    run, heads, pictures = survey.run, main_heads(survey.run), survey.run.pictures(split)
    tiles, captions = [], []
    for index in indices:
        picture = pictures[int(index)]
        made = cluster_maps(run, picture, heads, method, layer)
        pair = contrast_map(run, picture, survey.head, method, layer)
        tiles += [picture, *map(draw_map, made), draw_map(pair)]
        first, _, second = pair.target_names[0].replace("cluster ", "").partition(" rather than ")
        captions += ["picture", *(_at(head, each) for head, each in zip(heads, made, strict=True))]
        captions.append(f"{survey.head.name}: {first}, not {second}")
    sheet = picture_sheet(tiles, captions, columns=len(heads) + 2, tile=TILE)
    label = f"{explain_label(method)}: the cluster at heads {', '.join(head.name for head in heads)}"
    scale = f"Each map is on its own scale. {contrast_sentence(method)}"
    return Row(sheet, f"{label}, and the cluster rather than the runner-up, for {len(indices)} pictures.", scale)


def _at(head: Head, made: Explanation) -> str:
    return f"{head.name}: {made.target[0]} {made.probabilities[0]:.0%}"


def explain_label(method: str) -> str:
    """Name of a method in print."""
    from xai.registry import find_method

    return find_method(method).label


def contrast_sentence(method: str = CLUSTER_CAM) -> str:
    """Say how to read the map of `contrast_map`, the last of several."""
    label = explain_label(contrast_options(method)[0])
    return f"The last is {label} of the difference: red speaks for the cluster, blue for the runner-up."


def cloud_on_map(survey: Survey, cluster: int, *, size: tuple[int, int] = (420, 420)) -> Row | None:
    """Write the words of a cluster into the region that speaks for it, on its most typical picture; or None."""
    words, found = survey.words[cluster], survey.members(cluster, 1)
    if not words or not found.size or not survey.run.has_network:
        return None
    picture = survey.run.pictures(TRAIN)[int(found.prototypes[0])]
    made = map_cluster(survey.run, survey.head, picture, cluster=cluster)
    pairs = [(word.term, word.weight) for word in words]
    drawn = word_cloud(pairs, size=size, picture=made.image.pixels, strength=made.map[0])
    alt = f"Words of cluster {cluster} inside its Grad-CAM++ region: {', '.join(word for word, _ in pairs[:8])}."
    return Row(
        drawn, alt, "Larger words set the cluster apart more; they lie where its map is at least a fifth of its peak."
    )


def find_levels(run: ScanRun, surveys: Sequence[Survey] = (), story: Story | None = None) -> Levels | None:
    """Gather the flow of the training pictures through the heads, with the path of one picture; None for one head.

    Args:
        run: whose.
        surveys: of the heads, for the names of clusters; without, they have numbers.
        story: of the picture.
    """
    heads = main_heads(run)
    if len(heads) < 2:
        return None
    known = {survey.head.name: survey for survey in surveys}
    titles = tuple(
        tuple(known[head.name].title(c) if head.name in known else f"Cluster {c}" for c in range(head.clusters))
        for head in heads
    )
    counts = tuple(flow.counts for flow in measure_flows(run).values())
    path = tuple(story.cluster(head.name) for head in heads) if story else None
    return Levels(tuple(head.name for head in heads), titles, counts, path)


def edit_row(story: Story, found: Counterfactual) -> Row:
    """Show a picture, its nearest one of another cluster, and the edit that flips it, with the cells marked."""
    run, edit = story.run, found.edit
    picture = _to_bytes(run.prepare(story.image)[0])
    tiles = [picture, run.pictures(TRAIN)[found.neighbour]]
    captions = [f"cluster {edit.before}", f"nearest of {found.neighbour_cluster}"]
    if not edit.flipped:
        return Row(picture_sheet(tiles, captions, tile=128), "The picture and its nearest of another cluster.",
                   "Even the whole other picture does not flip the cluster.")  # fmt: skip
    edited = _to_bytes(edit.pixels)
    height, width = edited.shape[:2]
    grid = len(edit.cells)
    rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
    cells = edit.cells[np.ix_(rows, columns)].astype(np.float32)  # (g, g) -> (h, w)
    marked = overlay(picture, cells, limit=1.0, alpha=0.8, colormap="YlOrRd")
    captions += [f"{edit.share:.0%} replaced", f"cluster {edit.after}"]
    sheet = picture_sheet([*tiles, marked, edited], captions, tile=128)
    sentence = (
        f"Replacing {edit.share:.0%} of the picture by the same places of its nearest neighbour in cluster "
        f"{found.neighbour_cluster} moves it from cluster {edit.before} to {edit.after}; a smaller edit may exist."
    )
    return Row(sheet, f"The picture, the neighbour, the replaced cells and the edited picture. {sentence}", sentence)


def _to_bytes(pixels: Any) -> Picture:
    """Turn working pixels (3, h, w) in [0, 1] into uint8 (h, w, 3)."""
    values = np.asarray(pixels, dtype=np.float32).transpose(1, 2, 0)
    return np.ascontiguousarray(np.rint(255 * values.clip(0, 1)).astype(np.uint8))


def count_pictures(survey: Survey, cluster: int) -> str:
    """Say how many pictures a cluster has."""
    return style.count(int(survey.evaluation.sizes[cluster]), "picture")
