"""The pages of clusters without a browser: every view, links, a picture that is like nothing, and no run at all."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scan_runs import make_run
from streamlit.testing.v1 import AppTest

from xai.ui import runs
from xai.ui.panels import clusters

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    make_run(place / "mine")
    return place


@pytest.fixture
def open_page(folder, monkeypatch):
    monkeypatch.setenv("XAI_RUNS", str(folder))
    monkeypatch.setattr(runs, "EMBEDDED", folder / "none")

    def run(page: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=120)
        for name, text in query.items():
            at.query_params[name] = text
        at.run()
        assert not at.exception, at.exception
        return at

    return run


def images(at: AppTest) -> int:
    return len(at.get("image"))


@pytest.mark.parametrize("view", clusters.VIEWS)
def test_every_view_of_a_head_is_shown(view, open_page):
    at = open_page("clusters", view=view, head="k8")
    assert not at.error and not at.warning
    shown = {"Pictures": 3, "Words": 2, "Maps": 1, "Levels": 0, "Plane": 0, "Measures": 5}
    assert images(at) == shown[view]
    assert len(at.get("plotly_chart")) == (view in ("Levels", "Plane"))


def test_a_link_opens_a_cluster_of_a_head_and_says_what_it_cannot_follow(open_page):
    at = open_page("clusters", run="mine", head="k8", cluster="5")
    assert at.selectbox(key="cluster").value == 5 and "Cluster 5" in at.selectbox(key="cluster").options[5]
    at = open_page("clusters", head="k8", cluster="9")
    assert "9" in at.warning[0].value and at.selectbox(key="cluster").value == 0
    at = open_page("clusters", run="theirs")
    assert "mine" in at.warning[0].value


def test_another_head_brings_its_own_clusters(open_page):
    at = open_page("clusters", head="k8", cluster="7")
    at.get_by_key("head").set_value("k3").run()
    assert not at.exception and len(at.selectbox(key="cluster").options) == 3
    assert at.selectbox(key="cluster").value == 0


def test_maps_follow_method_and_layer(open_page):
    at = open_page("clusters", view="Maps", map_method="hires_cam", map_layer="layer2")
    assert at.selectbox(key="map_method").value == "hires_cam" and at.selectbox(key="map_layer").value == "layer2"
    assert images(at) == 1


def test_t_sne_waits_for_a_word(open_page):
    at = open_page("clusters", view="Plane", layout="t-sne")
    assert [button.label for button in at.button] == ["Start t-SNE"] and not at.get("plotly_chart")


def test_a_query_of_a_held_out_picture_tells_its_story(open_page):
    at = open_page("query", head="k8", number="3")
    assert [metric.label for metric in at.metric] == ["3 clusters", "8 clusters"]
    assert "Like the training pictures" in at.success[0].value or "Unlike" in at.warning[0].value
    assert images(at) >= 5 and len(at.get("plotly_chart")) == 1
    at.number_input(key="number").set_value(4).run()
    assert not at.exception


def test_an_upload_is_asked_about_and_a_bad_one_is_refused(open_page):
    at = open_page("query", asked="other picture")
    at.get_by_key("source").set_value("upload").run()
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(buffer, "PNG")
    at.get_by_key("upload").upload("noise.png", buffer.getvalue(), "image/png").run()
    assert not at.exception and len(at.metric) == 2
    at.get_by_key("upload").upload("text.png", b"no picture", "image/png").run()
    assert not at.exception and "text.png" in at.error[0].value


@pytest.mark.parametrize("page", ["clusters", "query"])
def test_without_a_run_the_page_says_how_to_make_one(page, open_page, monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_RUNS", str(tmp_path / "nothing"))
    at = open_page(page)
    assert "xai scan train" in at.info[0].value


def test_a_damaged_run_is_refused_in_one_sentence(open_page, monkeypatch, tmp_path):
    run = make_run(tmp_path / "bad", train=48, validation=24)
    (run.folder / "run.json").write_text('{"format": "other"}')
    monkeypatch.setenv("XAI_RUNS", str(tmp_path))
    at = open_page("clusters")
    assert "format" in at.error[0].value


def test_the_folder_of_a_classifier_is_not_offered(monkeypatch, tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "run.json").write_text('{"model": "resnet18"}')
    make_run(tmp_path / "mine", train=48, validation=24)
    monkeypatch.setenv("XAI_RUNS", str(tmp_path))
    assert set(runs.run_folders()) - {"embedded"} == {"mine"}
