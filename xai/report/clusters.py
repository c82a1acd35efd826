"""One page about the clusters of a run: everything in one file, no script, nothing from the network."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from xai import clusters as views
from xai.dreams import dream
from xai.figures import cluster_charts, cluster_flows, style
from xai.figures.clusters import Picture, word_bars
from xai.figures.sheets import encode_jpeg
from xai.report.page import STYLE
from xai.scan.explain.maps import CLUSTER_CAM
from xai.scan.explain.maps2d import lay_out
from xai.scan.explain.query import find_counterfactual, tell
from xai.scan.explain.survey import SPACE, TRAIN, Survey, check_cluster, main_heads, measure_flows, point_at_objects

if TYPE_CHECKING:
    import pandas as pd

    from xai.scan.run import Head, ScanRun
    from xai.scan.words import Terms

Tell = Callable[[float, str], None]
MAPPED = 600  # pictures on the plane; each is in the page
EXPLAINED = 3  # pictures of a cluster that get maps
DREAM_STEPS = 96


@dataclass(frozen=True)
class Wanted:
    """What the page is to hold.

    Attributes:
        clusters: which; empty: all of the head.
        method: of the maps.
        layout: of the plane, "pca" or "t-sne".
        visualise: make a picture that excites each cluster.
        pointing: pictures for the pointing game, 0: none.
    """

    clusters: tuple[int, ...] = ()
    method: str = CLUSTER_CAM
    layout: str = "pca"
    visualise: bool = True
    pointing: int = 200


def write_report(
    run: ScanRun, head: Head, terms: Terms | None, wanted: Wanted, on_progress: Tell = lambda fraction, text: None
) -> str:
    """Explain the clusters of one head on a page of its own.

    Args:
        run, head: which.
        terms: words of the pictures, or None.
        wanted: what the page is to hold.
        on_progress: called with the fraction done and what comes next; may raise `Cancelled`.

    Returns:
        HTML, self-contained.

    Raises:
        UserError: a cluster or method does not exist.
    """
    surveys = [Survey(run, each, terms) for each in main_heads(run)]
    survey = next((each for each in surveys if each.head.name == head.name), Survey(run, head, terms))
    chosen = [check_cluster(head, c) for c in wanted.clusters] or list(range(head.clusters))
    on_progress(0.0, "measures")
    parts = [_intro(survey), *_measures(survey, wanted), *_levels(run, surveys), *_plane(survey, wanted)]
    for done, cluster in enumerate(chosen):
        on_progress(0.2 + 0.8 * done / len(chosen), survey.title(cluster))
        parts += _cluster(survey, cluster, wanted)
    on_progress(1.0, "")
    return _page(f"Clusters of {run.name}, head {head.name}", parts, [survey.title(c) for c in chosen])


def _intro(survey: Survey) -> str:
    run, config = survey.run, survey.run.config
    source = f"network {config.architecture}" if run.has_network else "features from elsewhere, pictures"
    told = [
        f"Run {run.name}: {len(survey.clusters)} training pictures ({config.data}), {source} at "
        f"{config.size} pixels, seed {config.seed}. Head {survey.head.name} has {survey.head.clusters} clusters; "
        f"the run has {_count_heads(run)}.",
        *([] if run.has_network else ["It was made from features, without a network, so its clusters have no maps."]),
        "No label was used in training. Labels, where there are some, only measure; words come from "
        f"{survey.terms.source if survey.terms else 'nowhere: the pictures have none'}.",
    ]
    return "".join(f"<p>{html.escape(each)}</p>" for each in told)


def _count_heads(run: ScanRun) -> str:
    """Say how many heads of each size there are."""
    replicas = Counter(head.clusters for head in run.heads)
    return ", ".join(f"{style.count(count, 'head')} of {size} clusters" for size, count in sorted(replicas.items()))


def _measures(survey: Survey, wanted: Wanted) -> Iterable[str]:
    found = survey.evaluation
    yield "<h2>How good is the clustering?</h2>"
    level = f" Labels: {survey.level}." if survey.level else ""
    yield _table(("measure", "training pictures", "held out"), views.measures(survey))
    yield _say(f"Silhouettes are measured in: {SPACE}; they cannot be compared with those of other spaces.{level}")
    yield _frame_table(found.table())
    if found.silhouette is not None and np.isfinite(found.silhouette.values).all():
        count, values = survey.head.clusters, found.silhouette.values
        yield _figure(cluster_charts.silhouette_chart(values, survey.clusters, count, SPACE))
    if found.counts is not None and found.calibration is not None:
        yield _figure(cluster_charts.confusion_chart(found.counts, found.class_names))
        made = found.calibration
        yield _figure(cluster_charts.calibration_chart(made.confidence, made.accuracy, made.counts, made.error))
    yield from _stability(survey)
    yield from _pointing(survey, wanted)


def _stability(survey: Survey) -> Iterable[str]:
    if survey.stability.replicas > 1:
        yield "<h3>Do other random starts agree?</h3>"
        mean = float(np.nanmean(survey.stability.pictures))
        yield _say(
            f"{survey.stability.replicas} replicas; another one puts a picture into the same cluster with "
            f"probability {mean:.2f}. Off the diagonal: clusters that replicas mix up."
        )
        yield _figure(cluster_charts.consensus_chart(survey.stability.consensus))
    grown = views.growth(survey)
    if grown is not None:
        chart, sentence = grown
        yield f"<h3>How clusters grew in training</h3>{_figure(chart)}{_say(sentence)}"


def _pointing(survey: Survey, wanted: Wanted) -> Iterable[str]:
    if not wanted.pointing:
        return
    rows = []
    for method in dict.fromkeys((wanted.method, CLUSTER_CAM, "random")):
        found = point_at_objects(survey.run, survey.head, method, count=wanted.pointing)
        if found is None:
            return
        rows.append((views.explain_label(method), f"{found.hits:.2f}", f"{found.energy:.2f}", f"{found.area:.2f}"))
    yield "<h3>Do the maps follow the object?</h3>"
    yield _table(("method", "peak on the object", "energy on it", "share of the picture"), rows)
    yield _say(f"{wanted.pointing} held-out pictures whose object mask is known; the last column is what chance gives.")


def _levels(run: ScanRun, surveys: Sequence[Survey]) -> Iterable[str]:
    levels = views.find_levels(run, surveys)
    if levels is None:
        return
    yield "<h2>How do the heads nest?</h2>"
    yield f"<figure>{cluster_flows.sankey_svg(levels)}</figure>"
    rows = [
        (f"{a} to {b}", f"{flow.nested:.2f}", f"{flow.by_chance:.2f}", f"{flow.explained:.2f}")
        for (a, b), flow in measure_flows(run).items()
    ]
    yield _table(("heads", "nested", "nested by chance", "entropy explained"), rows)
    yield _say("Nested is 1 where every fine cluster lies inside one coarse cluster. Point at a band for its numbers.")


def _plane(survey: Survey, wanted: Wanted) -> Iterable[str]:
    made = lay_out(survey.run.features(TRAIN), wanted.layout, most=MAPPED)
    pictures = survey.run.pictures(TRAIN)
    titles = [survey.title(cluster) for cluster in range(survey.head.clusters)]
    shown = [pictures[int(i)] for i in made.pictures]
    yield "<h2>Where do the pictures lie?</h2>"
    yield f"<figure>{cluster_flows.map_svg(made.places, survey.clusters[made.pictures], titles, shown)}</figure>"
    kind = (
        "t-SNE: only nearness means something" if made.explained is None else f"PCA, {made.explained:.0%} of variance"
    )
    yield _say(f"{len(shown)} of {len(pictures)} pictures ({kind}). Point at a dot to see the picture.")


def _cluster(survey: Survey, cluster: int, wanted: Wanted) -> Iterable[str]:
    yield f'<h2 id="cluster-{cluster}">{html.escape(survey.title(cluster))}</h2>'
    found = survey.members(cluster)
    if not found.size:
        yield _say("No training picture lies in this cluster.")
        return
    sure = survey.evaluation.confidence[cluster]
    yield _say(f"{views.count_pictures(survey, cluster)}, mean probability {sure:.2f}.")
    for kind in views.KINDS:
        row = views.gallery(survey, cluster, kind)
        if row is not None:
            yield f"<h3>{kind.capitalize()}</h3>{_picture(row.picture, row.alt)}{_say(row.sentence)}"
    yield from _words(survey, cluster)
    if not survey.run.has_network:
        return
    yield "<h3>Which places make it this cluster?</h3>"
    row = views.maps_sheet(survey, found.prototypes[:EXPLAINED].tolist(), wanted.method)
    yield _picture(row.picture, row.alt) + _say(row.sentence)
    yield from _what_if(survey, int(found.borderline[0]))
    if wanted.visualise:
        side = max(survey.run.config.size, 32)
        made = dream(survey.run.model(survey.head), target=cluster, count=4, steps=DREAM_STEPS, size=side)
        sheet = views.picture_sheet(list(made.pictures), tile=128)
        yield "<h3>What would excite it most?</h3>"
        yield _picture(sheet, f"Four pictures made to excite cluster {cluster}.")
        yield _say("Made from noise, four starts; no picture the network has seen looks like that.")


def _words(survey: Survey, cluster: int) -> Iterable[str]:
    words = survey.words[cluster]
    if words:
        yield "<h3>Words that set it apart</h3>"
        yield _figure(word_bars([(word.term, word.weight, word.inside, word.outside) for word in words[:12]]))
        row = views.cloud_on_map(survey, cluster)
        if row is not None:
            yield _picture(row.picture, row.alt) + _say(row.sentence)


def _what_if(survey: Survey, index: int) -> Iterable[str]:
    """Tell what would put the most undecided picture elsewhere."""
    story = tell(survey.run, survey.run.pictures(TRAIN)[index], heads=[survey.head])
    found = find_counterfactual(story, survey.head)
    if found is not None:
        row = views.edit_row(story, found)
        yield "<h3>What would move its most undecided picture?</h3>"
        yield _picture(row.picture, row.alt) + _say(row.sentence)


def _page(title: str, parts: Iterable[str], sections: Sequence[str]) -> str:
    links = "".join(
        f'<li><a href="#cluster-{name.split(":")[0].split()[1]}">{html.escape(name)}</a></li>' for name in sections
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>"
        f'<a class="skip" href="#main">Skip to the content</a><main id="main"><h1>{html.escape(title)}</h1>'
        f'<nav class="contents" aria-label="Clusters"><ol>{links}</ol></nav>{"".join(parts)}</main></body></html>\n'
    )


def _say(sentence: str) -> str:
    return f"<p>{html.escape(sentence)}</p>" if sentence else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(each)}</th>" for each in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="table" tabindex="0"><table class="dataframe"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _frame_table(frame: pd.DataFrame) -> str:
    return _table(list(frame), [[views.number_text(cell) for cell in row] for row in frame.itertuples(index=False)])


def _picture(pixels: Picture, alt: str) -> str:
    data = base64.b64encode(encode_jpeg(pixels, 90)).decode()
    said, (height, width) = html.escape(alt, quote=True), pixels.shape[:2]
    return f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{said}"></figure>'


def _figure(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    said = html.escape(str(figure.get_label()), quote=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{said}"></figure>'
