"""Labelled figures and charts: what they say, what they hold, and that no text is cut off or overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from skimage import data

from xai.figures import charts, grids, interactive, overlays, panels, style

LONG = "a class whose name is so long that it would push every other part of the chart out of the picture"


def words(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text) if text.get_text()]


def check_texts(figure: Figure) -> None:
    """All that is drawn lies inside the figure, and text has at least 7 points."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert drawn.x1 <= width + 0.01
    assert drawn.y1 <= height + 0.01
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7


def images(figure: Figure) -> list[np.ndarray]:
    return [image.get_array() for image in figure.axes[0].get_images()]


RNG = np.random.default_rng(0)
CAT = data.chelsea()
BOX = (75, 0, 375, 300)
HEAT = overlays.place_map(RNG.random((7, 7)), (451, 300), BOX)
EXAMPLES = {
    "map_grid": lambda: grids.map_grid(RNG.random((9, 7, 7)), [f"channel {i}" for i in range(9)], suptitle=LONG),
    "map_grid_many": lambda: grids.map_grid(RNG.random((90, 7, 7)), [str(1900 + i) for i in range(90)], columns=16),
    "map_grid_one": lambda: grids.map_grid(RNG.random((1, 9, 4)), [LONG], suptitle=LONG),
    "map_grid_wide": lambda: grids.map_grid(-1e-6 * RNG.random((2, 4, 40)), signed=True, value_label=LONG[:50]),
    "map_grid_zero": lambda: grids.map_grid(np.zeros((2, 3, 3)), ["a", "b"]),
    "overlay_row": lambda: grids.overlay_row(CAT, [HEAT] * 3, [LONG, "b", "c"], box=BOX),
    "overlay_row_signed": lambda: grids.overlay_row(CAT, [12345 * HEAT] * 7, ["x"] * 7, signed=True),
    "kernel_colours": lambda: grids.kernel_grid(RNG.random((8, 3, 3, 3)), suptitle="conv1"),
    "kernel_weights": lambda: grids.kernel_grid(RNG.normal(size=(8, 3, 3)), [str(i) for i in range(8)]),
    "bars": lambda: charts.prediction_bars([LONG, "tabby", "$5 or $9"], [0.999_99, 0.000_001, 0.0], title=LONG),
    "layers": lambda: charts.layer_chart(
        [f"features.{i}.conv.1.0" for i in range(40)],
        {"Mean activation": RNG.normal(size=40), "Dead channels (%)": np.zeros(40)},
        title=LONG,
    ),
    "similarity": lambda: charts.similarity_heatmap(np.corrcoef(RNG.normal(size=(70, 5))), title=LONG),
    "histogram": lambda: charts.histogram(
        RNG.normal(size=500), value_label="Weight", marks={"zero": 0.0, "the median": 0.01}, title=LONG
    ),
}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_text_is_whole_and_legible_and_the_figure_fits_a_notebook(name):
    figure = EXAMPLES[name]()
    check_texts(figure)
    assert figure.get_size_inches()[0] * figure.dpi <= 900
    assert figure.get_label().endswith(".")
    assert style.render_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["bars", "layers", "similarity", "histogram"])
def test_every_axis_says_what_it_shows(name):
    for axes in EXAMPLES[name]().axes:
        assert axes.get_xlabel() or axes.get_ylabel()


def test_map_grid_shares_one_scale_and_shows_it():
    maps = np.stack([np.full((3, 4), 1.0), np.full((3, 4), 4.0)])
    figure = grids.map_grid(maps, ["weak", "strong"], suptitle="two", value_label="Activation")
    weak, strong = images(figure)
    assert (weak == style.colour_values(1.0, 4.0)).all()
    assert (strong == style.colour_values(4.0, 4.0)).all()
    assert {"weak", "strong", "two", "Activation", "4", "0"} <= set(words(figure))
    assert figure.get_label() == "2 maps on one scale, Activation from 0 to 4."


def test_maps_of_several_sizes_keep_their_shapes():
    figure = grids.map_grid([np.ones((7, 7)), np.ones((3, 6))])
    assert [image.shape[:2] for image in images(figure)] == [(7, 7), (3, 6)]
    for image in figure.axes[0].get_images():
        left, right, bottom, top = image.get_extent()
        height, width = image.get_array().shape[:2]
        assert (bottom - top) / (right - left) == pytest.approx(height / width)


def test_panels_do_not_overlap():
    figure = grids.map_grid(np.ones((7, 5, 3)), [LONG] * 7, columns=3)
    boxes = [image.get_extent() for image in figure.axes[0].get_images()]
    for i, (left, right, bottom, top) in enumerate(boxes):
        for other in boxes[:i]:
            assert left >= other[1] or right <= other[0] or top >= other[2] or bottom <= other[3]


def test_small_and_large_numbers_take_a_power_of_ten():
    assert "Activation (× 10⁻⁶)" in words(grids.map_grid(2e-6 * np.ones((1, 2, 2))))
    assert "Activation (× 10⁴)" in words(grids.map_grid(2e4 * np.ones((1, 2, 2))))
    assert "Activation" in words(grids.map_grid(0.02 * np.ones((1, 2, 2))))


def test_overlay_row_starts_with_the_picture_and_shares_one_scale():
    ones = np.ones(CAT.shape[:2])
    figure = grids.overlay_row(CAT, [0.5 * ones, ones, 0 * ones], ["half", "full", "none"], threshold=0.1)
    picture, half, full, none = images(figure)
    assert (picture == CAT).all()
    assert (none == CAT).all()
    assert (half == overlays.overlay(CAT, 0.5 * ones, limit=1.0)).all()
    assert (full == overlays.overlay(CAT, ones)).all()
    assert {"Picture", "half", "full", "none", "Attribution"} <= set(words(figure))


def test_overlay_row_outlines_the_box_only_where_it_is_smaller():
    maps = [np.ones(CAT.shape[:2])]
    part = grids.overlay_row(CAT, maps, ["a"], box=BOX)
    whole = grids.overlay_row(CAT, maps, ["a"], box=(0, 0, 451, 300))
    assert len(part.axes[0].patches) == 4  # a dark and a light line on two panels
    assert len(whole.axes[0].patches) == 0
    light, image = part.axes[0].patches[1], part.axes[0].get_images()[0]
    left, right, _, _ = image.get_extent()
    assert (light.get_x() - left) / (right - left) == pytest.approx(75 / 451)


def test_kernels_in_colour_are_drawn_as_they_are():
    kernels = np.full((2, 3, 3, 3), 0.5)
    kernels[1, 0, 2] = [1, 0, 0]
    figure = grids.kernel_grid(kernels)
    assert images(figure)[1][0, 2].tolist() == [255, 0, 0]
    assert images(figure)[0][0, 0].tolist() == [128, 128, 128]
    assert len(figure.axes) == 1
    assert "mid grey is zero" in figure.get_label()


def test_titles_must_be_as_many_as_panels():
    with pytest.raises(ValueError, match="1 titles for 2 panels"):
        panels.draw_panels([np.zeros((2, 2, 3), np.uint8)] * 2, ["one"], alt="x.")


def test_prediction_bars_hold_percentages_and_whole_names():
    figure = charts.prediction_bars([LONG, "tabby"], [0.75, 0.125])
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [75, 12.5]
    assert [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()] == [LONG, "tabby"]
    assert {"75.0 %", "12.5 %"} <= set(words(figure))
    assert axes.yaxis_inverted(), "the best class is on top"
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (1e-5, "< 0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %"), (1, "100.0 %")]
)
def test_shares_never_round_to_nothing_or_to_all(share, text):
    assert charts.format_share(share) == text


def test_layer_chart_holds_each_statistic_on_its_own_axis():
    figure = charts.layer_chart(["first", "last"], {"Mean": [1.0, -2.0], "Dead channels (%)": [0.0, 50.0]})
    mean, dead = figure.axes
    assert [bar.get_width() for bar in mean.patches] == [1, -2]
    assert [bar.get_width() for bar in dead.patches] == [0, 50]
    assert mean.yaxis_inverted(), "the first layer is on top"
    assert [label.get_text() for label in mean.get_yticklabels()] == ["first", "last"]


def test_similarity_is_ordered_along_both_axes_alike():
    similarity = np.array([[1, 0.2, 0.9], [0.2, 1, -0.3], [0.9, -0.3, 1]])
    expected = [[1, 0.9, 0.2], [0.9, 1, -0.3], [0.2, -0.3, 1]]
    drawn = charts.similarity_heatmap(similarity, order=[0, 2, 1]).axes[0]
    np.testing.assert_array_equal(drawn.get_images()[0].get_array(), expected)
    assert drawn.get_images()[0].get_clim() == (-1, 1)
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["0", "2", "1"]
    heat = interactive.similarity_heatmap(similarity, order=[0, 2, 1]).data[0]
    np.testing.assert_array_equal(heat.z, expected)
    assert list(heat.y) == ["0", "2", "1"]
    assert heat.colorscale[128][1] == "rgb(247,247,247)" or heat.colorscale[128][1].startswith("rgb(24")


def test_histogram_counts_all_values_and_marks_places():
    figure = charts.histogram(np.array([[0.0, 1.0], [1.0, 4.0]]), value_label="Norm", bins=4, marks={"cut": 0.5})
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1, 2, 0, 1]
    assert "cut" in words(figure)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Norm", "Count")


def test_plotly_bars_are_transparent_and_escape_names():
    figure = interactive.prediction_bars([LONG, "<b>tag"], [0.75, 0.25])
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.font.color is None
    bars = figure.data[0]
    assert list(bars.x) == [75, 25]
    assert bars.text == ("75.0 %", "25.0 %")
    assert figure.layout.yaxis.ticktext[0].replace("<br>", " ") == LONG
    assert figure.layout.yaxis.ticktext[1] == "&lt;b&gt;tag"
    assert figure.layout.yaxis.autorange == "reversed"
