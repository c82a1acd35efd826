"""FGSM and PGD against closed forms, captum and what must always hold: xai.compute.adversarial."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.robust import FGSM, PGD
from networks import CLASSES, STD, ResidualNet, VggNet, classifier_of, close, normalised, seeded
from torch import nn

from xai.compute import adversarial
from xai.compute.adversarial import fgsm, pgd, sweep
from xai.compute.trace import score_pixels
from xai.errors import Cancelled, UserError

ATTACKS = [fgsm, pgd]
LABELS = [0, 3, 1, 4]


@pytest.fixture(scope="module")
def linear():
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, CLASSES)))


@pytest.fixture(scope="module")
def residual():
    return seeded(ResidualNet)


def random_pixels(images):
    """Pixels that are not the random numbers of the network's weights, nor those of the attack's start."""
    return networks.random_pixels(images, seed=100)


def easily_moved():
    """A network whose prediction changes within small distances, in a curved way."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 64), nn.Tanh(), nn.Linear(64, CLASSES))


def loss_of(scores, classes, output="softmax"):
    """The loss of each picture, in double precision."""
    scores = scores.double().numpy()
    chosen = scores[np.arange(len(scores)), classes]
    if output == "sigmoid":
        return np.log1p(np.exp(-chosen))
    return np.log(np.exp(scores).sum(1)) - chosen


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_fgsm_on_a_linear_network_is_the_sign_of_its_weights(linear, targeted, output):
    pixels = random_pixels(4)
    weight = linear[1].weight.double().detach().numpy()  # (K, 768)
    scores = linear(normalised(pixels)).double().detach().numpy()
    if output == "sigmoid":
        slope = -(1 - 1 / (1 + np.exp(-scores[range(4), LABELS])))[:, None] * weight[LABELS]
    else:
        chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        slope = (chances - np.eye(CLASSES)[LABELS]) @ weight  # d cross-entropy / d input
    signs = np.sign(slope.reshape(4, 3, 16, 16) / np.array(STD).reshape(3, 1, 1)) * (-1 if targeted else 1)
    expected = np.clip(pixels.numpy() + 0.03 * signs, 0, 1)
    found = fgsm(classifier_of(linear), pixels, LABELS, epsilon=0.03, targeted=targeted, output=output)
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("build", [ResidualNet, VggNet])
def test_fgsm_equals_captum(build, targeted):
    classifier, pixels = classifier_of(seeded(build)), random_pixels(4)
    library = FGSM(classifier, nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    expected = library.perturb(pixels, 0.02, torch.tensor(LABELS), targeted=targeted)
    found = fgsm(classifier, pixels, LABELS, epsilon=0.02, targeted=targeted)
    turned = (found.pixels - expected.detach()).abs() > 1e-6
    assert turned.float().mean() < 0.005  # a sign may turn where the gradient is nearly zero


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("targeted", [False, True])
def test_pgd_equals_captum(targeted):
    classifier, pixels = classifier_of(seeded(easily_moved)), random_pixels(4)
    library = PGD(classifier, nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    expected = library.perturb(pixels, 0.05, 0.01, 8, torch.tensor(LABELS), targeted=targeted, norm="Linf")
    found = pgd(
        classifier, pixels, LABELS, epsilon=0.05, step_size=0.01, steps=8, random_start=False, targeted=targeted
    )
    assert (found.pixels - expected.detach()).abs().mean() < 1e-4
    assert loss_of(score_pixels(classifier, found.pixels), LABELS) == pytest.approx(
        loss_of(score_pixels(classifier, expected.detach()), LABELS), rel=1e-3
    )


def test_a_picture_that_the_network_is_sure_of_is_attacked_as_well(linear):
    """The chance of the class is 1 in float32, and so is the gradient of the plain loss zero."""
    sure = copy.deepcopy(linear)
    sure[1].weight.data *= 5000
    pixels = random_pixels(4)
    scores = sure(normalised(pixels))
    classes, second = scores.topk(2, dim=1).indices.T
    assert (scores.softmax(1).amax(1) == 1).all()
    found = fgsm(classifier_of(sure), pixels, classes.tolist(), epsilon=0.01)
    slope = (sure[1].weight[second] - sure[1].weight[classes]).detach().reshape(4, 3, 16, 16)
    assert torch.equal(found.pixels, (pixels + 0.01 * slope.sign()).clamp(0, 1))


def test_one_step_of_pgd_without_random_start_is_fgsm(residual):
    classifier, pixels = classifier_of(residual), random_pixels(4)
    one = pgd(classifier, pixels, LABELS, epsilon=0.02, steps=1, random_start=False)
    assert close(one.pixels, fgsm(classifier, pixels, LABELS, epsilon=0.02).pixels)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 0.3])
@pytest.mark.parametrize("targeted", [False, True])
def test_pictures_stay_near_and_valid(residual, attack, epsilon, targeted):
    pixels = random_pixels(4)
    pixels[0], pixels[1] = 0.0, 1.0
    found = attack(classifier_of(residual), pixels, LABELS, epsilon=epsilon, targeted=targeted)
    assert found.pixels.min() >= 0 and found.pixels.max() <= 1
    assert (found.pixels - pixels).abs().max() <= epsilon + 1e-6
    assert found.pixels.dtype == torch.float32 and not found.pixels.requires_grad
    if epsilon == 0:
        assert torch.equal(found.pixels, pixels)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_untargeted_raises_the_loss_and_targeted_lowers_it(residual, attack, output):
    classifier, pixels = classifier_of(residual), random_pixels(4)
    away = attack(classifier, pixels, LABELS, epsilon=0.02, output=output)
    towards = attack(classifier, pixels, LABELS, epsilon=0.02, targeted=True, output=output)
    clean = loss_of(away.before, LABELS, output)
    assert (loss_of(away.after, LABELS, output) > clean + 0.005).all()
    assert (loss_of(towards.after, LABELS, output) < clean - 0.005).all()
    if output == "sigmoid":  # no other class has a part in the loss
        assert (towards.after[range(4), LABELS] > towards.before[range(4), LABELS]).all()


def test_many_small_steps_reach_a_target_that_one_step_misses_more_often():
    classifier, pixels = classifier_of(seeded(easily_moved)), random_pixels(8)
    targets = [(int(each) + 1) % CLASSES for each in score_pixels(classifier, pixels).argmax(1)]
    one = fgsm(classifier, pixels, targets, epsilon=0.2, targeted=True)
    many = pgd(classifier, pixels, targets, epsilon=0.2, steps=30, targeted=True)
    assert loss_of(many.after, targets).mean() < loss_of(one.after, targets).mean()
    assert many.success.sum() >= one.success.sum() and many.success.any()


@pytest.mark.parametrize("attack", ATTACKS)
def test_scores_and_success_are_those_of_the_pictures(attack):
    classifier, pixels = classifier_of(seeded(easily_moved)), random_pixels(6)
    predicted = score_pixels(classifier, pixels).argmax(1)
    for targeted in (False, True):
        classes = ((predicted + 1) % CLASSES if targeted else predicted).tolist()
        found = attack(classifier, pixels, classes, epsilon=0.1, targeted=targeted)
        assert close(found.before, score_pixels(classifier, pixels), 1e-5)
        assert close(found.after, score_pixels(classifier, found.pixels), 1e-5)
        for i, now in enumerate(found.after.argmax(1).tolist()):
            assert bool(found.success[i]) == ((now == classes[i]) if targeted else (now != classes[i]))


@pytest.mark.parametrize("attack", ATTACKS)
def test_many_pictures_equal_one_by_one_and_the_same_twice(residual, attack, monkeypatch):
    classifier, pixels, labels = classifier_of(residual), random_pixels(5), [0, 1, 2, 3, 4]
    options = {"epsilon": 0.02} | ({"random_start": False} if attack is pgd else {})
    whole = attack(classifier, pixels, labels, **options)
    assert torch.equal(whole.pixels, attack(classifier, pixels, labels, **options).pixels)
    monkeypatch.setattr(adversarial, "CHUNK", 2)
    for other in (
        attack(classifier, pixels, labels, **options).pixels,
        torch.cat([attack(classifier, pixels[i : i + 1], labels[i : i + 1], **options).pixels for i in range(5)]),
    ):
        assert (whole.pixels - other).abs().mean() < 1e-5  # a sign may turn where the gradient is nearly zero


def test_the_random_start_is_the_seeds_and_no_one_elses(residual, monkeypatch):
    classifier, pixels = classifier_of(residual), random_pixels(4)
    state = torch.random.get_rng_state()
    starts = [
        pgd(classifier, pixels, LABELS, epsilon=0.02, steps=1, step_size=0.0, seed=seed).pixels for seed in (0, 0, 1)
    ]
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    moved = (starts[0] - pixels)[(pixels > 0.02) & (pixels < 0.98)]
    assert moved.mean().abs() < 0.001 and moved.abs().max() == pytest.approx(0.02, abs=2e-4)
    assert moved.std() == pytest.approx(0.02 / 3**0.5, rel=0.05)  # uniform
    monkeypatch.setattr(adversarial, "CHUNK", 3)
    chunked = pgd(classifier, pixels, LABELS, epsilon=0.02, steps=1, step_size=0.0).pixels
    assert torch.equal(chunked, starts[0])


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
@pytest.mark.parametrize("targeted", [False, True])
def test_a_sweep_is_the_attack_at_each_epsilon(residual, attack, targeted):
    classifier, pixels, epsilons = classifier_of(residual), random_pixels(4), [0.0, 0.01, 0.1]
    targets = [1, 2, 0, 0] if targeted else None
    found = sweep(classifier, pixels, LABELS, epsilons, targets=targets, attack=attack, steps=3, seed=2)
    for i, epsilon in enumerate(epsilons):
        options = {"steps": 3, "seed": 2} if attack == "pgd" else {}
        alone = getattr(adversarial, attack)(
            classifier, pixels, targets or LABELS, epsilon=epsilon, targeted=targeted, **options
        )
        chances = F.softmax(alone.after, 1)
        assert found.predictions[i].tolist() == alone.after.argmax(1).tolist()
        assert close(found.probabilities[i], chances[range(4), LABELS], 1e-5)
        assert found.confidence[i].item() == pytest.approx(chances[range(4), LABELS].mean().item(), rel=1e-5)
        right = [now == label for now, label in zip(alone.after.argmax(1).tolist(), LABELS, strict=True)]
        assert found.accuracy[i].item() == pytest.approx(sum(right) / 4)
        assert found.success[i].item() == pytest.approx(alone.success.float().mean().item())
        if targeted:
            assert close(found.target_probabilities[i], chances[range(4), targets], 1e-5)
    assert found.epsilons.tolist() == epsilons and (targeted or found.target_probabilities is None)


def test_accuracy_and_confidence_fall_as_epsilon_grows():
    classifier, pixels = classifier_of(seeded(easily_moved)), random_pixels(8)
    labels = score_pixels(classifier, pixels).argmax(1).tolist()
    found = sweep(classifier, pixels, labels, [0.0, 0.005, 0.02, 0.1], attack="pgd")
    assert found.accuracy[0] == 1 and found.accuracy[-1] < 1
    assert found.confidence.tolist() == sorted(found.confidence.tolist(), reverse=True)


def test_the_model_is_unchanged_and_threads_may_share_it(residual):
    classifier, pixels = classifier_of(residual), random_pixels(4)
    before, kept = copy.deepcopy(classifier.state_dict()), pixels.clone()
    expected = fgsm(classifier, pixels, LABELS).pixels
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fgsm(classifier, pixels, LABELS).pixels, range(8)))
    assert all(torch.equal(each, expected) for each in found)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in classifier.parameters())
    assert not any(module.training for module in classifier.modules())
    assert torch.equal(pixels, kept) and not pixels.requires_grad


@pytest.mark.parametrize("attack", ATTACKS)
def test_inference_mode_of_the_caller_does_no_harm(residual, attack):
    classifier = classifier_of(residual)
    with torch.inference_mode():
        found = attack(classifier, random_pixels(4), LABELS)
    assert close(found.pixels, attack(classifier, random_pixels(4), LABELS).pixels)


def test_progress_is_told_and_can_stop_the_work(residual, monkeypatch):
    monkeypatch.setattr(adversarial, "CHUNK", 3)
    classifier, pixels, told = classifier_of(residual), random_pixels(4), []

    def tell(share, partial):
        told.append(share)

    for work, shares in (
        (lambda: fgsm(classifier, pixels, LABELS, on_progress=tell), [3 / 4, 1]),
        (lambda: pgd(classifier, pixels, LABELS, steps=2, on_progress=tell), [3 / 8, 3 / 4, 7 / 8, 1]),
        (lambda: sweep(classifier, pixels, LABELS, [0, 0.1], on_progress=tell), [1 / 4, 1 / 3, 2 / 3, 1]),
        (
            lambda: sweep(classifier, pixels, LABELS, [0, 0.1], attack="pgd", steps=1, on_progress=tell),
            [3 / 8, 1 / 2, 7 / 8, 1],
        ),
    ):
        told.clear()
        work()
        assert told == pytest.approx(shares)

    def stop(share, partial):
        raise Cancelled

    for attack in ATTACKS:
        with pytest.raises(Cancelled):
            attack(classifier, pixels, LABELS, on_progress=stop)


def test_mistakes_are_told_in_a_sentence(residual):
    classifier, pixels = classifier_of(residual), random_pixels(2)
    for attack in ATTACKS:
        for epsilon in (-0.1, 1.5, float("nan")):
            with pytest.raises(UserError, match="from 0 to 1, not"):
                attack(classifier, pixels, [0, 1], epsilon=epsilon)
        with pytest.raises(UserError, match="3 classes for 2 images"):
            attack(classifier, pixels, [0, 1, 2])
    with pytest.raises(UserError, match="at least 1 step"):
        pgd(classifier, pixels, [0, 1], steps=0)
    with pytest.raises(UserError, match="fgsm, pgd"):
        sweep(classifier, pixels, [0, 1], [0.1], attack="cw")
    with pytest.raises(UserError, match="at least one epsilon"):
        sweep(classifier, pixels, [0, 1], [])
    with pytest.raises(UserError, match="1 classes for 2 images"):
        sweep(classifier, pixels, [0, 1], [0.1], targets=[2])
