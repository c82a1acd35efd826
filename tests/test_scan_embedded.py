"""The run that ships is as good as the README says, measured against labels that training never saw."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import xai
from xai.scan.explain.maps import CLUSTER_CAM, map_options
from xai.scan.explain.survey import Survey, main_heads, point_at_objects
from xai.scan.neighbours import knn_accuracy, nearest
from xai.scan.presets import PRESETS
from xai.scan.run import EMBEDDED, ScanRun, open_run


@pytest.fixture(scope="module")
def run() -> ScanRun:
    return open_run("embedded")


def test_it_is_the_preset_of_that_name_and_small(run: ScanRun) -> None:
    assert run.config == PRESETS["embedded"].config
    weights = [
        path.stat().st_size for name in ("pretext", "heads-main", "network-main") for path in EMBEDDED.glob(f"{name}*")
    ]
    assert sum(weights) < 2_000_000 and sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 6_000_000


def test_neighbours_name_the_shape_and_clusters_match_it(run: ScanRun) -> None:
    train, held_out = (torch.from_numpy(run.features(split)) for split in ("train", "validation"))
    labels, base = (torch.from_numpy(run.pictures(s).levels["shape"].labels) for s in ("validation", "train"))
    assert knn_accuracy(*nearest(held_out, train, 20), labels, base) >= 0.93
    found = Survey(run, run.head("k8")).measure("validation").agreement
    assert found is not None and found.accuracy >= 0.80
    clusters = run.probabilities("k8", "validation").argmax(1)
    table = np.zeros((8, 8), int)
    np.add.at(table, (clusters, labels.numpy()), 1)
    best = max(
        sum(table[row, column] for row, column in enumerate(order)) for order in itertools.permutations(range(8))
    )
    assert found.accuracy == pytest.approx(best / len(labels))  # over all 40,320 ways to match


def test_maps_of_clusters_follow_the_object_and_differ(run: ScanRun) -> None:
    """Those of Grad-CAM++ over turned copies, which a run that learnt turned pictures has by default."""
    head = run.head("k8")
    assert run.model(head).default_layer == "layer2"  # 8 x 8 maps; those of layer3 are 4 x 4
    methods = (CLUSTER_CAM, "eigen_cam", "layer_cam", "random")
    cam, eigen, layer, chance = (point_at_objects(run, head, method, count=200) for method in methods)
    assert cam is not None and eigen is not None and layer is not None and chance is not None
    for each in (cam, eigen):
        assert each.pictures == 200 and each.hits >= 0.85 and each.hits >= 3 * each.area
    assert layer.hits >= 3 * layer.area
    assert abs(chance.hits - chance.area) < 0.1
    picture = run.pictures("validation")[0]
    assert map_options(run, CLUSTER_CAM) == {"turned": True} and map_options(run, "grad_cam") == {}
    maps = [
        xai.explain(run.model(each), picture, method, target=[0, 1], **map_options(run, method)).map
        for method in (CLUSTER_CAM, "grad_cam")
        for each in main_heads(run)
    ]
    assert all(np.abs(each[0] - each[1]).max() > 1e-3 * np.abs(each).max() for each in maps)  # clusters of a head
    for one, other in itertools.combinations(maps, 2):
        assert np.abs(one[0] - other[0]).max() > 1e-3 * np.abs(one).max()  # the same number in two heads


def test_self_labelling_was_no_loss(run: ScanRun) -> None:
    """Nor fine-tuning: against the heads on the features of the pretext task."""
    facts = run.store.facts("selflabel-main")
    assert facts["score"] <= facts["score_before"] + 1e-3
