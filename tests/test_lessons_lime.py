"""The numbers of the LIME notebook are right, against slow or known answers: xai.report.lessons.lime*, verdicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import ResidualNet, seeded

import xai
from xai.compute.lime_sampling import draw_coalitions
from xai.compute.lime_solve import kernel_weights
from xai.report.lessons import lime as look
from xai.report.lessons import lime_stability as stability
from xai.report.lessons import lime_trust as trust
from xai.report.lessons.network import load_pictures
from xai.report.lessons.verdicts import choose_cases, judge, show_verdicts

NAMES = ["tabby", "espresso", "tractor", "beacon", "missile"]
CUT = {"segmenter": "grid", "n_segments": 9, "fill": "color"}
PLAIN = {name: False for name in ("smooth",) if name in xai.METHODS["lime"].defaults}  # the fit of the lime package


@pytest.fixture(scope="module")
def model():
    return xai.load_model(seeded(ResidualNet), input_size=32, class_names=NAMES)


@pytest.fixture(scope="module")
def traced(model):
    return xai.trace(model, "cat")


@pytest.fixture(scope="module")
def made(traced):
    return xai.explain(traced, method="lime", samples=120, **CUT, **PLAIN)


def neighbours(outputs, samples, width=0.25):
    return stability.Answers(samples, outputs, kernel_weights(samples.bool(), width, "cosine"))


def test_hidden_pictures_are_what_the_network_is_asked_about(model, traced, made):
    segments = look.details(made).segments
    pixels = traced.ready.pixels[0].clone()
    gone = pixels.clone()
    gone[:, (segments == 2) | (segments == 5)] = 128 / 255
    kept = torch.full_like(pixels, 128 / 255)
    kept[:, (segments == 2) | (segments == 5)] = pixels[:, (segments == 2) | (segments == 5)]
    scores = model.classifier(torch.stack([pixels, kept, gone])).softmax(1)[:, made.target[0]].tolist()
    found = look.keep_and_hide(look.reopen(traced, made), segments, [2, 5])
    assert found == pytest.approx(scores, abs=1e-6)


def test_explanation_sentence_counts_signs_and_checks_the_strongest(traced, made):
    values = look.details(made).coefficients[0]
    finding = look.show_explanation(traced, made, top=2)
    best = values.argsort(descending=True)[:2].tolist()
    whole, only, without = look.keep_and_hide(look.reopen(traced, made), look.details(made).segments, best)
    assert f"{int((values > 0).sum())} of 9 superpixels speak for {made.target_names[0]}" in finding.sentence
    assert f"alone give it {only:.1%}; without them it keeps {without:.1%}" in finding.sentence
    assert f"{whole:.1%}" in finding.sentence and "cat" in finding.figure.get_label()


def test_question_shows_the_first_samples_of_the_explanation(traced, made):
    answers = look.ask_again(traced, made, 120, made.seed).outputs[:, 0].tolist()
    sentence = look.show_question(traced, made, shown=2).sentence
    assert f"{answers[0]:.1%} for the whole picture, {answers[1]:.1%}, {answers[2]:.1%} for the samples" in sentence


def test_samples_drawn_again_give_the_same_line(traced, made):
    known = stability.first_class(look.ask_again(traced, made, 120, made.seed))
    fitted = known.fit()
    assert torch.allclose(fitted.coefficients, look.details(made).coefficients[0], atol=1e-9)
    own = stability.r_squared(known, fitted.coefficients, fitted.intercept)
    assert own == pytest.approx(float(look.details(made).r2[0]), abs=1e-9)
    assert f"Weighted R2: {own:.2f} on the 120 samples" in trust.show_fit(traced, made).sentence


def test_coefficients_away_from_zero_are_counted_and_placed(made):
    found = look.details(made)
    sure = int((found.coefficients[0].abs() > 2 * found.standard_errors[0]).sum())
    finding = look.show_coefficients(made)
    assert finding.sentence.startswith(f"{sure} of 9 coefficients")
    labels = [label.get_text() for label in finding.figure.axes[0].get_yticklabels()]
    assert {"0, upper left", "4, centre", "5, middle right", "8, lower right"} <= set(labels)
    assert labels[0].startswith(f"{int(found.coefficients[0].argmax())}, ")


def test_r_squared_of_a_useless_line_is_not_positive():
    samples = draw_coalitions(200, 6, 0).double()
    known = neighbours(samples @ torch.arange(6.0).double(), samples)
    assert stability.r_squared(known, torch.zeros(6).double(), 0.0) < 0
    assert stability.r_squared(known, torch.arange(6.0).double(), 0.0) == pytest.approx(1)


def test_stability_of_a_noisy_line_grows_and_r2_flatters_small_samples():
    truth, generator = torch.linspace(-1, 1, 20).double(), torch.Generator().manual_seed(0)
    drawn = []
    for seed in range(4):
        samples = draw_coalitions(800, 20, seed).double()
        noise = torch.randn(800, generator=generator, dtype=torch.float64)
        drawn.append(neighbours(samples @ truth + 2 * noise, samples))
    found = stability.measure_stability(drawn, [30, 800])
    assert found.between.shape == (2, 6) and found.own.shape == (2, 4)
    assert found.between[0].mean() < 0.5 < 0.8 < found.between[1].mean()
    assert (found.settled[1] > 0.8).all()
    assert found.own[0].mean() > found.own[1].mean() and found.fresh[0].mean() < found.fresh[1].mean()
    assert (found.own[0] > found.fresh[0]).all()
    exact = [neighbours(each.samples @ truth, each.samples) for each in drawn]
    assert stability.measure_stability(exact, [400]).between.min() == pytest.approx(1)


def test_findings_of_one_explanation_have_alt_text_and_numbers(traced, made):
    settled = stability.show_stability(traced, made, counts=(20, 40), seeds=3)
    assert "From 20 to 40 samples" in settled.sentence
    width = trust.show_kernel_width(traced, made, widths=(0.1, 0.25, 1000.0))
    assert "at 1000 120." in width.sentence and "1.00 at 1000" not in width.sentence.split("Rank")[0]
    cuts = trust.compare_segmenters(traced, made, ["grid", "slic"], 60)
    assert "for grid" in cuts.sentence and "(grid)" in cuts.sentence
    fills = trust.compare_fills(traced, made, ["color", "black"], 60)
    hidden = float(look.reopen(traced, made).answers(torch.zeros(1, 32, 32, dtype=torch.bool))[0, 0])
    assert f"keeps {hidden:.1%} by color" in fills.sentence
    for finding in (settled, width, cuts, fills):
        assert (
            "cat" in finding.figure.get_label()
            or "samples" in finding.figure.get_label()
            or "kernel" in (finding.figure.get_label())
        )


def test_controls_are_judged_by_what_they_leave(traced, made):
    found = look.details(made)
    best = found.coefficients[0].argsort(descending=True)[:2].tolist()
    left = look.keep_and_hide(look.reopen(traced, made), found.segments, best)[2]
    middle = look.keep_and_hide(look.reopen(traced, made), found.segments, [4])[2]
    assert f"{left:.1%} by LIME" in look.compare_controls(traced, made, top=2).sentence
    assert f"{middle:.1%} by Centre" in look.compare_controls(traced, made, top=1).sentence


def test_verdicts_know_the_samples_and_nothing_else(model):
    cat, coffee, flower = load_pictures(["cat", "coffee", "flower"])
    answers = {image.name: xai.predict(model, image, k=5) for image in (cat, coffee, flower)}
    for image, name in ((cat, "tabby"), (coffee, "espresso")):
        verdict = judge(model, image)
        order = [said[0] for said in answers[image.name]]
        assert verdict.known and verdict.rank == order.index(name) + 1
        assert verdict.right is (order[0] == name) and verdict.proper[0] == name
        assert verdict.rival[2] == (answers[image.name][1] if verdict.right else verdict.proper)[2]
    hopeless = judge(model, flower)
    assert not hopeless.right and hopeless.known and hopeless.words == "wrong, as no class of the network names it"
    assert hopeless.rival == hopeless.second == answers["flower"][1]
    unknown = judge(model, xai.load_image(cat.pixels))
    assert unknown.words == "not judged" and not unknown.known


def test_cases_are_the_surest_right_answer_and_a_wrong_one_that_could_be_right(model):
    images = load_pictures(["flower", "cat", "coffee"])
    best = xai.predict(model, images[1], k=1)[0][0]
    renamed = ["tabby" if name == best else f"other {i}" for i, name in enumerate(NAMES)]
    renamed[NAMES.index(best) - 1] = "cup"
    other = xai.load_model(seeded(ResidualNet), input_size=32, class_names=renamed)
    right, wrong = choose_cases(other, images)
    assert right.image.name == "cat" and right.right
    assert wrong.image.name == "coffee" and wrong.proper[0] == "cup" and "cup would be right, rank" in wrong.words
    assert show_verdicts(other, images).sentence == "1 of 3 answers that can be judged are right: cat."
    first, second = choose_cases(model, images[:1])
    assert first is second, "a single photograph is both"


def test_cases_of_a_comparison_are_named_with_their_verdict(model, made):
    cases = choose_cases(model, load_pictures(["cat", "coffee"]))
    finding = look.compare_cases(model, cases, top=2, samples=60, **CUT)
    for case in cases:
        assert case.line in finding.sentence
    assert np.isfinite([float(part) for part in finding.sentence.split("R2 ")[1].split(",")[:1]]).all()
