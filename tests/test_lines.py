"""Curves, clouds, bars, superpixels and agreement are drawn from the numbers given: xai.figures."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from xai.figures import style
from xai.figures.agreement import agreement_heatmap
from xai.figures.charts import layer_chart
from xai.figures.cutouts import GREY, outline_superpixels, show_superpixels
from xai.figures.lines import Curve, bars_with_errors, curve_panels, point_cloud


def test_every_panel_has_its_curves_and_a_labelled_axis():
    curves = [Curve("one", [1, 2], [0, 1], [2, 3]), Curve("two", [3, 4])]
    figure = curve_panels(
        [10, 100],
        {"left (%)": curves, "right": curves[:1]},
        place_label="Samples",
        alt="Two panels.",
        title="T",
        logarithmic=True,
        mark=("Default", 50),
    )
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["one", "two", "Default"] and len(left.collections) == 1
    assert left.lines[1].get_ydata().tolist() == [3, 4] and left.lines[0].get_xdata().tolist() == [10, 100]
    assert left.get_ylabel() == "left (%)" and right.get_xlabel() == "Samples" and right.get_xscale() == "log"
    assert figure.get_label() == "Two panels."


def test_cloud_has_a_point_for_each_pair_and_the_line_of_equality():
    figure = point_cloud([0.2, 0.4], [0.3, 0.1], [1, 0.5], labels=("a", "b"), alt="Cloud.", title="T")
    (axes,) = figure.axes
    assert axes.collections[0].get_offsets().tolist() == [[0.2, 0.3], [0.4, 0.1]]
    assert axes.lines[0].get_xdata().tolist() == axes.lines[0].get_ydata().tolist() == [0.1, 0.4]
    first, second = axes.collections[0].get_sizes()
    assert first > second


def test_bars_are_red_above_zero_and_blue_below():
    figure = bars_with_errors(["p", "n"], [0.5, -0.25], [0.1, np.nan], value_label="v", alt="Bars.", title="T")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, -0.25]
    assert [bar.get_facecolor()[:3] for bar in axes.patches] == [to_rgb(style.POSITIVE), to_rgb(style.NEGATIVE)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["p", "n"]


def test_chart_names_what_its_rows_are():
    figure = layer_chart(["x", "y"], {"Value": [1, 2]}, noun="method")
    assert figure.axes[0].get_ylabel() == "Method" and "2 methods, from x to y" in figure.get_label()


def test_agreement_is_written_into_its_cells():
    values = np.array([[1, -0.04, np.nan], [-0.04, 1, 0.75], [np.nan, 0.75, 1]])
    figure = agreement_heatmap(values, ["a", "b", "c"], measure="rank correlation", title="T")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["1.0", "0.0", "-", "0.0", "1.0", "0.8", "-", "0.8", "1.0"]
    assert "from -0.04 to 0.75" in figure.get_label()


@pytest.mark.parametrize("size", [(2, 2), (8, 8)])
def test_superpixels_of_any_size_are_placed_on_the_picture(size):
    picture = np.full((8, 8, 3), 100, np.uint8)
    segments = np.zeros(size, int)
    segments[:, size[1] // 2 :] = 1
    shown = show_superpixels(picture, segments, [1])
    assert (shown[:, 4:] == 100).all() and (shown[:, :4] > 200).all() and shown.max() < GREY
    outlined = outline_superpixels(picture, segments)
    changed = (outlined != picture).any(2)
    assert changed[:, 3:5].all() and not changed[:, :2].any() and not changed[:, 6:].any()
    assert (picture == 100).all(), "the picture itself is left as it was"
