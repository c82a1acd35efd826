"""Concepts against scikit-learn, planted parts, and labels worked out by hand: xai.compute.factorization."""

from __future__ import annotations

import copy
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
import torchvision
from networks import (
    CLASSES,
    DenseNet,
    ResidualNet,
    TokenNet,
    VggNet,
    classifier_of,
    close,
    hooked_forward,
    normalised,
    random_pixels,
    seeded,
    tokens_to_map,
)
from sklearn.decomposition import NMF
from torch import nn

from xai.compute.cam import enlarge
from xai.compute.factorization import choose_components, concept_similarity, factorize, find_head
from xai.compute.nmf import Factors, nmf
from xai.compute.trace import Classifier, Trace, trace_pixels
from xai.errors import Cancelled, UserError

RED, GREEN = torch.tensor([1.0, 2, 3, 0, 0, 0]), torch.tensor([0.0, 0, 0, 2, 1, 1])


@pytest.fixture(scope="module")
def two_colours():
    """Three channels answer to red, three to green; the head gives class 1 to red and class 3 to green."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
    )
    nn.init.zeros_(network[0].weight)
    nn.init.constant_(network[0].bias, -0.5)
    network[0].weight.data[:, :2, 0, 0] = torch.stack([RED, GREEN], 1) * 2
    nn.init.zeros_(network[4].weight)
    nn.init.zeros_(network[4].bias)
    network[4].weight.data[1, :3], network[4].weight.data[3, 3:] = 1, 1
    return Classifier(network, (0, 0, 0), (1, 1, 1))


def red_and_green(images=1):
    """Red above, green below, nothing between; each further picture is darker, but for the threshold."""
    pixels = torch.zeros(images, 3, 8, 8)
    for i in range(images):
        pixels[i, 0, :4], pixels[i, 1, 5:] = 1 - 0.2 * i, 1 - 0.2 * i
    return pixels


def residual_trace(images=3, layer="stage2"):
    return trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(images), [layer])


def test_two_planted_parts_are_found(two_colours):
    found = factorize(trace_pixels(two_colours, red_and_green(), ["1"]), layer="1", components=2)
    above, below = torch.zeros(8, 8), torch.zeros(8, 8)
    above[:4], below[5:] = 1, 1
    assert found.error < 1e-5 and found.converged
    assert torch.allclose(found.cells[0], torch.stack([above, below]), atol=1e-5)  # 4 rows of 10.5 before 3 of 6.5
    expected = torch.stack([RED * 2 - 0.5, GREEN * 2 - 0.5]).clamp_min(0)
    assert torch.allclose(found.vectors, expected, atol=1e-4)
    sums = torch.tensor([4 * 10.5, 3 * 6.5])
    assert torch.allclose(found.shares, sums / sums.sum(), atol=1e-5)


def test_labels_are_what_the_head_says_to_each_concept(two_colours):
    found = factorize(trace_pixels(two_colours, red_and_green(), ["1"]), layer="1", components=2, top_k=3)
    chances = np.exp(10.5) / (np.exp(10.5) + 4), np.exp(6.5) / (np.exp(6.5) + 4)
    assert found.unlabelled is None and found.labels.head == "4"
    assert found.labels.classes[:, 0].tolist() == [1, 3] and found.labels.classes.shape == (2, 3)
    assert found.labels.probabilities[:, 0].tolist() == pytest.approx(chances, rel=1e-4)
    trace = trace_pixels(two_colours, red_and_green(), ["1"])
    sigmoid = factorize(trace, layer="1", components=2, top_k=99, output="sigmoid").labels
    assert sigmoid.classes.shape == (2, CLASSES)
    assert sigmoid.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-10.5)), rel=1e-5)
    assert sigmoid.probabilities[0, 1].item() == pytest.approx(0.5)


def test_pictures_share_one_factorisation_and_one_scale(two_colours):
    found = factorize(trace_pixels(two_colours, red_and_green(2), ["1"]), layer="1", components=2)
    assert found.cells.amax((0, 2, 3)).tolist() == pytest.approx([1, 1])
    assert found.cells[1].amax((1, 2)).max() < 0.9  # the darker picture has less of both
    twice = factorize(trace_pixels(two_colours, red_and_green().repeat(2, 1, 1, 1), ["1"]), layer="1", components=2)
    assert torch.allclose(twice.cells[0], twice.cells[1], atol=1e-6)
    assert torch.allclose(twice.maps[0], twice.maps[1], atol=1e-6)


@pytest.mark.parametrize("layer", ["stem", "down", "stage2"])
def test_error_is_that_of_scikit_learn_on_the_hooked_activations(layer):
    network, components = seeded(ResidualNet), 3
    seen = hooked_forward(network, normalised(random_pixels(3)), [layer])[1][layer].relu()
    matrix = seen.permute(0, 2, 3, 1).reshape(-1, seen.shape[1]).double().numpy()
    library = NMF(components, init="nndsvd", tol=1e-8, max_iter=5000)
    left_over = np.linalg.norm(matrix - library.fit_transform(matrix) @ library.components_)
    found = factorize(residual_trace(layer=layer), layer=layer, components=components)
    assert found.error == pytest.approx(left_over / np.linalg.norm(matrix), rel=0.01)
    rebuilt = torch.einsum("nkhw,kc->nchw", found.cells, found.vectors)
    assert float((seen - rebuilt).norm() / seen.norm()) == pytest.approx(found.error, abs=1e-4)


def test_shapes_types_order_and_enlarging():
    found = factorize(residual_trace(), layer="stage2", components=4)
    assert found.cells.shape == (3, 4, 8, 8) and found.maps.shape == (3, 4, 16, 16) and found.vectors.shape == (4, 8)
    for each in (found.cells, found.maps, found.vectors, found.shares):
        assert each.dtype == torch.float32 and each.device.type == "cpu" and not each.requires_grad
        assert each.min() >= 0 and torch.isfinite(each).all()
    assert close(found.maps[1], enlarge(found.cells[1], (16, 16)))
    assert found.shares.tolist() == sorted(found.shares.tolist(), reverse=True)
    assert found.shares.sum() == pytest.approx(1, abs=1e-5)


def test_the_same_twice_and_the_model_unchanged():
    classifier = classifier_of(seeded(ResidualNet))
    before = copy.deepcopy(classifier.state_dict())
    trace, state = trace_pixels(classifier, random_pixels(2), ["stage2"]), torch.random.get_rng_state()
    one, other = (factorize(trace, layer="stage2", components=3, seed=5) for _ in range(2))
    assert torch.equal(one.cells, other.cells) and torch.equal(one.vectors, other.vectors)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


@pytest.mark.parametrize(
    ("build", "layer", "head"),
    [
        (ResidualNet, "stage2", "head.fc"),
        (DenseNet, "norm", "head.fc"),  # the ReLU is a function behind the layer
        (lambda: torchvision.models.resnet18(num_classes=CLASSES), "layer4", "fc"),
        (lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES), "features.18", "classifier"),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES), "features.12", "classifier"),
    ],
)
def test_heads_behind_global_average_pooling_are_found(build, layer, head):
    classifier = classifier_of(seeded(build), 32)
    trace = trace_pixels(classifier, random_pixels(2, 32), [layer])
    assert find_head(trace, layer) == (head, None)
    labels = factorize(trace, layer=layer, components=2, top_k=1).labels
    assert labels.head == head and labels.classes.shape == (2, 1)


@pytest.mark.parametrize(
    ("build", "layer"), [(ResidualNet, "stage1"), (ResidualNet, "stage2.0"), (VggNet, "6"), (VggNet, "7")]
)
def test_other_layers_say_why_they_have_no_labels(build, layer):
    trace = trace_pixels(classifier_of(seeded(build)), random_pixels(2), [layer])
    found = factorize(trace, layer=layer, components=2)
    assert found.labels is None and f"layer '{layer}' have no class labels" in found.unlabelled


def test_token_layers_work_through_reshape():
    classifier = Classifier(seeded(TokenNet), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), reshape=tokens_to_map)
    found = factorize(trace_pixels(classifier, random_pixels(2), ["blocks.0"]), layer="blocks.0", components=3)
    assert found.cells.shape == (2, 3, 4, 4) and found.vectors.shape == (3, 8) and found.labels is None


def test_a_dead_layer_gives_zeros_and_too_many_components_a_sentence():
    network = seeded(ResidualNet)
    nn.init.zeros_(network.stem[1].weight)
    nn.init.constant_(network.stem[1].bias, -1.0)
    trace = trace_pixels(classifier_of(network), random_pixels(), ["stem"])
    dead = factorize(trace, layer="stem", components=2)
    assert dead.cells.abs().max() == 0 and dead.vectors.abs().max() == 0 and dead.error == 0
    with pytest.raises(UserError, match="from 1 to 6 here, not 7"):
        factorize(trace, layer="stem", components=7)


def planted_trace(parts, noise):
    """A trace whose one layer is a sum of known parts, each with places and channels of its own, and some noise."""
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(2, parts, 6, 6, generator=generator) * (torch.rand(2, parts, 6, 6, generator=generator) < 0.4)
    channels = torch.rand(parts, 20, generator=generator) * (torch.rand(parts, 20, generator=generator) < 0.4)
    activation = torch.einsum("nkhw,kc->nchw", places, channels)
    activation += noise * torch.rand(activation.shape, generator=generator)
    classifier = classifier_of(seeded(ResidualNet))
    return Trace(classifier, random_pixels(2), torch.ones(2, CLASSES), {"planted": activation}, {}, 0)


@pytest.mark.parametrize(("parts", "noise"), [(3, 0.0), (4, 0.05), (5, 0.02)])
def test_the_number_of_planted_parts_is_proposed(parts, noise):
    choice = choose_components(planted_trace(parts, noise), layer="planted", counts=(2, 3, 4, 5, 6))
    assert choice.chosen == parts and choice.counts == (2, 3, 4, 5, 6)
    assert choice.stabilities[parts - 2] > 0.98
    assert all(0 <= each <= 1 + 1e-9 for each in choice.stabilities)
    assert all(fewer > more - 0.003 for fewer, more in pairwise(choice.errors))


def test_similarity_of_factorisations_does_not_see_order_and_scale():
    found = nmf(torch.rand(20, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), 3)
    order, scale = [2, 0, 1], torch.tensor([0.1, 5.0, 2.0], dtype=torch.float64)
    other = Factors(found.left[:, order] * scale, found.right[order] / scale[:, None], 0, 0, True)
    assert concept_similarity(found, other) == pytest.approx(1)
    wrong = Factors(found.left[:, order], found.right, 0, 0, True)
    one, two = (torch.einsum("pk,kc->kpc", each.left, each.right).flatten(1) for each in (found, wrong))
    similarity = nn.functional.cosine_similarity(one[:, None], two[None], dim=2)  # of whole parts (k, k)
    best = max(sum(similarity[i, j].item() for i, j in enumerate(order)) for order in permutations(range(3)))
    assert concept_similarity(found, wrong) == pytest.approx(best / 3)
    assert best / 3 < 0.99


def test_numbers_that_cannot_be_are_left_out_and_none_is_an_error():
    trace = residual_trace(layer="stem")
    choice = choose_components(trace, layer="stem", counts=(9, 2, 6), seeds=(0, 1))
    assert choice.counts == (2, 6) and choice.chosen in choice.counts
    with pytest.raises(UserError, match="from 1 to 6 here, not 9"):
        choose_components(trace, layer="stem", counts=(9, 8))
    with pytest.raises(UserError, match="two seeds"):
        choose_components(trace, layer="stem", seeds=(0,))


def test_progress_is_told_and_can_stop_the_work():
    trace, told = residual_trace(), []
    choose_components(
        trace, layer="stage2", counts=(2, 3), seeds=(0, 1), on_progress=lambda share, _: told.append(share)
    )
    assert told == pytest.approx([0.25, 0.5, 0.75, 1])

    def stop(share, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        factorize(trace, layer="stage2", components=2, on_progress=stop)
    with pytest.raises(Cancelled):
        choose_components(trace, layer="stage2", on_progress=stop)
