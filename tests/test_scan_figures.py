"""Figures of clusters: where words and pictures lie, what flows where, what hovering tells."""

import itertools
import re

import numpy as np
import pytest

from xai.figures import cluster_charts, cluster_flows, clusters


def test_colours_differ_and_keep_their_order():
    for count in (1, 6, 7, 24, 100):
        found = clusters.cluster_colours(count)
        assert len(found) == count == len(set(found)) and all(re.fullmatch("#[0-9a-f]{6}", each) for each in found)


def test_a_sheet_shows_each_picture_where_it_belongs():
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in (10, 60, 110)]
    sheet = clusters.picture_sheet(pictures, columns=2, tile=20)
    assert sheet.shape == (44, 44, 3)
    assert sheet[10, 10, 0] == 10 and sheet[10, 34, 0] == 60 and sheet[34, 10, 0] == 110 and sheet[34, 34, 0] == 255
    framed = clusters.picture_sheet(pictures[:1], ["a caption far too long"], tile=20, frames=["#ff0000"])
    assert framed.shape == (36, 20, 3) and framed[0, 0].tolist() == [255, 0, 0] and framed[10, 10, 0] == 10


def test_words_do_not_overlap_and_stay_in_what_is_allowed():
    words = [(f"word{number}", 1 / (number + 1)) for number in range(12)]
    allowed = np.zeros((200, 300), bool)
    allowed[20:180, 40:260] = True
    drawn = clusters.word_cloud(words, size=(300, 200), picture=np.zeros((8, 8, 3), np.uint8))
    assert drawn.shape == (200, 300, 3)
    found = clusters.place_words(words, (300, 200), allowed)
    assert found[0].term == "word0" and found[0].size == max(word.size for word in found) and len(found) >= 8
    taken = np.zeros_like(allowed)
    for word in found:
        _, _, wide, high = (int(edge) for edge in clusters._font(word.size).getbbox(word.term))
        box = taken[word.top : word.top + high, word.left : word.left + wide]
        assert not box.any() and allowed[word.top : word.top + high, word.left : word.left + wide].all()
        box[:] = True
    assert clusters.place_words(words, (300, 200), np.zeros((200, 300), bool)) == []


@pytest.fixture
def levels():
    counts = np.array([[30, 10, 0], [0, 0, 20]])
    return cluster_flows.Levels(("k2", "k3"), (("<b>", "two"), ("x", "y", "z")), (counts,), (0, 1))


def test_a_flow_has_a_band_for_each_pair_and_marks_the_path(levels):
    assert levels.bands() == [(0, 0, 0, 30, False), (0, 0, 1, 10, True), (0, 1, 2, 20, False)]
    made = cluster_flows.sankey(levels).data[0]
    assert list(made.link.source) == [0, 0, 1] and list(made.link.target) == [2, 3, 4]
    assert list(made.link.value) == [30, 10, 20] and made.node.label[0] == "&lt;b&gt;"


def test_clusters_of_a_flow_lie_within_the_chart_and_do_not_overlap(levels):
    chart = cluster_flows.sankey(levels)
    inside = chart.layout.height - chart.layout.margin.t - chart.layout.margin.b
    gap = chart.data[0].node.pad / inside
    scale = (1 - 2 * gap) / 60  # of Plotly: the head with most clusters fills the height
    places = np.array(chart.data[0].node.y)
    for middles, sizes in ((places[:2], np.array([40, 20])), (places[2:], np.array([30, 10, 20]))):
        tops, ends = middles - scale * sizes / 2, middles + scale * sizes / 2
        assert tops[0] == pytest.approx(0) and ends[-1] == pytest.approx(1)
        assert ((tops[1:] - ends[:-1]) >= gap - 1e-9).all()


def test_titles_beside_a_flow_are_cut_at_words_and_whole_on_hover():
    titles = ("Cluster 0: acorn, bassinet", "Cluster 1")
    many = cluster_flows.Levels(tuple("abcde"), (titles,) * 5, (np.eye(2, dtype=int),) * 4)
    node = cluster_flows.sankey(many).data[0].node
    assert list(node.label[:2]) == ["0: acorn", "1"] and list(node.customdata[:2]) == list(titles)


def test_the_flow_as_svg_tells_numbers_on_hover_and_escapes_names(levels):
    svg = cluster_flows.sankey_svg(levels)
    assert "&lt;b&gt; to y: 10 pictures" in svg and "<b>" not in svg and svg.count("<path") == 3
    tops = [float(y) for y in re.findall(r'<rect x="8" y="([0-9.]+)"', svg)]
    heights = [float(h) for h in re.findall(r'<rect x="8"[^>]*height="([0-9.]+)"', svg)]
    assert heights[0] == pytest.approx(2 * heights[1], rel=0.01) and tops[1] > tops[0] + heights[0]


def test_the_map_as_svg_holds_every_picture_and_no_script():
    places, shown = np.array([[0.0, 0], [1, 1]]), [np.zeros((32, 32, 3), np.uint8)] * 2
    svg = cluster_flows.map_svg(places, np.array([0, 1]), ["one", "two"], shown)
    assert svg.count("data:image/jpeg;base64") == svg.count("<circle") == 2 and "<script" not in svg
    chart = cluster_flows.map_chart(places, np.array([0, 1]), ["one", "two"], ["a", "b"], (0.5, 0.5))
    assert [trace.name for trace in chart.data] == ["one", "two", "This picture"]
    assert chart.data[1].customdata.tolist() == [1]


def test_charts_say_what_they_show():
    random = np.random.default_rng(0)
    values, found = random.uniform(-1, 1, 60), random.integers(3, size=60)
    chart = cluster_charts.silhouette_chart(values, found, 3, "test space")
    assert "test space" in chart.axes[0].get_xlabel() and "60 pictures in 3 clusters" in chart.get_label()
    counts = np.array([[9, 0], [1, 5], [0, 0]])
    confusion = cluster_charts.confusion_chart(counts, ["a", "b"])
    shown = confusion.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, [[0.9, 0.1, 0], [0, 1, 0]])
    assert sorted(text.get_text() for text in confusion.axes[0].texts) == ["1", "5", "9"]
    assert cluster_charts.consensus_chart(np.array([[0.9, np.nan], [np.nan, 0.8]])).get_label().startswith("Consensus")
    usage = cluster_charts.usage_chart([("heads", 1), ("heads", 2), ("finetune", 1)], np.full((3, 2), 0.5))
    assert [text.get_text() for text in usage.axes[0].texts] == ["heads", "finetune"]
    short = [("heads", each) for each in range(60)] + [("fine-tuning", 1), ("self-labelling", 1)]
    crowded = cluster_charts.usage_chart(short, np.full((62, 2), 0.5))
    crowded.draw_without_rendering()
    boxes = [text.get_window_extent() for text in crowded.axes[0].texts]
    assert len(boxes) == 3 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(crowded.bbox.x0 <= box.x0 and box.x1 <= crowded.bbox.x1 for box in boxes)
    made = cluster_charts.calibration_chart(np.array([0.3, 0.9]), np.array([0.5, np.nan]), np.array([3, 0]), 0.2)
    assert "0.200" in made.get_label()
