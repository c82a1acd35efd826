"""The strongest patches of pictures, and what a unit sees, against brute force: xai.compute.patches."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from networks import (
    ResidualNet,
    TokenNet,
    VggNet,
    classifier_of,
    hooked_forward,
    normalised,
    random_pixels,
    seeded,
    tokens_to_map,
)
from torch import nn

from xai.compute.patches import ReceptiveField, receptive_field, top_patches
from xai.compute.trace import Classifier, trace_pixels
from xai.errors import Cancelled, UserError


def seen_by(network, layer, place, size):
    """Change every pixel of some pictures and see whether any channel of the layer changes at a place."""
    height, width = size
    reached = torch.zeros(height, width, dtype=torch.bool)
    for seed in range(5):
        pixels = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
        changed = pixels.repeat(height * width, 1, 1, 1)
        for i in range(height * width):
            changed[i, :, i // width, i % width] = 3 - 2 * pixels[0, :, i // width, i % width]
        (clean, others) = (
            hooked_forward(network, normalised(each), [layer])[1][layer][:, :, place[0], place[1]]
            for each in (pixels, changed)
        )
        reached |= ((others - clean).abs().amax(1) > 1e-6).view(height, width)
    rows, columns = (reached.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


@pytest.mark.parametrize(
    ("build", "layer", "places"),
    [
        (ResidualNet, "stem", [(0, 0), (13, 3)]),
        (ResidualNet, "stage1", [(7, 8), (2, 13)]),
        (ResidualNet, "down", [(3, 4), (0, 7)]),
        (VggNet, "0", [(5, 9)]),
        (VggNet, "3", [(3, 4), (1, 6)]),
        (VggNet, "6", [(3, 4)]),
    ],
)
def test_the_box_is_what_a_change_of_pixels_reaches(build, layer, places):
    network = seeded(build)
    field = receptive_field(classifier_of(network), layer, (14, 16))
    for place in places:
        assert field.box(*place) == seen_by(network, layer, place, (14, 16))


def test_sizes_known_from_the_layers_of_a_resnet():
    classifier = classifier_of(seeded(lambda: torchvision.models.resnet18(num_classes=5)), 64)
    for layer, side, stride in [("conv1", 7, 2), ("maxpool", 11, 4), ("layer1.0.conv1", 19, 4)]:
        field = receptive_field(classifier, layer, (64, 64))
        assert field.stride == (stride, stride)
        top, left, bottom, right = field.box(7, 7)
        assert (bottom - top, right - left) == (side, side)
    everything = receptive_field(classifier, "layer4", (64, 64))
    assert everything.box(0, 0) == everything.box(1, 1) == (0, 0, 64, 64)


def test_boxes_stay_within_the_picture_and_reach_the_border_where_the_field_does():
    field = ReceptiveField((20, 30), (2.0, 3.0), (-3.0, -math.inf), (5.0, 6.0))
    assert field.box(0, 0) == (0, 0, 5, 6)
    assert field.box(4, 9) == (5, 0, 13, 30)
    uneven = ReceptiveField((20, 30), (2.5, 3.0), (-3.0, -2.0), (5.0, 6.0))
    assert uneven.box(3, 2) == (4, 4, 13, 12)  # rows 4.5 to 12.5: every pixel that is touched


def test_patches_are_the_maxima_of_the_hooked_activations():
    network, pixels = seeded(ResidualNet), random_pixels(7)
    channel = hooked_forward(network, normalised(pixels), ["down"])[1]["down"][:, 3]  # (7, 8, 8)
    best = sorted(range(7), key=lambda i: -float(channel[i].max()))
    classifier = classifier_of(network)
    found = top_patches(classifier, pixels.split(3), layer="down", channel=3, count=4)
    assert [each.image for each in found] == best[:4]
    field = receptive_field(classifier, "down", (16, 16))
    for each in found:
        assert each.value == pytest.approx(float(channel[each.image].max()), rel=1e-5)
        row, column = divmod(int(channel[each.image].argmax()), 8)
        assert each.place == (row, column) and each.box == field.box(row, column)
    assert found == top_patches(classifier, iter([pixels]), layer="down", channel=3, count=4)
    assert len(top_patches(classifier, pixels.split(2), layer="down", channel=3)) == 7


def test_a_planted_spot_is_found():
    network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(network[0].weight)
    network[0].weight.data[1, 0] = 1  # the second channel sums up red
    pixels = torch.zeros(5, 3, 12, 10)
    pixels[3, 0, 4:7, 6:9], pixels[1, 0, 0, 0], pixels[4, 1] = 1, 0.5, 1
    classifier = Classifier(network, (0, 0, 0), (1, 1, 1))
    first, second = top_patches(classifier, [pixels], layer="0", channel=1, count=2)
    assert (first.image, first.place, first.box) == (3, (5, 7), (4, 6, 7, 9)) and first.value == pytest.approx(9, abs=1)
    assert (second.image, second.place, second.box) == (1, (0, 0), (0, 0, 2, 2))


def test_pictures_of_several_sizes_and_token_layers():
    classifier = classifier_of(seeded(ResidualNet))
    found = top_patches(classifier, [random_pixels(2, 16), random_pixels(2, 24, seed=1)], layer="stem", channel=0)
    assert sorted(each.image for each in found) == [0, 1, 2, 3]
    for each in found:
        assert each.box[2] <= (16 if each.image < 2 else 24)
    tokens = Classifier(seeded(TokenNet), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), reshape=tokens_to_map)
    (patch,) = top_patches(tokens, [random_pixels(1)], layer="blocks.0", channel=2)
    seen = trace_pixels(tokens, random_pixels(1), ["blocks.0"]).activation("blocks.0")[0, 2]
    assert patch.value == pytest.approx(float(seen.max())) and patch.box == (0, 0, 16, 16)  # attention sees everything


def test_a_dead_layer_sees_nothing_and_so_is_given_the_whole_picture():
    network = seeded(ResidualNet)
    nn.init.zeros_(network.stem[1].weight)
    nn.init.constant_(network.stem[1].bias, -1.0)
    assert receptive_field(classifier_of(network), "stem", (16, 16)).box(3, 3) == (0, 0, 16, 16)


def test_progress_is_told_and_can_stop_the_work():
    classifier, told = classifier_of(seeded(ResidualNet)), []
    options = {"layer": "stem", "channel": 0}
    top_patches(classifier, random_pixels(4).split(2), total=4, on_progress=lambda *e: told.append(e), **options)
    assert told == [(0.5, None), (1.0, None)]

    def stop(share, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        top_patches(classifier, [random_pixels(4)], total=4, on_progress=stop, **options)


def test_mistakes_are_told_in_a_sentence():
    classifier = classifier_of(seeded(ResidualNet))
    with pytest.raises(UserError, match=r"Unknown channel 6 of layer 'stem'\. Choose 0 to 5"):
        top_patches(classifier, [random_pixels()], layer="stem", channel=6)
    with pytest.raises(UserError, match="'nowhere' gave no output"):
        top_patches(classifier, [random_pixels()], layer="nowhere", channel=0)
    with pytest.raises(UserError, match="'nowhere' gave no output"):
        receptive_field(classifier, "nowhere", (16, 16))
