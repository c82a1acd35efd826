"""The classifier that ships with the project: size, layers, what it says of photographs, and if its card is true."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from playwright.sync_api import Browser, Locator, Route, expect

import xai
from benchmarks.app_latency import is_ready, running_app
from xai.io.model_files import read_model_file
from xai.io.models import BUNDLED, MODELS
from xai.load import default_model
from xai.model import Model

FOLDER = Path(xai.__file__).parent / BUNDLED
CARD = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
CATS = {"tabby", "Egyptian cat", "Persian cat"}


@pytest.fixture(scope="module")
def model() -> Model:
    return xai.load_model(BUNDLED)


def test_it_is_small_and_its_layers_are_named_as_in_torchvision(model: Model) -> None:
    file = read_model_file(FOLDER)
    assert file.fits_weights() and file.weights.stat().st_size <= 12e6
    assert {"conv1", "layer1", "layer2", "layer3", "layer4"} <= set(model.layers())
    assert model.default_layer == "layer4" and min(model.layers()["layer4"].shape[1:]) >= 7
    assert model.trained and len(model.class_names) >= 60
    listed = (FOLDER / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(listed) == sorted(model.class_names)


def test_it_is_what_one_starts_with_when_no_official_weights_are_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert default_model() == (BUNDLED, MODELS[BUNDLED].default_weights)


def test_it_knows_what_is_on_the_photographs_and_the_card_says_so(model: Model) -> None:
    ranks = dict(re.findall(r"^\| `(\w+)` \| [^|]*\| (\d+) ", CARD, re.MULTILINE))
    wanted = {"cat": CATS, "coffee": {"espresso"}, "grace_hopper": {"military uniform"}}
    assert set(wanted) <= set(ranks)
    for name, classes in wanted.items():
        said = [row[0] for row in xai.predict(model, xai.load_image(name), k=5)]
        best = min(said.index(label) + 1 for label in classes & set(said))
        assert best == int(ranks[name]), said


def test_the_card_repeats_what_was_measured() -> None:
    about = read_model_file(FOLDER).about
    measured = about["measured"]
    assert measured["top1"] >= 0.58 and measured["top5"] >= 0.84 and measured["pictures"] >= 3000
    for value in (measured["top1"], measured["top5"]):
        assert f"{value:.1%}".replace("%", " %") in CARD
    assert f"{measured['pictures']:,}" in CARD and f"{about['data']['train']:,}" in CARD
    for name, value in about["recipe"].items():
        flag = f"--{name.replace('_', '-')} "
        if flag in CARD:
            assert re.search(rf"{flag}{re.escape(str(value))}\b", CARD), name


def pixels_of(element: Locator) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


@pytest.mark.browser
def test_the_app_explains_a_photograph_by_it_without_a_network(chromium: Browser, tmp_path: Path) -> None:
    """A computer that has just installed the project and is off the network: no weights, and no way to get any."""
    nowhere = "http://127.0.0.1:9"

    def only_here(route: Route) -> None:
        route.continue_() if route.request.url.startswith(address) else route.abort()

    with running_app(TORCH_HOME=str(tmp_path), HTTP_PROXY=nowhere, HTTPS_PROXY=nowhere) as address:
        while not is_ready(address):
            time.sleep(0.2)
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.route("**/*", only_here)
        page.goto(f"{address}/attribution?image=coffee")
        expect(page.locator(".viewer img").nth(1)).to_be_visible(timeout=60_000)
        expect(page.get_by_test_id("stMain").get_by_text("bundled").first).to_be_visible()
        expect(page.get_by_text("Untrained network", exact=False)).to_have_count(0)
        expect(page.get_by_text("espresso", exact=False).first).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("Get resnet50"))).to_be_visible()
        plain, explained = (page.locator(".viewer img").nth(place).screenshot() for place in (0, 1))
        first, second = (
            np.asarray(PIL.Image.open(io.BytesIO(shot)).convert("RGB")).std() for shot in (plain, explained)
        )
        assert first > 20 and second > 20
        context.close()
