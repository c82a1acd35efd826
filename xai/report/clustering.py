"""What the report says about clusters: the run that ships, a figure and two held-out pictures, one of them wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np

from xai.report.keeping import keep_figure
from xai.report.lessons.scan_clusters import compare_with_labels
from xai.report.results import Result
from xai.scan.explain.survey import Survey, find_terms
from xai.scan.run import open_run

APPROACH = METHOD = "clusters"  # in APPROACHES, and in the RunSpec of the figure
SHIPPED = "embedded"
HEAD = "k8"
HELD_OUT = "validation"


class Clustering(TypedDict):
    """The head that the chapter is about; the digest is that of backbone and head."""

    run: str
    head: str
    name: str
    digest: str


def open_shipped() -> Survey:
    """Open the head that the report is about."""
    run = open_run(SHIPPED)
    return Survey(run, run.head(HEAD), find_terms(run))


def describe(survey: Survey) -> Clustering:
    """Name the head as notebooks and figures name it."""
    model = survey.run.model(survey.head)
    return Clustering(run=SHIPPED, head=survey.head.name, name=model.name, digest=model.weights_digest)


def draw(survey: Survey) -> Result:
    """Hold the clusters of the held-out pictures against the names of what was drawn."""
    spec = survey.run.model(survey.head).spec(METHOD, params={"run": SHIPPED, "head": survey.head.name})
    found = survey.measure(HELD_OUT)
    assert found.counts is not None and found.agreement is not None  # glyphs have labels
    figure = compare_with_labels(survey).figure
    rows = (
        f"{name} {int(column.max())} of {int(column.sum())} in cluster {int(column.argmax())}"
        for name, column in zip(found.class_names, found.counts.T, strict=True)
    )
    figure.set_label(f"Counts of held-out pictures by {survey.level} and cluster: {', '.join(rows)}.")
    return Result(figure, found.counts.astype(np.float64), spec)


def keep(folder: Path, survey: Survey) -> dict[str, str]:
    """Keep the figure with its RunSpec in a folder: file, approach, caption and alternative text."""
    result = draw(survey)
    keep_figure(folder / f"{APPROACH}.png", result)
    caption = (
        f"Clusters of the run that ships (head `{survey.head.name}`) against what was drawn, on held-out pictures; "
        "training saw no names."
    )
    return {"file": f"{APPROACH}.png", "approach": APPROACH, "caption": caption, "alt": str(result.figure.get_label())}


def find(survey: Survey) -> list[dict[str, str]]:
    """Let the surest held-out picture in its right cluster speak, and the surest in a wrong one.

    Returns:
        A list of {"role": ..., "verdict": ..., "sentence": ...}, as for the other approaches.
    """
    found, run = survey.measure(HELD_OUT), survey.run
    assert found.matched is not None and found.agreement is not None
    labels = run.pictures(HELD_OUT).levels[str(survey.level)].labels
    probabilities = run.probabilities(survey.head, HELD_OUT)
    clusters, sure = probabilities.argmax(1), probabilities.max(1)
    own = found.matched[clusters] == labels
    made = []
    for role, verdict, among in (("right", "correct", own), ("wrong", "wrong", ~own)):
        if among.any():
            place = int(np.where(among, sure, -1).argmax())
            made.append({"role": role, "verdict": verdict, "sentence": _say(survey, place, int(labels[place]))})
    return made


def _say(survey: Survey, place: int, label: int) -> str:
    found, run = survey.measure(HELD_OUT), survey.run
    assert found.counts is not None and found.agreement is not None
    probabilities = run.probabilities(survey.head, HELD_OUT)[place]
    cluster = int(probabilities.argmax())
    here = found.counts[cluster]
    typical = found.class_names[int(here.argmax())]
    return (
        f"held-out picture {place}, a {found.class_names[label]}, lies in cluster {cluster} with a probability of "
        f"{probabilities[cluster]:.0%}; of the {int(here.sum())} held-out pictures there {here.max() / here.sum():.0%} "
        f"are a {typical}. Of all held-out pictures {found.agreement.accuracy:.1%} lie in the cluster matched with "
        f"their {survey.level}, which training never saw."
    )
