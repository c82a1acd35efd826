"""Pictures that excite their goal, with the right gradient, and only that goal: xai.compute.feature_visualization."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from networks import (
    DenseNet,
    PreActivationNet,
    ResidualNet,
    ReusedNet,
    TokenNet,
    VggNet,
    classifier_of,
    close,
    normalised,
    random_pixels,
    seeded,
    tokens_to_map,
    without_inplace,
)
from torch import nn

from xai.compute import feature_visualization as module
from xai.compute.feature_visualization import Goal, goal_gradient, goal_value, visualize_feature
from xai.compute.parametrisation import Jolts, disturb
from xai.compute.trace import Classifier
from xai.errors import Cancelled, UserError

GOALS = [Goal(None, 2), Goal("down", 3), Goal("down", 3, (4, 5)), Goal("stage2"), Goal("stage1.bn2", 1)]
QUICK = {"size": (16, 16), "steps": 40, "rate": 0.2}


@pytest.fixture(scope="module")
def classifier():
    return classifier_of(seeded(ResidualNet))


def generator():
    return torch.Generator().manual_seed(9)


def slow_value(network, pixels, goal):
    """The goal by a hook of its own on a network that writes nothing over; with graph."""
    network, seen = copy.deepcopy(network), {}
    if goal.layer is None:
        return network(normalised(pixels))[:, goal.channel]
    network.get_submodule(goal.layer).register_forward_hook(lambda _m, _i, output: seen.__setitem__("it", output))
    network(normalised(pixels))
    output = tokens_to_map(seen["it"]) if seen["it"].ndim == 3 else seen["it"]
    if goal.channel is None:
        return torch.stack([(each**2).mean() for each in output])
    if goal.place is None:
        return torch.stack([each[goal.channel].mean() for each in output])
    return torch.stack([each[goal.channel, goal.place[0], goal.place[1]] for each in output])


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (ResidualNet, ["stem.1", "stage1.bn2", "down", "stage2"]),
        (PreActivationNet, ["stem", "shortcut", "conv"]),
        (DenseNet, ["conv0", "norm"]),
        (ReusedNet, ["conv"]),
        (VggNet, ["0", "3", "6"]),
        (TokenNet, ["blocks.0"]),
    ],
)
def test_value_and_gradient_are_those_of_the_layer_itself(build, layers):
    network, pixels = seeded(build), random_pixels(2)
    classifier = classifier_of(network)
    if build is TokenNet:
        classifier = Classifier(copy.deepcopy(network), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), reshape=tokens_to_map)
    whole = [] if build is TokenNet else [()]  # a layer norm holds the mean square fixed
    goals = [Goal(layer, *rest) for layer in layers for rest in [*whole, (1,), (1, (2, 3))]]
    for goal in [Goal(None, 4), *goals]:
        leaf = pixels.clone().requires_grad_()
        expected = slow_value(without_inplace(network), leaf, goal)
        (slope,) = torch.autograd.grad(expected.sum(), leaf)
        value, gradient = goal_gradient(classifier, pixels, goal)
        assert close(value, expected.detach(), 1e-5) and close(gradient, slope, 1e-4)
        assert close(goal_value(classifier, pixels, goal), expected.detach(), 1e-5)


@pytest.mark.parametrize(
    ("goal", "parametrisation"), [*itertools.product(GOALS, ["fourier"]), (GOALS[0], "pixels")], ids=str
)
def test_pictures_excite_their_goal_far_more_than_the_start_and_than_random_ones(classifier, goal, parametrisation):
    found = visualize_feature(classifier, goal, parametrisation=parametrisation, count=2, **QUICK)
    chance = goal_value(classifier, random_pixels(100), goal)
    spread = chance.std()
    assert (found.after > found.before + 4 * spread).all()
    assert (found.after > chance.mean() + 4 * spread).all() and found.after.min() > chance.max()
    assert found.objective[-5:].mean() > found.objective[:5].mean()
    assert close(found.after, goal_value(classifier, found.pictures, goal))
    assert close(found.before, goal_value(classifier, found.start, goal))


class Sleeper(nn.Module):
    """Its first channel answers to differences of neighbouring pixels beyond a threshold, its second to nothing."""

    def __init__(self):
        super().__init__()
        self.edges = nn.Conv2d(3, 2, 2)
        with torch.no_grad():
            self.edges.weight.copy_(torch.tensor([[1.0, -1.0], [1.0, -1.0]]).expand(2, 3, 2, 2))
            self.edges.bias.copy_(torch.tensor([-2.0, -100.0]))
        self.relu = nn.ReLU()
        self.fc = nn.Linear(2, 2)

    def forward(self, pixels):
        return self.fc(self.relu(self.edges(pixels)).mean((2, 3)))


@pytest.mark.parametrize("parametrisation", ["fourier", "pixels"])
def test_a_unit_that_sleeps_at_the_start_is_woken(parametrisation, monkeypatch):
    classifier, options = classifier_of(seeded(Sleeper)), {**QUICK, "count": 3, "parametrisation": parametrisation}
    made = visualize_feature(classifier, Goal("relu", 0), **options)
    assert (made.after > 1).all() and (made.after > 5 * made.before).all()
    unit = visualize_feature(classifier, Goal("relu", 0, (3, 4)), **options)  # one place sleeps in some pictures only
    assert (unit.after > 1).all()
    never = visualize_feature(classifier, Goal("relu", 1), **options)
    assert torch.equal(never.after, torch.zeros(3)) and never.pictures.isfinite().all()
    monkeypatch.setattr(module, "LOUDER", ())
    assert torch.equal(visualize_feature(classifier, Goal("relu", 0), **options).after, torch.zeros(3))


def test_a_start_that_is_awake_stays_as_quiet_as_it_was(classifier, monkeypatch):
    made = visualize_feature(classifier, Goal("down", 3), **QUICK)
    monkeypatch.setattr(module, "LOUDER", ())
    assert torch.equal(made.pictures, visualize_feature(classifier, Goal("down", 3), **QUICK).pictures)


def test_each_picture_is_best_at_its_own_channel(classifier):
    goals = [Goal("down", channel) for channel in range(3)]
    pictures = torch.cat([visualize_feature(classifier, goal, **QUICK).pictures for goal in goals])
    values = torch.stack([goal_value(classifier, pictures, goal) for goal in goals])  # goal, picture
    assert values.argmax(1).tolist() == [0, 1, 2]


def test_shapes_types_and_range(classifier):
    told = []
    found = visualize_feature(
        classifier, Goal("down", 1), size=(13, 20), count=3, steps=4, on_progress=lambda *each: told.append(each)
    )
    assert found.pictures.shape == found.start.shape == (3, 3, 13, 20) and found.objective.shape == (4, 3)
    assert found.before.shape == found.after.shape == (3,)
    for each in (found.pictures, found.start, found.objective, found.before, found.after):
        assert each.dtype == torch.float32 and each.device.type == "cpu" and not each.requires_grad
    assert found.pictures.min() >= 0 and found.pictures.max() <= 1
    assert [share for share, _ in told] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert all(partial.shape == (3, 3, 13, 20) and not partial.requires_grad for _, partial in told)
    assert torch.equal(told[0][1], found.start)
    assert (found.start - 0.5).abs().mean() < 0.1  # near mid grey


def test_the_same_twice_other_seeds_differ_and_the_global_one_is_left_alone(classifier):
    state = torch.random.get_rng_state()
    one, same, other = (visualize_feature(classifier, Goal("down", 1), seed=seed, **QUICK) for seed in (3, 3, 4))
    assert torch.equal(one.pictures, same.pictures) and torch.equal(one.objective, same.objective)
    assert not torch.equal(one.start, other.start)
    assert torch.equal(state, torch.random.get_rng_state())
    with torch.inference_mode():
        assert torch.equal(visualize_feature(classifier, Goal("down", 1), seed=3, **QUICK).pictures, one.pictures)


def test_diversity_makes_pictures_differ_at_the_layer(classifier):
    def likeness(pictures):
        seen = classifier_of(seeded(ResidualNet)).network
        output = {}
        seen.down.register_forward_hook(lambda _m, _i, out: output.__setitem__("it", out))
        seen(normalised(pictures))
        grams = [(each.flatten(1) @ each.flatten(1).T).flatten() for each in output["it"]]
        pairs = [torch.cosine_similarity(a, b, dim=0) for a, b in itertools.combinations(grams, 2)]
        return float(sum(pairs) / len(pairs)), output["it"]

    options = {**QUICK, "count": 3}
    alike = visualize_feature(classifier, Goal("down", 3), **options)
    apart = visualize_feature(classifier, Goal("down", 3), diversity=3.0, **options)
    (one, output), (other, _) = likeness(alike.pictures), likeness(apart.pictures)
    assert other < one - 0.02
    assert float(module._likeness(output)) == pytest.approx(3 * one, rel=1e-4)  # summed over the pictures
    assert float(module._likeness(output[:1])) == 0
    assert apart.after.mean() > apart.before.mean()


def test_diversity_is_taken_off_the_gradient(classifier):
    pixels = random_pixels(3)
    plain, without, with_it = (
        goal_gradient(classifier, pixels, Goal("down", 3), diversity)[1] for diversity in (0.0, 0.0, 2.0)
    )
    step = (with_it - plain) / 2  # uphill for less likeness
    assert torch.equal(plain, without) and step.abs().max() > 0
    likeness = [
        module._likeness(module.pixel_gradient(classifier, each, "down", torch.sum)[0])
        for each in (pixels, pixels + 1e-3 * step / step.abs().max())
    ]
    assert likeness[1] < likeness[0]


def test_penalties_smooth_the_picture_and_draw_it_to_grey(classifier):
    plain, smooth, grey = (
        visualize_feature(classifier, Goal("down", 3), **QUICK, **penalty).pictures
        for penalty in ({}, {"total_variation": 20.0}, {"l2": 100.0})
    )
    assert module._variation(smooth) < 0.5 * module._variation(plain)
    assert (grey - 0.5).square().mean() < 0.5 * (plain - 0.5).square().mean()
    picture = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.5, 1.0]]).expand(2, 3, 2, 3)
    assert module._variation(picture).tolist() == pytest.approx([0.5 / 3 + 2 / 4] * 2)


def test_a_picture_made_under_jolts_keeps_more_of_its_value_under_others(classifier):
    goal, jolts = Goal("stage1.conv2", 2, (8, 8)), Jolts(0.06, 0, 0)
    steady = visualize_feature(classifier, goal, jolts=Jolts(0, 0, 0), **QUICK)
    tossed = visualize_feature(classifier, goal, jolts=jolts, **QUICK)
    kept = [
        goal_value(classifier, disturb(each.pictures.expand(64, -1, -1, -1), jolts, generator()), goal).mean()
        for each in (steady, tossed)
    ]
    assert kept[1] > kept[0] and steady.after > tossed.after
    assert torch.equal(steady.objective[0], steady.before)


def test_the_model_is_unchanged_also_after_an_error(classifier):
    before = copy.deepcopy(classifier.state_dict())

    def stop(share, partial):
        raise Cancelled

    visualize_feature(classifier, Goal("down", 1), size=(16, 16), steps=2)
    with pytest.raises(Cancelled):
        visualize_feature(classifier, Goal("down", 1), size=(16, 16), steps=2, on_progress=stop)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in classifier.parameters())
    assert not any(each.training for each in classifier.modules())


@pytest.mark.parametrize(
    ("goal", "options", "sentence"),
    [
        (Goal("down", 8), {}, "Unknown channel 8 of layer 'down'. Choose 0 to 7"),
        (Goal(None, 5), {}, "Unknown class 5. Choose 0 to 4"),
        (Goal("down", 1, (8, 0)), {}, "rows 0 to 7 and columns 0 to 7"),
        (Goal(None), {}, "needs a layer or a class"),
        (Goal("nowhere", 1), {}, "'nowhere' gave no output"),
        (Goal("down", None, (1, 1)), {}, "A place belongs to a channel"),
        (Goal(None, 1), {"diversity": 1.0}, "a class has none"),
        (Goal("down", 1), {"count": 17}, "from 1 to 16, not 17"),
        (Goal("down", 1), {"steps": 0}, "at least 1, not 0"),
        (Goal("down", 1), {"parametrisation": "wavelet"}, "fourier, pixels"),
    ],
)
def test_mistakes_are_told_in_a_sentence(classifier, goal, options, sentence):
    with pytest.raises(UserError, match=sentence):
        visualize_feature(classifier, goal, **({"size": (16, 16), "steps": 2} | options))


def test_a_layer_without_gradients_is_told():
    class Cut(ResidualNet):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    with pytest.raises(UserError, match="No gradient gets from layer 'down'"):
        visualize_feature(classifier_of(seeded(Cut)), Goal("down", 1), size=(16, 16), steps=2)
