"""The numbers of the comparison notebook are right: xai.report.lessons.comparison and comparison_checks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from networks import ResidualNet, seeded

import xai
from xai.metrics.agreement import rank_correlation
from xai.report.lessons import comparison as look
from xai.report.lessons import comparison_checks as checks
from xai.report.lessons.network import load_pictures
from xai.report.lessons.verdicts import choose_cases

LIME = {"segmenter": "grid", "n_segments": 9, "fill": "color", "samples": 60}


@pytest.fixture(scope="module")
def model():
    names = ["tabby", "espresso", "tractor", "beacon", "missile"]
    return xai.load_model(seeded(ResidualNet), input_size=32, class_names=names)


@pytest.fixture(scope="module")
def traced(model):
    return xai.trace(model, "cat")


@pytest.fixture(scope="module")
def made(traced):
    return look.explain_by_all(traced, **LIME)


def test_lime_stands_before_the_controls(made):
    keys = [each.method.key for each in made]
    assert keys[-4:] == ["lime", "random", "center", "edges"] and keys[0] == "grad_cam"
    sentence = look.show_maps(made).sentence
    assert sentence.startswith(f"{len(made) - 3} methods about {made[0].titles[0]}, and 3 controls.")
    assert f"{sum(each.signed for each in made)} of them are signed" in sentence


def test_agreement_is_the_mean_over_pairs_of_methods_without_controls(made):
    own = [each for each in made if not look.is_control(each)]
    values = [rank_correlation(a.map[0], b.map[0]) for a, b in combinations(own, 2)]
    finding = look.show_agreement(made)
    assert f"mean over {len(values)} pairs: {np.mean(values):.2f}" in finding.sentence
    assert f"{min(values):.2f}." in finding.sentence
    assert "Heat map of rank correlation" in finding.figure.get_label()


def test_methods_coincide_at_the_last_stage_and_nowhere_else(traced):
    keys = ["grad_cam", "hires_cam", "x_grad_cam", "layer_cam"]
    sentence = look.show_coincidences(traced, ["stage2", "stage1"], keys).sentence
    late, early = sentence.split("At stage1")
    for pair in ("Grad-CAM and HiResCAM", "Grad-CAM and XGrad-CAM", "HiResCAM and XGrad-CAM"):
        assert pair in late
    assert early.startswith(" equal where positive: none.") and "must coincide at stage2" in early


def test_controls_are_compared_with_every_method(made):
    own = [each for each in made if not look.is_control(each)]
    edges = next(each for each in made if each.method.key == "edges")
    values = [rank_correlation(each.map[0], edges.map[0]) for each in own]
    sentence = checks.show_controls(made).sentence
    best = own[int(np.argmax(values))].method.label
    assert f"Edges (control): mean {np.mean(values):.2f}, most {max(values):.2f} for {best}" in sentence


def test_hiding_greys_out_the_strongest_tenth(model, traced, made):
    center = next(each for each in made if each.method.key == "center")
    order = np.argsort(-center.map[0], axis=None, kind="stable")[:102]  # a tenth of 32 x 32
    pixels = traced.ready.pixels[0].clone()
    pixels.view(3, -1)[:, torch.from_numpy(order.copy())] = 128 / 255
    left = float(model.classifier(pixels[None]).softmax(1)[0, made[0].target[0]])
    assert f"Centre (control) {left:.1%}" in checks.check_by_hiding(traced, made).sentence


def test_a_map_that_does_not_read_the_class_is_found(traced, made):
    sentence = checks.compare_classes(traced, made).sentence
    (answer, _, first), (second, _, other) = xai.predict(traced, k=2)
    assert answer in sentence and second in sentence
    blind = sentence.split("for both")[1]
    assert "Eigen-CAM" in blind and "Input × gradient" not in blind.split("Least")[0]
    maps = xai.explain(traced, method="lrp", target=[first, other]).map
    assert rank_correlation(*maps) < checks.NEARLY


def test_cost_is_listed_with_the_slowest_first(made):
    table = checks.tabulate_cost(made)
    assert table["milliseconds"].is_monotonic_decreasing and len(table) == len(made)
    assert table.index[0] == max(made, key=lambda each: each.seconds).method.label


def test_cases_give_verdict_and_agreement(model):
    cases = choose_cases(model, load_pictures(["cat", "coffee"]))
    finding = look.compare_cases(model, cases, ["grad_cam", "lrp", "lime", "center"], **LIME)
    cat = next(case for case in cases if case.image.name == "cat")
    own = [xai.explain(model, "cat", key, **(LIME if key == "lime" else {})) for key in ("grad_cam", "lrp", "lime")]
    alike = np.mean([rank_correlation(a.map[0], b.map[0]) for a, b in combinations(own, 2)])
    assert f"{cat.line}: {alike:.2f}" in finding.sentence
