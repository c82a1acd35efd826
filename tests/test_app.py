"""The app without a browser: pages alone and in their frame, links, bad uploads, the weights offer, the caches."""

from __future__ import annotations

import ast
import base64
import io
import json
import logging
import struct
import threading
import zipfile
import zlib
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas
import pytest
from networks import ResidualNet
from PIL import Image as PillowImage
from streamlit.testing.v1 import AppTest

from xai import explain, load_model
from xai.errors import Cancelled, UserError
from xai.io.images import load_image
from xai.io.models import MODELS, Preset
from xai.registry import METHODS
from xai.spec import RunSpec
from xai.ui import caching, downloads, frame, pictures, state, weights

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("start", "feature_maps", "filters", "attribution", "compare", "concepts")
PAGES += ("feature_visualization", "adversarial", "report")
RUN_PAGES = ("clusters", "query")  # ask a clustering run: see test_scan_pages.py
PICTURE_PAGES = ("feature_maps", "attribution")


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XAI_MODEL", "resnet18")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no official weights on this computer
    weights._downloads().clear()


@pytest.fixture
def open_page():
    def run(page: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=120)
        for name, text in query.items():
            at.query_params[name] = text
        return at.run()

    return run


def component(at: AppTest, key: str) -> dict:
    """What Python sent to a component of ours."""
    return json.loads(at.get_by_key(key).proto.json)


def numbers(text: str, kind: str) -> np.ndarray:
    """Numbers that travelled to a component as base64."""
    return np.frombuffer(base64.b64decode(text), kind)


def dial(at: AppTest, key: str, name: str) -> dict:
    """A slider inside a component of ours."""
    return next(each for each in component(at, key)["dials"] if each["name"] == name)


def move(at: AppTest, **values: str | int) -> AppTest:
    """What the sliders inside a component do to the session when somebody pauses, and the run that follows."""
    for name, value in values.items():
        at.session_state[name] = value
    return at.run()


def take_along(at: AppTest) -> AppTest:
    """Press the button behind which link, command and cell are."""
    return at.button(key=downloads.BUTTON).click().run()


def healthy(at: AppTest) -> bool:
    assert not at.exception, at.exception
    return not [print(error.value) for error in at.error]


@pytest.mark.parametrize("page", PAGES)
def test_page_runs_alone_and_says_that_the_network_is_untrained(page, open_page):
    at = open_page(page)
    assert healthy(at)
    assert not at.title, "the frame owns the title"
    assert "Untrained network" in at.warning[0].value
    assert any("resnet18 (untrained)" in badge.value for badge in at.markdown)


@pytest.mark.parametrize("page", PAGES + RUN_PAGES)
def test_page_in_the_frame_has_its_title(page):
    at = AppTest.from_file(str(ROOT / "xai" / "ui" / "frame.py"), default_timeout=120).run()
    at = at.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
    assert healthy(at)
    titles = {name: title for name, title, _ in frame.PAGES}
    assert set(titles) == {*PAGES, *RUN_PAGES} and [title.value for title in at.title] == [titles[page]]


def test_bare_launcher_shows_the_start_page():
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert healthy(at)
    assert at.title[0].value == "Start"
    assert any(metric.label == "Parameters" and metric.value == "11.7 M" for metric in at.metric)


@pytest.mark.parametrize("page", PAGES + RUN_PAGES)
def test_page_is_thin(page):
    text = (ROOT / "pages" / f"{page}.py").read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 40
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.For | ast.While | ast.Lambda)]
    imported = {name.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for name in n.names}
    assert not imported & {"torch", "numpy"}


def test_choices_stay_when_the_page_changes():
    at = AppTest.from_file(str(ROOT / "xai" / "ui" / "frame.py"), default_timeout=120).run()
    at.selectbox(key="image").select("coffee").run()
    at.switch_page(str(ROOT / "pages" / "attribution.py")).run()
    move(at, layer="layer2")
    at.switch_page(str(ROOT / "pages" / "feature_maps.py")).run()
    assert healthy(at)
    assert component(at, "scrubber")["texts"]["layer"] == "layer2"
    assert at.selectbox(key="image").value == "coffee"


def test_layer_stays_between_pages_with_and_without_a_widget_for_it():
    at = AppTest.from_file(str(ROOT / "xai" / "ui" / "frame.py"), default_timeout=120).run()
    at.switch_page(str(ROOT / "pages" / "attribution.py")).run()
    move(at, layer="layer2")
    at.switch_page(str(ROOT / "pages" / "concepts.py")).run()
    assert at.select_slider(key="layer").value == "layer2"
    at.select_slider(key="layer").set_value("layer3").run()
    at.switch_page(str(ROOT / "pages" / "attribution.py")).run()
    at.run()
    assert healthy(at) and component(at, "explanation")["texts"]["layer"] == "layer3"
    at.switch_page(str(ROOT / "pages" / "start.py")).run()
    at.switch_page(str(ROOT / "pages" / "feature_maps.py")).run()
    assert healthy(at) and component(at, "scrubber")["texts"]["layer"] == "layer3"


# Attribution


def test_layer_class_and_drawing_change_the_picture(open_page):
    at = open_page("attribution")
    seen = {component(at, "explanation")["panels"][1]["src"]}
    for change in (
        lambda: at.toggle(key="relu").set_value(False),
        lambda: move(at, layer="layer3"),
        lambda: move(at, target=285),
        lambda: at.slider(key="opacity").set_value(90),
        lambda: at.slider(key="hide").set_value(50),
        lambda: at.selectbox(key="diverging").select("PuOr_r"),
    ):
        change().run()
        assert healthy(at)
        seen.add(component(at, "explanation")["panels"][1]["src"])
    assert len(seen) == 7


def test_dial_search_and_likely_classes_say_the_same(open_page):
    at = open_page("attribution")
    assert at.session_state["target"] is None, "none chosen: the predicted class"
    ranks = dial(at, "explanation", "target")
    assert ranks["at"] == 0 and not ranks["chosen"] and sorted(ranks["values"]) == list(range(1000))
    predicted = component(at, "explanation")["panels"][1]["caption"]
    third = ranks["values"][2]
    move(at, target=third)
    assert component(at, "explanation")["panels"][1]["caption"] != predicted
    assert component(at, "explanation")["address"] == {"layer": None, "target": str(third)}
    assert component(at, "explanation")["texts"]["target"].endswith("· 3 of 1,000")
    at.selectbox(key="search").select(285).run()
    assert at.session_state["target"] == 285 and at.selectbox(key="search").value is None
    assert "Egyptian cat" in component(at, "explanation")["panels"][1]["caption"]
    at.button_group(key="likely").set_value(third).run()
    assert at.session_state["target"] == third and dial(at, "explanation", "target")["at"] == 2


def test_a_class_that_nobody_chose_follows_the_picture(open_page):
    at = move(open_page("attribution"), layer="layer3")
    at.selectbox(key="image").select("coffee").run()
    ranks = dial(at, "explanation", "target")
    assert at.session_state["target"] is None and ranks["at"] == 0 and not ranks["chosen"]


def test_compared_classes_share_one_scale(open_page):
    at = open_page("attribution", relu="false", target="282,285,281")
    data = component(at, "explanation")
    assert [panel["name"] for panel in data["panels"]] == ["picture", "tiger cat", "Egyptian cat", "tabby"]
    model = load_model("resnet18", weights=None)
    largest = np.abs(explain(model, "cat", target=[282, 285, 281], relu=False).map).max()
    assert data["high"] == pytest.approx(largest, rel=1e-4) and data["low"] == -data["high"]


def test_methods_start_with_their_own_options(open_page):
    at = open_page("attribution")
    assert at.toggle(key="relu").value is True
    at.selectbox(key="method").select("hires_cam").run()
    assert at.toggle(key="relu").value is False and component(at, "explanation")["low"] < 0


# Feature maps and filters


def test_layer_and_sort_move_the_scrubber(open_page):
    at = open_page("feature_maps")
    first = component(at, "scrubber")
    assert first["count"] == 512
    assert numbers(first["order"], "<i4")[0] == first["index"] == at.session_state["channel"]
    at.session_state["channel"] = None  # as a move of the layer does
    move(at, layer="layer1")
    second = component(at, "scrubber")
    assert second["count"] == 64 and second["tiles"] != first["tiles"]
    assert second["index"] == numbers(second["order"], "<i4")[0], "a new layer starts with its first channel"
    at.button_group(key="sort").set_value("variance").run()
    third = component(at, "scrubber")
    assert third["order_name"] == "variance" and third["tiles"] == second["tiles"]
    scores = numbers(third["scores"], "<f4")[numbers(third["order"], "<i4")]
    assert len(scores) == 64 and (np.diff(scores) <= 0).all()
    at.session_state["channel"] = 7  # as the scrubber does when somebody lets go
    at.run()
    assert healthy(at) and component(at, "scrubber")["index"] == 7


@pytest.mark.parametrize(("signed", "shared"), [(False, True), (True, True), (True, False), (False, False)])
def test_sprite_holds_the_maps(signed, shared):
    """The picture in the browser against the numbers: every pixel of a tile stands for its value."""
    maps = np.random.default_rng(0).normal(size=(10, 7, 5)).astype(np.float32)
    maps = maps if signed else np.abs(maps)
    low, high = maps.min((1, 2)), maps.max((1, 2))
    sprite = pictures.pack_channels(maps, low, high, shared=shared, signed=signed)
    assert sprite.tile == (5, 7) and (sprite.scale is not None) == shared
    tiles = np.frombuffer(zlib.decompress(sprite.tiles), np.uint8).reshape(10, 7, 5).astype(float)
    for tile, values in zip(tiles, maps, strict=True):
        end = np.abs(maps).max() if shared else np.abs(values).max()
        shown = (tile - sprite.zero) / (127 if signed else 255) * end
        assert np.abs(shown - values).max() <= end / 250


def test_zero_of_a_signed_sheet_is_exactly_neutral():
    maps = np.zeros((3, 4, 4), np.float32)
    maps[1, 0, 0], maps[2, 0, 0] = -2, 1
    sprite = pictures.pack_channels(maps, maps.min((1, 2)), maps.max((1, 2)), shared=True, signed=True)
    levels = np.frombuffer(zlib.decompress(sprite.tiles), np.uint8).reshape(3, 4, 4)
    assert (levels[0] == sprite.zero).all() and (levels[1:, 1:] == sprite.zero).all()
    assert levels[1, 0, 0] < sprite.zero < levels[2, 0, 0]
    assert pictures.level_colours("RdBu_r", signed=True)[sprite.zero].tolist() == [247, 246, 246]


def test_contribution_asks_for_a_class(open_page):
    at = open_page("feature_maps", sort="contribution", target="285")
    assert healthy(at)
    assert component(at, "scrubber")["order_name"] == "contribution to Egyptian cat"


@pytest.mark.parametrize("below", ["activation map", "all channels", "all layers"])
def test_what_stands_below_the_channels(below, open_page):
    at = open_page("feature_maps", below=below)
    assert healthy(at)
    if below == "all layers":
        assert {"layer1", "layer4"} <= set(at.dataframe[0].value["layer"])


@pytest.mark.parametrize("show", ["In colour", "Strongest pattern", "One input channel"])
def test_filters_of_the_first_layer(show, open_page):
    at = open_page("filters", show=show)
    assert healthy(at)
    data = component(at, "kernels")
    assert data["count"] == 64 and data["tile"] == [7, 7]
    assert (data["table"] is None) == (show == "In colour")


def test_filters_of_a_deeper_layer(open_page):
    at = open_page("filters", convolution="layer4.1.conv2", show="One input channel", about="Similarity")
    assert healthy(at)
    at.slider(key="input_channel").set_value(511).run()
    assert healthy(at) and component(at, "kernels")["count"] == 512
    assert "colours" not in at.button_group(key="show").options


# Links


def link_of(at: AppTest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(take_along(at).code[0].value).query))


@pytest.mark.parametrize("page", ["feature_maps", "filters", "attribution"])
def test_link_opens_the_same_view(page, open_page):
    at = open_page(page)
    if page == "attribution":
        move(at, layer="layer2")
        at.selectbox(key="search").select(134).run()
        at.selectbox(key="method").select("hires_cam").run()
        at.slider(key="opacity").set_value(35).run()
    elif page == "feature_maps":
        move(at, layer="layer3", channel=11)
    else:
        at.select_slider(key="convolution").set_value("layer1.0.conv1").run()
    again = open_page(page, **link_of(at))
    assert healthy(again) and len(again.warning) == 1, "only the untrained label"
    for key in ("explanation", "scrubber", "kernels"):
        if (before := at.get_by_key(key) if key in str(at) else None) is not None:
            assert json.loads(before.proto.json) == component(again, key)
    assert link_of(again) == link_of(at)


def test_link_command_and_cell_are_the_runspec(open_page):
    at = open_page("attribution", method="gradcam", layer="layer3", target="281")
    spec = RunSpec.from_query(link_of(at))
    assert (spec.model, spec.weights, spec.method) == ("resnet18", "untrained", "grad_cam")
    assert (spec.layer, spec.target, spec.image) == ("layer3", (281,), "cat")
    assert at.code[1].value.startswith("xai explain --img cat --model resnet18")
    assert "xai.explain(model, image, 'grad_cam', target=281" in at.code[2].value


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"model": "resnet9000"}, "resnet9000"),
        ({"weights": "IMAGENET1K_V9"}, "IMAGENET1K_V9"),
        ({"image": "../../etc/passwd"}, "etc/passwd"),
        ({"layer": "nix"}, "nix"),
        ({"target": "99999"}, "99999"),
        ({"target": "<script>alert(1)</script>"}, "script"),
        ({"method": "magic"}, "magic"),
        ({"channel": "-1"}, "-1"),
        ({"resize": "stretch"}, "stretch"),
        ({"method": "grad_cam", "relu": "perhaps"}, "perhaps"),
    ],
)
@pytest.mark.parametrize("page", PICTURE_PAGES)
def test_bad_link_is_told_and_the_page_shows_what_it_can(page, query, word, open_page):
    at = open_page(page, **query)
    assert healthy(at)
    told = [warning.value for warning in at.warning if "link" in warning.value]
    assert len(told) == 1 and word in told[0]


def test_harmless_nonsense_in_a_link_is_ignored(open_page):
    at = open_page("feature_maps", sort="nix", opacity="900", colormap="nix", utm_source="x", below="nix")
    assert healthy(at)


# Uploads


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A tiny file that says it is 30,000 x 30,000."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


BAD_UPLOADS = {
    "empty.png": b"",
    "text.jpg": b"this is not a picture",
    "page.png": b"<!doctype html><html><body>no</body></html>",
    "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "cut.png": png(64, 64)[:200],
    "bomb.png": bomb(),
    "large.png": png(5000, 4100)[:100_000],
    "heavy.png": png(64, 64) + b"\0" * 10_000_001,
    "zip.png": b"PK\x03\x04" + b"\0" * 50,
}


def upload(at: AppTest, name: str, data: bytes) -> AppTest:
    at.button_group(key="source").set_value("upload").run()
    at.file_uploader(key="upload").upload(name, data, "image/png")
    return at.run()


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_bad_upload_becomes_one_sentence(name, open_page):
    at = upload(open_page("attribution"), name, BAD_UPLOADS[name])
    assert not at.exception
    assert len(at.error) == 1 and at.error[0].value.endswith(".") and "\n" not in at.error[0].value
    assert downloads.BUTTON not in str(at.main), "nothing is shown as if it were the upload"


def test_upload_is_used_and_has_no_link(open_page):
    at = upload(open_page("attribution"), "mine.png", png(300, 200))
    assert healthy(at) and any("mine.png" in badge.value for badge in at.markdown)
    assert downloads.BUTTON in str(at.main)
    take_along(at)
    assert len(at.code) == 2, "a command and a cell, no link"
    assert any("no link" in caption.value for caption in at.caption)


def test_report_zip_holds_the_picture_with_its_digest():
    image = load_image(png(30, 20), name="mine.png")
    spec = RunSpec(model="resnet18", method="grad_cam", image=image.name, image_digest=image.digest)
    with zipfile.ZipFile(io.BytesIO(downloads.report_zip(spec, image))) as archive:
        assert RunSpec.from_json(archive.read("result.json").decode()) == spec
        assert load_image(archive.read("picture.png")).digest == image.digest


def test_methods_of_a_link_are_compared_and_a_wrong_one_is_told_at_once(open_page):
    at = open_page("compare", methods="layercam,edges")
    assert healthy(at) and at.session_state["methods"] == ["layer_cam", "edges"]
    at = open_page("compare", methods="layercam,magic")
    assert any("magic" in warning.value for warning in at.warning)


def test_each_method_that_looks_at_a_layer_is_asked_at_each_of_those_chosen(open_page):
    at = open_page("compare", methods="layercam,center", beside="layer3")
    assert healthy(at)
    offered = at.get_by_key("models").options
    assert offered == ["bundled:TINY_IMAGENET"], "no other weights are here, and the network itself is untrained"
    shown = at.dataframe[0].value
    assert list(zip(shown["method"], shown["layer"], strict=True)) == [
        ("layer_cam", "layer4"), ("layer_cam", "layer3"), ("center", "")
    ]  # fmt: skip
    names = [panel["name"] for panel in component(at, "comparison")["panels"]]
    assert names[1:] == ["LayerCAM · layer4", "LayerCAM · layer3", METHODS["center"].label]


def test_the_second_network_is_chosen_from_this_computer_and_lacks_a_class_in_one_sentence(open_page, monkeypatch):
    names = ["tench", "goldfish", "owl", "hen"]
    small = load_model(lambda: ResidualNet(), input_size=32, class_names=[*names, "x"])
    real = caching.network
    monkeypatch.setattr(caching, "networks_here", lambda model: [("small", "own")])
    monkeypatch.setattr(caching, "network", lambda name, weights: small if name == "small" else real(name, weights))
    at = open_page("compare", methods="layercam,center", target="1", models="small:own")
    assert healthy(at)
    shown = at.dataframe[0].value
    assert shown["method"].tolist() == ["layer_cam", "center"] * 2 and set(shown["target"]) == {"goldfish"}
    assert shown["model"].nunique() == 2 and shown["layer"].tolist()[2] == "stage2"
    assert any("has no layer called layer4" in caption.value for caption in at.caption)
    at = open_page("compare", methods="layercam,center", target="7", models="small:own")
    assert not at.exception and len(at.dataframe[0].value) == 2
    assert any("has no class 'cock'" in error.value and "both know 3" in error.value for error in at.error)
    at = open_page("compare", methods="layercam", models="huge:own")
    assert any("huge:own is not on this computer" in warning.value for warning in at.warning)


def test_the_csv_of_a_comparison_is_the_table_on_the_screen(open_page, monkeypatch):
    taken = []
    monkeypatch.setattr(downloads, "offer", lambda result: taken.append(result()))
    at = open_page("compare", methods="layercam,center", beside="layer3")
    assert healthy(at)
    csv = pandas.read_csv(io.BytesIO(taken[-1].files["csv"]()), keep_default_na=False)
    pandas.testing.assert_frame_equal(csv, at.dataframe[0].value, check_exact=False, rtol=1e-12)
    spec = taken[-1].spec
    assert spec.layers() == ("layer4", "layer3") and spec.params == {"methods": "layer_cam,center"}
    link = dict(parse_qsl(urlsplit(downloads.page_link(spec, ())).query))
    again = open_page("compare", **link)
    assert healthy(again) and again.session_state["beside"] == ["layer3"]
    assert again.dataframe[0].value["layer"].tolist() == ["layer4", "layer3", ""]


# Weights and caches


def test_missing_weights_are_offered_and_nothing_blocks(open_page):
    at = open_page("start", model="resnet18", weights="IMAGENET1K_V1")
    assert healthy(at)
    assert "not on this computer" in at.header[0].value
    assert [button.label for button in at.main.button] == ["Download 45 MB"]


def test_download_shows_progress_stops_and_tells_failure(open_page, monkeypatch):
    release = threading.Event()

    def slow(url, on_progress):
        on_progress(0.4, "18 of 45 MB, 3 s left")
        release.wait(20)
        on_progress(0.5, "")
        raise AssertionError("the stop was not seen")

    monkeypatch.setattr(weights, "download", slow)
    at = open_page("start", model="resnet18", weights="IMAGENET1K_V1")
    at.main.button[0].click().run()
    assert [button.label for button in at.main.button] == ["Stop"]
    at.main.button[0].click()
    at.run()
    release.set()
    job = next(iter(weights._downloads().values()))
    for _ in range(200):
        if not job.running:
            break
        threading.Event().wait(0.02)
    at.run()
    assert "stopped" in at.error[0].value and not at.exception


def test_failed_download_is_one_sentence(monkeypatch):
    def fails(url, on_progress):
        raise UserError("Could not download x: no network.")

    monkeypatch.setattr(weights, "download", fails)
    job = weights.start_download(next(iter(MODELS["resnet18"].presets.values())))
    for _ in range(200):
        if not job.running:
            break
        threading.Event().wait(0.02)
    assert job.error == "Could not download x: no network." and not job.running


def test_download_report_raises_when_stopped():
    job = weights.Download()
    job.report(0.5, "half")
    assert (job.fraction, job.text) == (0.5, "half")
    job.stop.set()
    with pytest.raises(Cancelled):
        job.report(0.6, "")


def test_byte_bounded_cache_keeps_to_its_size_and_calls_once():
    calls: list[int] = []

    @caching.byte_bounded(100, len)
    def make(key: int, size: int) -> bytes:
        calls.append(key)
        threading.Event().wait(0.05)
        return bytes(size)

    threads = [threading.Thread(target=make, args=(1, 60)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1], "eight sessions wait for one call"
    make(2, 60)
    make(1, 60)
    assert calls == [1, 2, 1], "60 and 60 do not fit into 100"
    assert len(make(3, 500)) == 500, "what is larger than the cache is made all the same"


def test_start_model_prefers_what_was_given(monkeypatch, tmp_path):
    assert caching.start_model() == ("resnet18", "untrained")
    monkeypatch.setenv("XAI_MODEL", "mobilenet_v2")
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "mine.safetensors"))
    assert caching.start_model() == ("mobilenet_v2", "file mine.safetensors")
    assert caching.weights_labels("mobilenet_v2")[0] == "file mine.safetensors"
    assert "file mine.safetensors" not in caching.weights_labels("resnet18")
    monkeypatch.setenv("XAI_MODEL", "nix")
    with pytest.raises(UserError, match="nix"):
        caching.start_model()


def test_warming_up_loads_the_network_and_warns_of_nothing(monkeypatch):
    loaded, heard = [], []
    monkeypatch.setattr(
        caching, "load_model", lambda *args, **kwargs: loaded.append(args) or load_model(*args, **kwargs)
    )
    handler = logging.Handler()
    handler.emit = heard.append
    logger = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context")
    logger.addHandler(handler)
    caching.network.clear()
    thread = threading.Thread(target=caching.warm_up)
    thread.start()
    thread.join()
    logger.removeHandler(handler)
    assert len(loaded) == 1 and not heard


def test_network_on_disk_is_opened_at_once(monkeypatch):
    monkeypatch.delenv("XAI_MODEL")
    monkeypatch.setattr(Preset, "on_disk", property(lambda self: "resnet34" in self.url))
    assert caching.start_model() == ("resnet34", "IMAGENET1K_V1")


def _part_that_is_gone() -> None:
    """A page with a button whose callback asks for a fragment that was never made, and one that was."""
    import streamlit as st

    from xai.ui.state import rerun_parts

    @st.fragment(key="here")
    def here() -> None:
        st.session_state["runs"] = st.session_state.get("runs", 0) + 1

    here()
    st.button("gone", on_click=rerun_parts, args=("gone",))
    st.button("known", on_click=rerun_parts, args=("here",))
    st.session_state["whole"] = st.session_state.get("whole", 0) + 1


def test_a_move_for_a_part_that_is_gone_is_no_error(monkeypatch):
    monkeypatch.setattr(state, "asks_for_more", lambda: False)  # as in the run of a fragment, which AppTest has not
    app = AppTest.from_function(_part_that_is_gone, default_timeout=30).run()
    app.button[0].click().run()
    assert not app.exception and app.session_state["whole"] == 2
    app.button[1].click().run()
    assert not app.exception and (app.session_state["whole"], app.session_state["runs"]) == (2, 3)


class _Left(Exception):
    """A run that gave way to another."""


@pytest.fixture
def gives_way(monkeypatch):
    """A session, and what its runs gave way to: a page, fragments, or () for the whole page."""
    session, asked = {"opacity": 50, "hide": None}, []

    def leave(*what) -> NoReturn:
        asked.append(what)
        raise _Left

    monkeypatch.setattr(state.st, "session_state", session)
    monkeypatch.setattr(state.st, "rerun", leave)
    monkeypatch.setattr(state.st, "switch_page", leave)
    return session, asked


def test_a_move_asks_for_the_page_where_a_setting_is_not_drawn_yet(gives_way):
    session, asked = gives_way
    state.rerun_parts()  # nothing is drawn yet
    state.remember_drawn("opacity", "hide")
    session["layer"] = "layer3"
    state.rerun_parts()
    assert not asked
    session["opacity"] = 40
    with pytest.raises(_Left):
        state.rerun_parts()
    assert asked == [()]


@pytest.mark.parametrize("parts", [(), ("here",)])
def test_a_move_on_a_page_that_was_left_brings_nothing_of_it_back(gives_way, parts):
    session, asked = gives_way
    state.remember_drawn("opacity")
    session |= {"opacity": 40, state.SHOWN_PAGE: ("pages/attribution.py", "another page")}
    with pytest.raises(_Left):
        state.rerun_parts(*parts)
    assert asked == [("pages/attribution.py",)]


def test_widgets_are_set_only_where_their_choice_is_gone(monkeypatch):
    class Session(dict):
        def __setitem__(self, key, value) -> None:
            written.append(key)
            super().__setitem__(key, value)

    written: list[str] = []
    session = Session(channel=7, others=["cat", "rocket"])
    monkeypatch.setattr(state.st, "session_state", session)
    state.clamp("channel", 0, 7)
    state.clamp("steps", 1, 9)
    state.keep_offered("others", ["cat", "coffee", "rocket"])
    state.keep_offered("hidden", [1])
    assert not written
    state.clamp("channel", 0, 5)
    state.keep_offered("others", ["coffee", "rocket"])
    assert session == {"channel": 5, "others": ["rocket"]}


def test_a_move_that_comes_with_a_change_of_the_page_does_not_take_it_away():
    app = AppTest.from_function(_part_that_is_gone, default_timeout=30).run()
    app.button[1].click().run()
    assert not app.exception and (app.session_state["whole"], app.session_state["runs"]) == (2, 2)
