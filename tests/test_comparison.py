"""Methods, layers and networks side by side: table, agreement, and the sentences on agreement that is no evidence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch
from networks import CLASSES, Head, ResidualNet, VggNet, seeded
from torch import nn

import xai
from xai.coincidences import gradient_is_flat, share_output
from xai.comparison import agreement, draw_comparison
from xai.errors import Cancelled, UserError
from xai.metrics.agreement import MEASURES, rank_correlation
from xai.metrics.alignment import common_places
from xai.side_by_side import name_rows

CAMS = ["grad_cam", "hires_cam"]
FAMILY = ["grad_cam", "hires_cam", "x_grad_cam", "layer_cam", "grad_cam_plus_plus", "ablation_cam"]
NAMES = ["a", "b", "c", "d", "e"]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)


def test_agreement_of_two_methods_is_that_of_their_maps(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    table = xai.compare(model, picture, CAMS, target=[1, 2], layer="stage1")
    first, second = table.attrs["explanations"]
    measured = table.attrs["agreement"]
    assert list(measured) == list(MEASURES)
    expected = rank_correlation(first.map[0], second.map[0])
    assert measured["rank correlation"].loc["grad_cam", "hires_cam"] == pytest.approx(expected)
    other = agreement([first, second], target=1)["rank correlation"].loc["hires_cam", "grad_cam"]
    assert other == pytest.approx(rank_correlation(first.map[1], second.map[1]))


def test_methods_that_must_coincide_are_named_where_they_do(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    late = xai.compare(model, picture, CAMS, target=1)
    first, second = late.attrs["explanations"]
    assert np.allclose(first.details.cells, second.details.cells.relu(), atol=1e-7)
    [note] = late.attrs["notes"]
    assert "Grad-CAM and HiResCAM must coincide at stage2" in note and "no evidence" in note
    assert xai.compare(model, picture, CAMS, target=1, layer="stage1").attrs["notes"] == ()
    assert xai.compare(model, picture, ["grad_cam"], target=1).attrs["notes"] == ()
    vgg = xai.load_model(seeded(VggNet), input_size=32)
    assert xai.compare(vgg, picture, CAMS, target=1).attrs["notes"] == (), "its head weighs places"


def test_figure_shows_every_method_in_shares_of_its_largest_value(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32, class_names=["a", "b", "c", "d", "e"])
    made = xai.compare(model, picture, CAMS, target=["b", "d"], layer="stage1").attrs["explanations"]
    figure = draw_comparison(made)
    shown = " ".join(text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts])
    shown += " ".join(text.get_text() for text in figure.texts)
    for words in ("Grad-CAM", "HiResCAM", "1 =", "b ", "d "):
        assert words in shown
    assert "4 overlays" in figure.get_label()


def test_progress_is_told_and_stops_when_asked(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    told: list[float] = []
    xai.compare(model, picture, CAMS, on_progress=lambda fraction, _: told.append(fraction))
    assert told == [0.5, 1.0]

    def stop(fraction: float, _: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        xai.compare(model, picture, CAMS, on_progress=stop)


# Layers and networks


def test_methods_that_look_at_a_layer_are_asked_at_each(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    table = xai.compare(model, picture, ["grad_cam", "edges"], layers=["stage1", "stage2"], target=1)
    assert list(zip(table["method"], table["layer"], strict=True)) == [
        ("grad_cam", "stage1"), ("grad_cam", "stage2"), ("edges", "")
    ]  # fmt: skip
    for e, layer in zip(table.attrs["explanations"], ["stage1", "stage2", None], strict=True):
        assert np.array_equal(e.map, xai.explain(model, picture, e.method.key, layer=layer, target=1).map)
    ranks = table.attrs["agreement"]["rank correlation"]
    assert list(ranks) == ["grad_cam · stage1", "grad_cam · stage2", "edges"]
    early, late, _ = (e.map[0] for e in table.attrs["explanations"])
    assert ranks.loc["grad_cam · stage1", "grad_cam · stage2"] == pytest.approx(rank_correlation(early, late))
    fused = xai.compare(model, picture, ["grad_cam"], layer=["stage1", "stage2"], target=1)
    assert fused["layer"].tolist() == ["stage1 + stage2"], "as in explain"
    with pytest.raises(UserError, match="not both"):
        xai.compare(model, picture, layer="stage1", layers=["stage2"])
    with pytest.raises(UserError, match="Unknown layer 'stage3'"):
        xai.compare(model, picture, layers=["stage1", "stage3"])


def test_networks_are_asked_about_the_class_of_the_same_name(picture: np.ndarray) -> None:
    first = xai.load_model(seeded(ResidualNet), input_size=32, class_names=NAMES)
    other = xai.load_model(seeded(VggNet), input_size=(24, 40), class_names=NAMES[::-1])
    table = xai.compare(first, picture, ["grad_cam", "random"], models=[other], target=["b", "d"])
    assert table["model"].tolist() == [first.title] * 4 + [other.title] * 4
    assert table["target"].tolist() == ["b", "d"] * 4
    mine, _, theirs, _ = table.attrs["explanations"]
    assert (mine.target, theirs.target) == ((1, 3), (3, 1))
    assert np.array_equal(theirs.map, xai.explain(other, picture, "grad_cam", target=["b", "d"]).map)
    assert theirs.probabilities[0] == pytest.approx(dict((n, p) for n, p, _ in xai.predict(other, picture))["b"])
    names = [f"{method} · {e.layer} · {e.spec.model}" if e.layer else f"{method} · {e.spec.model}" for method, e in
             zip(["grad_cam", "random"] * 2, table.attrs["explanations"], strict=True)]  # fmt: skip
    ranks = table.attrs["agreement"]["rank correlation"]
    assert list(ranks) == names
    brought = common_places([mine.map[0], theirs.map[0]], [mine.box, theirs.box])
    assert mine.box != theirs.box and brought[0].shape == brought[1].shape
    assert ranks.iloc[0, 2] == pytest.approx(scipy.stats.spearmanr(*(each.ravel() for each in brought)).statistic)
    with pytest.raises(UserError, match="VggNet has no class 'a'"):
        stranger = xai.load_model(seeded(VggNet), input_size=32, class_names=["p", "q", "r", "s", "t"])
        xai.compare(first, picture, CAMS, models=[stranger], target="a")
    with pytest.raises(UserError, match="compared with itself"):
        xai.compare(first, picture, CAMS, models=[first])


def test_the_class_asked_about_is_the_one_that_the_first_network_predicts(picture: np.ndarray) -> None:
    first = xai.load_model(seeded(ResidualNet), input_size=32)
    other = xai.load_model(seeded(ResidualNet, 7), input_size=32)
    made = xai.compare(first, picture, ["grad_cam"], models=[other]).attrs["explanations"]
    assert {e.target_names for e in made} == {(xai.predict(first, picture)[0][0],)}
    from_trace = xai.compare(xai.trace(first, picture), methods=["grad_cam"], models=[other]).attrs["explanations"]
    assert all(np.array_equal(a.map, b.map) for a, b in zip(made, from_trace, strict=True))


def test_networks_of_one_architecture_are_told_apart_by_their_weights(picture: np.ndarray) -> None:
    first = xai.load_model("squeezenet1_1", weights=None, input_size=48)
    made = xai.compare(first, picture, ["center"], target=3).attrs["explanations"][0]
    trained = dataclasses.replace(made, spec=dataclasses.replace(made.spec, weights="file a.pth", weights_digest="a"))
    other = dataclasses.replace(made, spec=dataclasses.replace(made.spec, model="net", weights_digest="b"))
    assert name_rows([made]) == ["center"]
    assert name_rows([made, trained]) == ["center · untrained", "center · file a.pth"]
    assert name_rows([made, other]) == ["center · squeezenet1_1", "center · net"]
    titles = ["squeezenet1_1 (untrained)", "squeezenet1_1 · file a.pth", "net (untrained)"]
    assert name_rows([made, trained, other]) == [f"center · {title}" for title in titles]


def test_a_network_without_the_layer_is_asked_at_its_own_and_it_is_said(picture: np.ndarray) -> None:
    first, other = (xai.load_model(seeded(build), input_size=32) for build in (ResidualNet, VggNet))
    table = xai.compare(first, picture, ["layer_cam"], layers=["stage1"], models=[other], target=1)
    assert table["layer"].tolist() == ["stage1", other.default_layer]
    [note] = table.attrs["notes"]
    assert "VggNet has no layer called stage1" in note


def test_figure_of_networks_outlines_what_each_sees(picture: np.ndarray) -> None:
    first = xai.load_model(seeded(ResidualNet), input_size=32, class_names=NAMES)
    other = xai.load_model(seeded(VggNet), input_size=(24, 40), class_names=NAMES)
    made = xai.compare(first, picture, ["grad_cam"], models=[other], target="b").attrs["explanations"]
    figure = draw_comparison(made)
    words = " ".join(text.get_text() for text in figure.axes[0].texts).replace("\n", " ")
    for e in made:
        assert f"{e.spec.model} {e.probabilities[0]:.1%}" in words and e.spec.title in words
    shapes = {(round(p.get_width(), 3), round(p.get_height(), 3)) for p in figure.axes[0].patches}
    assert len(shapes) == 2, "two boxes of other shapes"


# What must coincide


def cells(e: xai.Explanation) -> torch.Tensor:
    return e.details.cells[0].clamp_min(0)


def test_x_grad_cam_too_is_grad_cam_where_gradients_are_flat_and_activations_positive(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    table = xai.compare(model, picture, FAMILY, target=1, layer="stage2")
    made = {e.method.key: cells(e) for e in table.attrs["explanations"]}
    [note] = table.attrs["notes"]
    assert "Grad-CAM, HiResCAM and XGrad-CAM must coincide at stage2" in note and "weighted mean" in note
    for key in ("hires_cam", "x_grad_cam"):
        assert torch.allclose(made["grad_cam"], made[key], atol=1e-6 * float(made["grad_cam"].max()))
    for key in ("layer_cam", "grad_cam_plus_plus", "ablation_cam"):
        assert not torch.allclose(made["grad_cam"] / made["grad_cam"].max(), made[key] / made[key].max(), atol=1e-3)
        assert xai.METHODS[key].label not in note


class PlainNet(nn.Module):
    """A convolution whose output is pooled and weighed, with no ReLU between; the weights of class 1 are positive."""

    def __init__(self, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.end = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU() if relu else nn.Identity())
        self.head = Head(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.end(self.conv(x).relu()))


@pytest.mark.parametrize("relu", [True, False])
def test_layer_cam_too_where_no_gradient_is_negative_and_x_grad_cam_only_without_negative_activations(
    relu: bool, picture: np.ndarray
) -> None:
    network = seeded(lambda: PlainNet(relu))
    with torch.no_grad():
        network.head.fc.weight[1].abs_()
    model = xai.load_model(network, input_size=32)
    for target, layer_cam_too in ((1, True), (0, False)):
        table = xai.compare(model, picture, FAMILY[:4], target=target, layer="end")
        made = {e.method.key: cells(e) for e in table.attrs["explanations"]}
        notes = " ".join(table.attrs["notes"])
        assert ("XGrad-CAM" in notes, "LayerCAM" in notes) == (relu, layer_cam_too)
        same = torch.allclose(made["grad_cam"], made["layer_cam"], atol=1e-6 * float(made["grad_cam"].max()))
        assert same == layer_cam_too
        assert torch.allclose(made["grad_cam"], made["hires_cam"], atol=1e-6 * float(made["grad_cam"].max()))


def test_two_layers_that_hand_on_one_output_say_the_same(picture: np.ndarray) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    methods = ["hires_cam", "layer_cam", "eigen_cam", "score_cam", "ablation_cam"]
    table = xai.compare(model, picture, methods, layers=["stage2", "stage2.1", "stage2.0"], target=2)
    notes = [note for note in table.attrs["notes"] if "one and the same output" in note]
    [note] = notes
    assert "HiResCAM, LayerCAM, Eigen-CAM, Score-CAM and Ablation-CAM must coincide at stage2 and stage2.1" in note
    by_row = {(e.method.key, e.layer): e.map for e in table.attrs["explanations"]}
    for key in methods:
        assert np.allclose(by_row[key, "stage2"], by_row[key, "stage2.1"], atol=1e-6)
        assert not np.allclose(by_row[key, "stage2"], by_row[key, "stage2.0"])
    traced = xai.trace(model, picture)
    assert share_output(traced, "stage2", "stage2.1") and not share_output(traced, "stage1", "stage2")


def test_nothing_is_claimed_of_one_network_for_another(picture: np.ndarray) -> None:
    models = [xai.load_model(seeded(ResidualNet, n), input_size=32) for n in (0, 7)]
    table = xai.compare(models[0], picture, ["grad_cam", "hires_cam"], models=[models[1]], target=1, layer="stage2")
    assert len(table.attrs["notes"]) == 2 and all("must coincide at stage2" in note for note in table.attrs["notes"])
    assert [note.partition(":")[0] for note in table.attrs["notes"]] == [model.title for model in models]
    first = xai.compare(models[0], picture, ["grad_cam"], models=[models[1]], target=1, layer="stage2")
    assert first.attrs["notes"] == ()


def test_flat_is_measured_not_read_off_the_layers(picture: np.ndarray) -> None:
    traced = xai.trace(xai.load_model(seeded(ResidualNet), input_size=32), picture)
    assert gradient_is_flat(traced, "stage2", range(CLASSES)) and not gradient_is_flat(traced, "stage1", [0])


# Controls


def test_controls_can_always_be_compared(picture: np.ndarray) -> None:
    controls = [key for key, method in xai.METHODS.items() if method.family == "Controls"]
    assert controls == ["random", "center", "edges"]
    for build in (ResidualNet, VggNet):
        model = xai.load_model(seeded(build), input_size=32)
        assert all(xai.METHODS[key].supports(model) is None for key in controls)
        assert set(controls) <= set(xai.compare(model, picture)["method"]), "among those that are taken by default"
        chosen = xai.compare(
            model, picture, [*controls, "hires_cam"], models=[xai.load_model(seeded(build, 3), input_size=32)]
        )
        assert chosen["method"].tolist() == [*controls, "hires_cam"] * 2
