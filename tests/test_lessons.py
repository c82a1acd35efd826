"""The numbers that the notebooks print are right, against slow or known answers: xai.report.lessons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import xai
from xai.report.lessons import feature_maps, filters, grad_cam
from xai.report.lessons.finding import correlate, crop_picture, overlay_each
from xai.report.lessons.network import choose_layers, describe_network, load_pictures, show_answers


class Small(nn.Module):
    """First filters: dead, grey, a contrast of colours, and two grey twins; then a depthwise and a full convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, stride=2, padding=(1, 1), bias=True)
        self.norm = nn.BatchNorm2d(5)
        self.relu = nn.ReLU()
        self.deep = nn.Conv2d(5, 5, 3, padding=1, groups=5, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Conv2d(5, 6, 1)
        self.end = nn.ReLU()
        self.head = nn.Linear(6, 4)
        pattern = torch.randn(3, 3)
        with torch.no_grad():
            self.first.weight[0] = 0
            self.first.weight[1] = torch.randn(3, 3)
            self.first.weight[2] = torch.stack([pattern, -pattern, torch.zeros(3, 3)])
            self.first.weight[3] = pattern
            self.first.weight[4] = 2 * pattern + 0.01
            self.norm.running_mean.normal_()

    def forward(self, x):
        x = self.relu(self.norm(self.first(x)))
        x = self.end(self.last(self.pool(self.deep(x) + x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return xai.load_model(Small(), input_size=32, class_names=["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def traced(model):
    return xai.trace(model, "cat", [name for name in model.all_layers])


def test_layers_are_chosen_by_place(model):
    layers = choose_layers(model)
    assert layers.first_convolution == "first" and layers.middle_convolution == "deep"
    assert layers.after_relu == ("relu", "end") and layers.last == "end"
    assert layers.stages[-1] == layers.last and layers.before_last in layers.stages


def test_network_is_described_with_its_origin(model):
    text = describe_network(model, "Made here.")
    assert model.weights_digest[:12] in text and "32 x 32" in text and text.endswith("Made here.")
    assert "random" in describe_network(xai.load_model("squeezenet1_1", weights=None))


def test_answers_name_every_photograph(model):
    finding = show_answers(model, load_pictures(["cat", "coffee"]))
    for name in ("cat", "coffee"):
        assert f"{name}: {xai.predict(model, name, k=1)[0][0]} " in finding.sentence
    assert "2 photographs" in finding.figure.get_label()


def test_correlate_is_pearson_and_zero_for_a_constant():
    first, second = np.random.rand(4, 5).astype(np.float32), np.random.rand(4, 5).astype(np.float32)
    assert correlate(first, second) == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1], abs=1e-6)
    assert correlate(first, np.ones_like(first)) == 0


def test_zero_map_leaves_the_crop_unchanged():
    image = xai.load_image("cat")
    box = (10.0, 20.0, 110.0, 90.0)
    assert crop_picture(image, box).shape == (70, 100, 3)
    figure = overlay_each([(image, box)], [np.zeros((3, 3), np.float32)], ["none"], suptitle="s", alt="a", limit=1.0)
    drawn = figure.axes[0].images[0].get_array()
    assert np.array_equal(drawn, crop_picture(image, box))


def test_maps_sentence_counts_dead_channels_and_half_of_the_evidence(model, traced):
    maps = xai.feature_maps(traced, layer="end", sort="contribution", target="b")
    sentence = feature_maps.show_maps(maps).sentence
    values = traced.activation("end")[0]
    gradient = model.network.head.weight[1] / values[0].numel()
    contributions = (values.sum((1, 2)) * gradient).numpy()
    speaking = np.sort(contributions[contributions > 0])[::-1]
    half = next(n for n in range(1, len(speaking) + 1) if speaking[:n].sum() >= speaking.sum() / 2)
    assert f"{len(speaking)} channels speak for b, and {half} of them" in sentence
    assert f"add {contributions.sum():.2f} to its score" in sentence
    dead = int((values.amax((1, 2)) == values.amin((1, 2))).sum())
    assert f"{dead} of them" in sentence


def test_chain_is_the_bare_convolutions_and_not_the_network(model, traced):
    chained = feature_maps.chain_convolutions(traced, ["first", "deep", "last"])
    network, classifier = model.network, model.classifier
    normalised = (traced.pixels.detach() - classifier.mean) / classifier.std
    assert torch.allclose(chained["first"], traced.activation("first")[0], atol=1e-5)
    slow = network.last(network.deep(network.first(normalised))).detach()
    assert torch.allclose(chained["last"], slow[0], atol=1e-5)
    assert chained["last"].shape != traced.activation("last")[0].shape
    finding = feature_maps.compare_with_chain(traced)
    assert "1.00 at convolution 1" in finding.sentence and finding.figure.get_label()


def test_channel_is_followed_through_all_photographs(model):
    pictures = load_pictures(["cat", "coffee", "rocket"])
    sentence = feature_maps.follow_channel(model, pictures, "relu", 1).sentence
    highest = {p.name: float(xai.feature_maps(model, p, "relu", sort="channel").maps[1].max()) for p in pictures}
    strong = [name for name, value in highest.items() if value > max(highest.values()) / 2]
    assert sentence.endswith(f"in {len(strong)} of 3 photographs: {', '.join(strong)}.")


@pytest.mark.parametrize("make", [feature_maps.compare_reductions, grad_cam.compare_smoothing])
def test_findings_of_one_layer_have_alt_text_and_numbers(traced, make):
    finding = make(traced, "end")
    assert "cat" in finding.figure.get_label() and any(letter.isdigit() for letter in finding.sentence)


def test_depth_and_silence(model, traced):
    sentence = feature_maps.show_depth(traced, ["first", "end"]).sentence
    assert "from 256 to 64" in sentence and "from 5 to 6" in sentence
    zero = float((traced.activation("relu") == 0).float().mean())
    assert f"{100 * zero:.0f}% after the first" in feature_maps.show_layer_statistics(model, "cat").sentence


def test_filter_sentences_count_each_kind(model):
    kernels = xai.filters(model)
    finding = filters.show_colours(kernels)
    assert "5 filters. Dead: 1; grey (colour share below 10%): 3" in finding.sentence
    assert "contrast of colours (above 50%): 1" in finding.sentence
    similar = filters.show_similarity(kernels).sentence
    assert "pair is 3 and 4, cosine 1.00" in similar and "Dead filters: 1." in similar
    components = filters.show_components(xai.filters(model, show="components"))
    assert "3 kernels each; the first principal kernel holds 100% of a filter" in components.sentence


def test_twins_and_table_go_by_kind(model):
    twins = filters.show_dead_and_twins(model).sentence
    assert "40% (full: 1)" in twins and "(depthwise: 1)" in twins and "Dead filters: 20% in first" in twins
    table = filters.tabulate_convolutions(model)
    assert list(table.index) == ["3 x 3 full", "3 x 3 depthwise", "1 x 1 full"]
    assert list(table["weights"]) == [135, 45, 30]


def test_response_by_hand_equals_the_network(model, traced):
    by_hand = filters._apply_by_hand(traced, model.network.first)
    assert np.abs(by_hand - traced.activation("first")[0].numpy()).max() < 1e-5
    assert "largest difference" in filters.show_responses(traced, xai.filters(model), 3).sentence


def test_completeness_closes_at_the_last_stage_only(model):
    closed = grad_cam.check_completeness(model, ["cat", "coffee"], "end")
    assert list(closed.index) == ["cat", "coffee"] and max(map(float, closed["gap"])) < 1e-5
    assert np.allclose(closed["sum + bias"], closed["score"], atol=2e-4)
    open_ = grad_cam.check_completeness(model, ["cat"], "first")
    assert float(open_["gap"].iloc[0]) > 1e-3


def test_methods_coincide_at_the_last_stage_only(traced):
    sentence = grad_cam.compare_methods(traced, ["end", "first"]).sentence
    assert "at end correlation 1.0000" in sentence and "at first correlation 1.0000" not in sentence


def test_answer_sentence_says_how_concentrated_a_map_is(model, traced):
    made = xai.explain(traced, layer="end", target="a")
    values = np.sort(np.clip(made.map[0], 0, None).ravel())[::-1].astype(np.float64)
    sentence = grad_cam.show_answer(made).sentence
    if values.sum() == 0:
        assert "no positive value" in sentence
    else:
        share = next(n for n in range(1, values.size + 1) if values[:n].sum() >= values.sum() / 2) / values.size
        assert f"in {share:.0%} of the crop" in sentence


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 0, "upper left"), (5, 5, "centre"), (8, 0, "lower left"), (4, 8, "middle right"), (0, 4, "upper centre")],
)
def test_place_of_the_peak(row, column, place):
    values = np.zeros((9, 9))
    values[row, column] = 1
    assert grad_cam._place(values) == f"in the {place}"


def test_scales_and_classes_keep_raw_peaks_in_their_titles(model, traced):
    made = xai.explain(traced, layer="end", target=["a", "b", "c"])
    finding = grad_cam.compare_classes(made)
    for values in made.map:
        assert f"peak {values.max():.2g}" in finding.figure.get_label()
    assert "Raw peaks" in grad_cam.compare_scales(traced, rank=3).sentence
    assert "Correlation with the map at end" in grad_cam.compare_layers(traced, ["relu", "end"]).sentence
