"""What there is to see in a clustering without labels; each look is told in a sentence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from xai import clusters as views
from xai.figures import cluster_charts
from xai.figures.clusters import sheet_figure, word_bars
from xai.report.lessons.finding import Finding
from xai.scan.explain.query import find_counterfactual, tell
from xai.scan.explain.survey import SPACE, TRAIN, Survey, find_terms, main_heads, measure_flows, point_at_objects
from xai.scan.run import ScanRun, open_run


def open_surveys(name: str) -> tuple[ScanRun, dict[str, Survey]]:
    """Open a run with the surveys of its best heads, coarse to fine."""
    run = open_run(name)
    terms = find_terms(run)
    return run, {head.name: Survey(run, head, terms) for head in main_heads(run)}


def describe_run(run: ScanRun) -> str:
    """Say what was trained on what."""
    config = run.config
    train, held_out = (len(run.pictures(split)) for split in (TRAIN, "validation"))
    stages = [name for name in run.store.done if not name.startswith(("features", "neighbours", "predictions"))]
    return (
        f"Run {run.name}: {config.data}, {train} training and {held_out} held-out pictures of {config.size} pixels, "
        f"network {config.architecture}, seed {config.seed}; stages {', '.join(stages)}; "
        f"heads {', '.join(head.name for head in run.heads)}."
    )


def show_pictures(survey: Survey, cluster: int, kind: str) -> Finding:
    """Show prototypes, borderline pictures or outliers of a cluster."""
    row = views.gallery(survey, cluster, kind)
    assert row is not None, "the notebook asks for the largest cluster"
    said = f"{survey.title(cluster)}: {views.count_pictures(survey, cluster)}. {row.sentence}"
    return Finding(sheet_figure(row.picture, row.alt, title=f"{survey.title(cluster)}, {kind}"), said)


def largest(survey: Survey) -> int:
    """Number of the largest cluster."""
    return int(survey.evaluation.sizes.argmax())


def compare_with_labels(survey: Survey) -> Finding:
    """Hold the held-out clusters against labels that training never saw."""
    found = survey.measure("validation")
    assert found.counts is not None and found.agreement is not None
    figure = cluster_charts.confusion_chart(
        found.counts, found.class_names, title=f"Held-out pictures: {survey.level} by cluster of {survey.head.name}"
    )
    agreement = found.agreement
    said = (
        f"Matched one to one, {agreement.accuracy:.1%} of {agreement.labelled} held-out pictures lie in the cluster of "
        f"their {survey.level} (NMI {agreement.nmi:.3f}, ARI {agreement.ari:.3f}); by chance about "
        f"{1 / survey.head.clusters:.1%}."
    )
    return Finding(figure, said)


def show_silhouettes(survey: Survey) -> Finding:
    """Show the silhouette of every training picture."""
    found = survey.evaluation.silhouette
    assert found is not None
    figure = cluster_charts.silhouette_chart(found.values, survey.clusters, survey.head.clusters, SPACE)
    worst = int(np.nanargmin(found.by_cluster))
    below = float((found.values < 0).mean())
    said = (
        f"Mean {found.score:.2f}; {below:.0%} of the pictures are nearer to another cluster than to their own. "
        f"Lowest: {survey.title(worst)}, {found.by_cluster[worst]:.2f}."
    )
    return Finding(figure, said)


def show_words(survey: Survey, cluster: int) -> Finding:
    """Show the words that set a cluster apart."""
    words = survey.words[cluster]
    rows = [(word.term, word.weight, word.inside, word.outside) for word in words[:10]]
    figure = word_bars(rows, title=f"Words that set cluster {cluster} apart")
    first = words[0]
    said = f"{first.term!r} holds for {first.inside:.0%} of the cluster and {first.outside:.0%} of all other pictures."
    return Finding(figure, said)


def show_maps(survey: Survey, cluster: int, count: int = 3) -> Finding:
    """Show where each head looks in the most typical pictures, and what speaks against the runner-up."""
    chosen = survey.members(cluster, count).prototypes.tolist()
    row = views.maps_sheet(survey, chosen)
    return Finding(sheet_figure(row.picture, row.alt, title="Grad-CAM++ of the cluster, head by head"), row.sentence)


def measure_pointing(survey: Survey, methods: Sequence[str], count: int) -> pd.DataFrame:
    """Play the pointing game against the masks of the objects, one row per method."""
    rows = {}
    for method in methods:
        found = point_at_objects(survey.run, survey.head, method, count=count)
        assert found is not None, "the pictures of this run have no masks"
        rows[views.explain_label(method)] = {
            "peak on the object": found.hits,
            "energy on the object": found.energy,
            "share of the picture": found.area,
        }
    return pd.DataFrame(rows).T.round(3).rename_axis(columns="method")


def show_flow(surveys: dict[str, Survey]) -> Finding:
    """Hold the two finest heads against each other, and tell how far all heads are nested."""
    coarse, fine = list(surveys.values())[-2:]
    flows = measure_flows(fine.run)
    flow = flows[coarse.head.name, fine.head.name]
    names = [coarse.title(cluster) for cluster in range(coarse.head.clusters)]
    figure = cluster_charts.confusion_chart(
        flow.counts.T, names, rows=f"Cluster of {coarse.head.name}", columns=f"Cluster of {fine.head.name}"
    )
    told = [f"{a} and {b} {flow.nested:.0%} (by chance {flow.by_chance:.0%})" for (a, b), flow in flows.items()]
    return Finding(figure, f"Pictures whose fine cluster lies mainly in their coarse one: {'; '.join(told)}.")


def show_consensus(survey: Survey) -> Finding:
    """Show which clusters replicas of the head mix up."""
    found = survey.stability
    figure = cluster_charts.consensus_chart(found.consensus, title=f"{found.replicas} replicas of {survey.head.name}")
    worst = int(np.nanargmin(found.clusters))
    said = (
        f"Another replica agrees on {np.nanmean(found.pictures):.0%} of the pictures; least on {survey.title(worst)} "
        f"({found.clusters[worst]:.0%})."
    )
    return Finding(figure, said)


def ask_about(survey: Survey, picture: Any) -> Finding:
    """Ask where a picture belongs, show its nearest training pictures, and say whether it is like them at all."""
    story = tell(survey.run, picture)
    row = views.neighbours_row(story, survey.head)
    path = ", ".join(f"{step.head}: cluster {step.cluster} ({step.probability:.0%})" for step in story.path)
    said = f"{path}. {row.sentence} {story.found.unlikeness.sentence}"
    return Finding(sheet_figure(row.picture, row.alt, title=f"Nearest training pictures of {story.image.name}"), said)


def move_picture(survey: Survey, cluster: int) -> Finding:
    """Take the most undecided picture of a cluster and look for a small edit that moves it to another."""
    index = int(survey.members(cluster).borderline[0])
    story = tell(survey.run, survey.run.pictures(TRAIN)[index])
    found = find_counterfactual(story, survey.head)
    assert found is not None, "there is another cluster"
    row = views.edit_row(story, found)
    return Finding(sheet_figure(row.picture, row.alt, title="What would move it?"), row.sentence)
