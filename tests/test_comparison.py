"""Methods side by side: the table, their agreement, and the sentence on agreement that is no evidence."""

from __future__ import annotations

import numpy as np
import pytest
from networks import ResidualNet, VggNet, seeded

import xai
from xai.comparison import agreement, draw_comparison
from xai.errors import Cancelled
from xai.metrics.agreement import MEASURES, rank_correlation

CAMS = ["grad_cam", "hires_cam"]


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
