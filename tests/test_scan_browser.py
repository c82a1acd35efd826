"""The pages of clusters in Chromium: sound in both themes and on a phone."""

import re
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import Seen, overflow, settle
from playwright.sync_api import expect
from scan_runs import make_run

from benchmarks.app_latency import is_ready, running_app
from xai.scan.explain.survey import Survey, find_terms
from xai.scan.run import open_run

pytestmark = pytest.mark.browser
VIEWS = {
    "clusters?run=mine&head=k8": "Clusters",
    "clusters?run=mine&head=k8&view=Maps&cluster=3": "Clusters",
    "clusters?run=mine&head=k8&view=Levels": "Clusters",
    "clusters?run=mine&head=k8&view=Measures": "Clusters",
    "query?run=mine&head=k8&number=3": "Query",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "mine")
    home = str(tmp_path_factory.mktemp("torch"))
    with running_app(XAI_MODEL="resnet18", XAI_WEIGHTS="none", TORCH_HOME=home, XAI_RUNS=str(folder)) as served:
        while not is_ready(served):
            time.sleep(0.2)
        yield served


@pytest.mark.parametrize("path", VIEWS)
def test_view_is_sound_and_accessible_in_both_themes(path, visit):
    for scheme in ("light", "dark"):
        page, seen = visit(path, scheme=scheme)
        expect(page.get_by_role("heading", level=1)).to_have_text(VIEWS[path])
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
        assert overflow(page) <= 0
        violations = Axe().run(page).response["violations"]
        told = [(v["id"], [node["html"][:160] for node in v["nodes"]][:3]) for v in violations]
        assert not told
        assert not seen.errors
        assert seen.hosts <= {"127.0.0.1", None, ""}


@pytest.mark.parametrize("path", list(VIEWS)[::4])
def test_view_on_a_phone(path, visit):
    page, seen = visit(path, width=400)
    assert overflow(page) <= 0 and not seen.errors


def test_a_cluster_has_the_words_of_the_head_that_is_shown(visit):
    page, seen = visit("clusters?run=embedded&head=k8")
    run = open_run("embedded")
    titles = {size: Survey(run, run.head(size), find_terms(run)).title(0) for size in (8, 24, 3)}
    assert len(set(titles.values())) > 1
    for size, title in titles.items():
        page.get_by_role("radio", name=str(size), exact=True).click()
        expect(page.get_by_test_id("stSelectbox").nth(1).locator("input")).to_have_value(title)
        settle(page)
        page.wait_for_function("[...document.images].every((image) => image.complete)")  # else a click takes them away
    assert not seen.errors


def test_the_plane_holds_a_dot_for_each_picture(visit):
    page, seen = visit("clusters?run=mine&head=k8&view=Plane")
    plot = page.locator(".js-plotly-plot").first
    expect(plot).to_be_visible()
    expect(page.get_by_text("Click a dot to see its picture")).to_be_visible()
    dots = plot.evaluate("(plot) => plot._fullData.map((each) => [each.x.length, each.y.every(Number.isFinite)])")
    assert len(dots) > 1 and all(count and finite for count, finite in dots)
    assert not seen.errors


def test_a_click_shows_one_picture_and_the_lasso_several(visit):
    page, seen = visit("clusters?run=mine&head=k8&view=Plane")
    plot = page.locator(".js-plotly-plot").first
    place = plot.evaluate(
        """(plot) => {
            const [{x, y}] = plot._fullData, {xaxis, yaxis} = plot._fullLayout;
            return {x: xaxis._offset + xaxis.d2p(x[0]), y: yaxis._offset + yaxis.d2p(y[0])};
        }"""
    )
    plot.hover(position=place, force=True)
    expect(plot.locator(".hovertext")).to_be_visible()  # only then a click is one on the dot
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_text("1 selected", exact=True)).to_be_visible()
    expect(page.get_by_alt_text("1 selected pictures")).to_be_visible()

    page.get_by_role("button", name="Lasso Select").click()
    box = plot.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    for right, down in ((1, 0), (1, 1), (0, 1), (0, 0)):
        page.mouse.move(box["x"] + 5 + right * (box["width"] - 10), box["y"] + 5 + down * (box["height"] - 10), steps=5)
    page.mouse.up()
    expect(page.get_by_text(re.compile(r"^\d\d+ selected"))).to_be_visible()
    assert not seen.errors


def test_the_report_opens_without_a_network_and_shows_pictures_on_hover(chromium, tmp_path: Path):
    from xai.report.clusters import Wanted, write_report
    from xai.scan.explain.survey import find_terms

    run = make_run(tmp_path / "mine")
    page_file = tmp_path / "page.html"
    wanted = Wanted((2,), visualise=False, pointing=0)
    page_file.write_text(write_report(run, run.head(8), find_terms(run), wanted), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    page = context.new_page()
    seen = Seen(page)
    page.goto(page_file.as_uri())
    picture = page.locator(".dot image").first
    expect(picture).to_be_hidden()
    page.locator(".dot circle").first.hover(force=True)
    expect(page.locator(".dot:hover image")).to_be_visible()
    violations = Axe().run(page).response["violations"]
    assert not [(v["id"], [node["html"][:160] for node in v["nodes"]][:3]) for v in violations]
    assert not seen.errors
    context.close()
