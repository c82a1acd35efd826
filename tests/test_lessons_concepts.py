"""The numbers of the notebooks on concepts and on attacks are right: xai.report.lessons.concepts and adversarial."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import ResidualNet, seeded

import xai
from xai.concepts import concepts
from xai.report.lessons import adversarial, grad_cam
from xai.report.lessons import concepts as look
from xai.report.lessons.network import load_pictures
from xai.report.lessons.verdicts import judge


@pytest.fixture(scope="module")
def model():
    return xai.load_model(seeded(ResidualNet), input_size=32, class_names=["a", "b", "c", "d", "e"])


@pytest.fixture(scope="module")
def pictures():
    return load_pictures(["cat", "coffee"])


def test_concepts_name_the_photographs_where_they_are_strong(model, pictures):
    found = concepts(model, list(pictures), components=3)
    sentence = look.show_concepts(found).sentence
    cells = found.factorization.cells.numpy()
    for index, share in enumerate(found.factorization.shares.tolist()):
        names = [image.name for n, image in enumerate(pictures) if cells[n, index].max() >= 0.5]
        assert f"concept {index + 1} ({share:.0%}) in {', '.join(names)}" in sentence
    assert f"leave {found.factorization.error:.0%} of the activations' norm" in sentence


def test_choice_names_the_stable_numbers(model, pictures):
    found = concepts(model, pictures[0], components="auto")
    stable = [n for n, s in zip(found.choice.counts, found.choice.stabilities, strict=True) if s >= 0.9]
    sentence = look.show_choice(found).sentence
    assert f": {', '.join(map(str, stable)) or 'none'}. Proposed: {found.choice.chosen}" in sentence


def test_more_concepts_leave_less_and_early_layers_have_no_labels(model, pictures):
    sentence = look.compare_counts(model, pictures, [1, 4]).sentence
    left = [concepts(model, list(pictures), components=n).factorization.error for n in (1, 4)]
    assert left[1] < left[0] and f"1 concepts leave {left[0]:.0%}" in sentence and f"leave {left[1]:.0%}" in sentence
    layers = look.compare_layers(model, pictures, ["stage1", "stage2"], 2).sentence
    assert "no class labels; stage2" in layers and layers.endswith("left over, class labels.")


def test_channel_speaks_most_for_the_answer_and_is_excited(model):
    channel = look.strongest_channel(model, "cat", "stage2")
    traced = xai.trace(model, "cat")
    target = int(traced.scores.argmax())
    contributions = (traced.activation("stage2")[0] * traced.gradients("stage2", [target])[0]).sum((1, 2))
    assert channel == int(contributions.argmax())
    made = xai.dream(model, "stage2", channel, steps=4)
    sentence = look.show_dream(model, "stage2", channel, steps=4).sentence
    best = xai.strongest(model, list(xai.SAMPLES), "stage2", channel, 1).patches[0]
    assert f"{made.before[0]:.3g} for noise, {made.after[0]:.3g} after 4 steps" in sentence
    assert f"reach {best.value:.3g} at most; the strongest are in {best.name}" in sentence
    assert "mean of 1 pairs" in look.show_diversity(model, "stage2", channel, steps=2, pictures=2).sentence


def test_class_dream_is_shown_to_the_network(model):
    made = xai.dream(model, target=2, steps=3)
    name, share, _ = xai.predict(model, made.pictures[0], k=1, resize="keep")[0]
    assert look.show_class_dream(model, 2, steps=3).sentence.endswith(f"answers {name} with {share:.1%}.")


def test_random_signs_move_every_value_by_the_size_and_stay_valid():
    pixels = torch.rand(2, 3, 8, 8) * 0.8 + 0.1
    changed = adversarial.add_signs(pixels, 0.05, seed=1)
    assert torch.allclose((changed - pixels).abs(), torch.tensor(0.05), atol=1e-6)
    assert 0.3 < float((changed > pixels).float().mean()) < 0.7
    edge = adversarial.add_signs(torch.ones(1, 3, 8, 8), 0.5, seed=1)
    assert edge.max() == 1 and edge.min() == 0.5


def test_noise_of_no_size_leaves_every_answer(model, pictures):
    found = adversarial.measure_noise(model, pictures, [0.0, 0.5])
    shares = [xai.predict(model, image, k=1)[0][1] for image in pictures]
    assert found["accuracy"][0] == 1 and found["confidence"][0] == pytest.approx(np.mean(shares), abs=1e-5)
    pixels = model.prepare(list(pictures)).pixels
    clean = model.classifier(pixels).argmax(1)
    drawn = [adversarial.add_signs(pixels, 0.5, seed=draw) for draw in range(adversarial.NOISE_DRAWS)]
    scores = torch.stack([model.classifier(each) for each in drawn])  # (draws, N, K)
    assert found["accuracy"][1] == pytest.approx(float((scores.argmax(2) == clean).float().mean()))
    shares = scores.softmax(2)[:, range(len(clean)), clean]
    assert found["confidence"][1] == pytest.approx(float(shares.mean()), abs=1e-5)


def test_smallest_attack_is_the_first_that_turns_the_answer(model):
    sizes = [0.0, 0.002, 0.3]
    made = adversarial.find_smallest(model, xai.load_image("cat"), sizes)
    turned = [xai.attack(model, "cat", epsilon=size).success for size in sizes]
    assert made.epsilon == sizes[turned.index(True)] if any(turned) else sizes[-1]
    finding = adversarial.show_attack(made)
    assert finding.sentence.startswith(made.verdict) and made.before[0][0] in finding.sentence


def test_sweep_says_where_half_of_the_answers_are_turned(model, pictures):
    assert adversarial._first_below(np.array([0.0, 1.0, 2.0]) / 255, np.array([1.0, 0.5, 0.0]), 0.5) == "1/255"
    assert adversarial._first_below(np.array([0.0, 2.0]) / 255, np.array([1.0, 0.9]), 0.5) == "more than 2/255"
    table = xai.attack_sweep(model, list(pictures), method="pgd").table
    finding = adversarial.show_sweep(model, pictures)
    assert f"PGD {table['accuracy'].iloc[-1]:.0%}." in finding.sentence
    assert "2 photographs" in finding.figure.get_label()


def test_target_and_maps_under_attack(model, pictures):
    case, other = (judge(model, image) for image in pictures)
    target = other.second if other.answer[2] == case.answer[2] else other.answer
    reached = adversarial.show_target(model, case, other, [0.0, 0.5])
    succeeded = xai.attack(model, pictures[0], "pgd", epsilon=0.5, target=target[2], steps=20).success
    assert f"The target was {'' if succeeded else 'not '}reached" in reached.sentence
    assert f"Wanted: {target[0]}." in reached.sentence and "largest change is 0 " not in reached.sentence
    clean = adversarial._likeness(model, pictures, "grad_cam", 0.0, adversarial._push)
    assert clean == pytest.approx(1, abs=1e-6)
    finding = adversarial.show_maps_under_attack(model, pictures, ["grad_cam"], steps=(1, 40))
    small, large = (adversarial._likeness(model, pictures, "grad_cam", n / 255, adversarial._push) for n in (1, 40))
    assert f"FGSM {small:.2f} to {large:.2f}" in finding.sentence


def test_targets_are_the_named_classes_and_then_the_answers(model):
    ranked = [index for _, _, index in xai.predict(model, "cat", k=5)]
    named = ranked[3]
    chosen = grad_cam.choose_targets(model, "cat", [model.class_names[named], "no such class"], count=3)
    assert chosen == [named, ranked[0], ranked[1]]


def test_weak_class_of_the_scale_lesson_has_something_to_stretch(model):
    traced = xai.trace(model, "cat")
    sentence = grad_cam.compare_scales(traced, rank=50).sentence
    answers = xai.predict(traced, k=5)
    peaks = [float(xai.explain(traced, target=index).map.max()) for _, _, index in answers]
    last = max((i for i, peak in enumerate(peaks) if i and peak > 0), default=4)
    assert f"(rank {last + 1})" in sentence and answers[last][0] in sentence
