"""The app in Chromium: pages in both themes and on a phone, links, live sliders, and nothing leaves this computer."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import overflow, settle
from playwright.sync_api import Page, expect

from benchmarks.app_latency import is_ready, running_app

pytestmark = pytest.mark.browser
PAGES = {
    "": "Start",
    "feature_maps": "Feature maps",
    "filters": "Filters",
    "attribution": "Attribution",
    "compare": "Compare",
    "concepts": "Concepts",
    "feature_visualization": "Feature visualisation",
    "adversarial": "Adversarial",
    "report": "Report",
}
LAYER = re.compile("^Layer")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = str(tmp_path_factory.mktemp("torch"))  # no official weights on this computer
    with running_app(XAI_MODEL="resnet18", XAI_WEIGHTS="none", TORCH_HOME=home) as served:
        while not is_ready(served):
            time.sleep(0.2)
        yield served


def overlay_source(page: Page) -> str:
    return page.locator(".viewer img").nth(1).get_attribute("src") or ""


def wait_for_other(page: Page, before: str) -> str:
    expect(page.locator(".viewer img").nth(1)).not_to_have_attribute("src", before)
    return overlay_source(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_page_is_sound_and_accessible(path, scheme, visit):
    page, seen = visit(path, scheme=scheme)
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
    expect(page.get_by_text("Untrained network", exact=False).first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert overflow(page) <= 0
    violations = Axe().run(page).response["violations"]
    told = [(v["id"], [node["html"][:160] for node in v["nodes"]][:3]) for v in violations]
    assert not told
    assert not seen.errors
    assert seen.hosts <= {"127.0.0.1", None, ""}


@pytest.mark.parametrize("path", PAGES)
def test_page_on_a_phone(path, visit):
    page, seen = visit(path, width=400)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert overflow(page) <= 0
    for picture in page.locator(".viewer .frame, .scrubber canvas:not(.bar)").all():
        box = picture.bounding_box()
        assert box and box["width"] > 300 and box["x"] >= 0 and box["x"] + box["width"] <= 400
    assert not seen.errors


def test_link_opens_the_right_view_as_first_visit_of_a_fresh_server(visit):
    with running_app(XAI_MODEL="resnet18", XAI_WEIGHTS="none") as fresh:
        link = "attribution?model=resnet18&weights=untrained&image=coffee&method=hires_cam&layer=layer3&target=504,967"
        page, seen = visit(f"{link}&opacity=35", server=fresh)
        expect(page.get_by_role("heading", level=1)).to_have_text("Attribution")
        expect(page.locator(".viewer figcaption")).to_have_count(3)
        assert page.locator(".viewer figcaption").nth(1).inner_text().startswith("coffee mug")
        assert page.locator(".viewer figcaption").nth(2).inner_text().startswith("espresso")
        expect(page.get_by_text("HiResCAM at layer3", exact=False)).to_be_visible()
        expect(page.get_by_role("slider", name="Opacity")).to_have_value("35")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert "target=504" in page.url and "layer=layer3" in page.url
        assert not seen.errors


def test_a_slow_method_starts_on_a_word_and_shows_its_result_by_itself(visit):
    page, seen = visit("attribution?method=occlusion&window=112&stride=112")
    expect(page.locator(".viewer")).to_be_hidden()
    page.get_by_role("button", name="Start Occlusion").click()
    expect(page.locator(".viewer figcaption")).to_have_count(2, timeout=60_000)
    expect(page.get_by_role("button", name="Start Occlusion")).to_have_count(0)
    assert not seen.errors


def test_a_slow_method_stops_within_a_second(visit):
    page, seen = visit("attribution?method=rise&masks=20000")
    page.get_by_role("button", name="Start RISE").click()
    expect(page.get_by_text("s left", exact=False)).to_be_visible(timeout=60_000)
    expect(page.get_by_text("So far")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible(timeout=10_000)
    expect(page.get_by_role("button", name="Start RISE")).to_be_visible()
    assert not seen.errors


def test_sliders_change_the_picture_and_choices_stay(visit):
    page, seen = visit("attribution?relu=false")
    before = overlay_source(page)
    page.get_by_role("slider", name=LAYER).focus()
    page.keyboard.press("ArrowLeft")  # the last block of a stage is the stage: the same maps
    page.keyboard.press("ArrowLeft")
    before = wait_for_other(page, before)
    settle(page)
    before = overlay_source(page)
    for name in ("Class by rank", "Opacity"):
        page.get_by_role("slider", name=name).focus()
        page.keyboard.press("ArrowRight")
        wait_for_other(page, before)
        settle(page)
        before = overlay_source(page)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Opacity", "the slider keeps the focus"
    layer = page.get_by_role("slider", name=LAYER).get_attribute("aria-valuetext")
    page.get_by_test_id("stSidebarNav").get_by_text("Feature maps").click()
    page.wait_for_selector(".scrubber")
    settle(page)
    expect(page.get_by_role("slider", name=LAYER)).to_have_attribute("aria-valuetext", layer)
    page.get_by_test_id("stSidebarNav").get_by_text("Attribution").click()
    page.wait_for_selector(".viewer")
    settle(page)
    assert overlay_source(page) == before
    assert not seen.errors


def test_moves_are_painted_before_the_page_hears_of_them_once(visit):
    page, seen = visit("attribution?relu=false")
    page.evaluate("""() => {
      const roots = [...document.querySelectorAll("*")].map((each) => each.shadowRoot)
      const root = roots.find((each) => each?.querySelector(".viewer"))
      window.disagreed = []
      new MutationObserver(() => requestAnimationFrame(() => {
        const [stands, caption, alt] = [root.querySelectorAll("output")[1].textContent.split(" · ")[0],
          root.querySelectorAll("figcaption")[1].textContent, root.querySelectorAll(".viewer img")[1].alt]
        if (!caption.startsWith(stands) || !alt.includes(stands)) window.disagreed.push([stands, caption, alt])
      })).observe(root, { subtree: true, childList: true, attributes: true, characterData: true })
    }""")
    classes = page.locator("#dial-target")
    classes.focus()
    sent, sources = seen.sent, {overlay_source(page)}
    for rank in (2, 3, 4):
        page.keyboard.press("ArrowRight")
        expect(classes).to_have_attribute("aria-valuetext", re.compile(f"· {rank} of 1,000$"))
        sources.add(overlay_source(page))
    assert len(sources) == 4
    expect(page).to_have_url(re.compile("target="))
    page.wait_for_timeout(600)
    settle(page)
    assert 1 <= seen.sent - sent <= 3, "the page hears of a pause, not of each move"
    assert page.evaluate("window.disagreed") == []
    assert overlay_source(page) in sources
    for key, rank in (("End", "1,000"), ("PageDown", "900"), ("Home", "1"), ("PageUp", "101"), ("ArrowLeft", "100")):
        page.keyboard.press(key)
        expect(classes).to_have_attribute("aria-valuetext", re.compile(f"· {rank} of 1,000$"))
    assert not seen.errors


@pytest.mark.parametrize("status", [404, None])
def test_dials_go_by_runs_of_the_page_where_nobody_answers(status, visit):
    page, seen = visit("attribution?relu=false")
    page.route("**/api/view*", lambda route: route.fulfill(status=status) if status else route.abort())
    before = overlay_source(page)
    page.locator("#dial-target").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#dial-target")).to_have_attribute("aria-valuetext", re.compile("· 4 of 1,000$"))
    wait_for_other(page, before)
    settle(page)
    assert "target=" in page.url and all("Failed to load resource" in error for error in seen.errors)


def test_a_question_without_an_answer_is_one_sentence_in_place_of_the_picture(visit):
    page, _ = visit("attribution?relu=false")
    said = {"problem": "There is nothing to explain here."}
    page.route("**/api/view*", lambda route: route.fulfill(status=422, json=said))
    page.locator("#dial-target").press("ArrowRight")
    expect(page.get_by_role("alert").filter(has_text=said["problem"])).to_be_visible()
    page.unroute("**/api/view*")
    page.locator("#dial-target").press("ArrowRight")
    expect(page.get_by_text(said["problem"])).to_have_count(0)
    expect(page.locator(".viewer img").nth(1)).to_be_visible()


def test_sliders_of_a_slow_method_go_by_runs(visit):
    page, seen = visit("attribution?method=occlusion")
    page.locator("#dial-target").press("ArrowRight")
    expect(page.locator("#dial-target")).to_have_attribute("aria-valuetext", re.compile("· 2 of 1,000$"))
    expect(page).to_have_url(re.compile("target="))
    expect(page.get_by_role("button", name="Start Occlusion")).to_be_visible()
    assert not seen.errors


@pytest.mark.parametrize("by_mouse", [True, False])
def test_a_move_just_before_the_page_changes_does_not_undo_it(by_mouse, visit):
    """A click that meets a move on its way may be lost, and the page stays; the next click counts.

    Without a mouse the slider keeps the focus, so its move is told after the click.
    """
    page, seen = visit("feature_maps?layer=layer3")
    heading, link = page.get_by_role("heading", level=1), page.get_by_test_id("stSidebarNav").get_by_text("Attribution")
    page.locator("#dial-layer").press("ArrowLeft")
    page.locator(".scrubber .position").press("ArrowRight")
    if by_mouse:
        link.click()
    else:
        link.evaluate("(text) => text.closest('a').click()")
    try:
        expect(heading).to_have_text("Attribution", timeout=10_000)
    except AssertionError:
        expect(page.locator(".scrubber")).to_be_visible()
        link.click()
        expect(heading).to_have_text("Attribution")
    page.wait_for_timeout(600)
    settle(page)
    expect(heading).to_have_text("Attribution")
    expect(page.locator(".viewer img")).to_have_count(2)
    assert urlsplit(page.url).path == "/attribution" and not seen.errors


def test_quick_presses_on_a_slider_all_count(visit):
    """Each run of the page that they start must leave the slider where it has been moved since."""
    page, seen = visit("feature_visualization")
    page.get_by_test_id("stSlider").last.get_by_role("slider").focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(35)
    expect(page).to_have_url(re.compile(r"[?&]channel=12\b"))
    page.wait_for_timeout(600)
    settle(page)
    assert re.search(r"[?&]channel=12\b", page.url) and not seen.errors


def test_nothing_is_answered_without_a_token(address):
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(address + "/api/view?layer=layer1")
    assert told.value.code == 404 and "default-src 'self'" in told.value.headers["Content-Security-Policy"]


def test_search_finds_any_class(visit):
    page, _ = visit("attribution")
    before = overlay_source(page)
    page.get_by_role("combobox", name="Find a class").fill("toilet t")
    page.get_by_role("option", name="toilet tissue").click()
    expect(page.locator(".viewer figcaption").nth(1)).to_contain_text("toilet tissue")
    assert overlay_source(page) != before


def test_scrubbing_follows_the_pointer_and_sends_one_message(visit):
    page, seen = visit("feature_maps?layer=layer2")
    slider = page.locator(".scrubber .position")
    expect(page.locator(".scrubber .where")).to_contain_text("1 of 128 by mean")
    page.wait_for_timeout(500)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.evaluate("""() => {
      const roots = [...document.querySelectorAll("*")].map((each) => each.shadowRoot)
      const root = roots.find((each) => each?.querySelector(".scrubber"))
      window.drawn = []
      root.querySelector(".position").addEventListener("input", (event) => {
        const want = root.querySelector(".position").value
        requestAnimationFrame(() => requestAnimationFrame(() =>
          window.drawn.push([performance.now() - event.timeStamp, root.querySelector(".where").textContent, want])))
      })
    }""")
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    sent = seen.sent
    for step in range(60):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * step / 60, middle)
    frames = page.evaluate("window.drawn")
    assert seen.sent == sent, "nothing is sent while dragging"
    page.mouse.up()
    assert len(frames) > 30
    expect(page.get_by_role("spinbutton", name="go to")).not_to_have_value("")
    channel = page.locator(".scrubber .where").inner_text().split(" ")[0]
    expect(page.get_by_role("spinbutton", name="go to")).to_have_value(channel)
    assert f"channel={channel}" in page.url
    slider.press("Home")
    expect(page.locator(".scrubber .where")).to_contain_text("1 of 128")
    page.locator(".sheet").click(position={"x": 5, "y": 5})
    assert not seen.errors


def test_layer_slider_brings_new_channels(visit):
    page, seen = visit("feature_maps")
    expect(page.locator(".scrubber .where")).to_contain_text("of 512")
    pixels = "(e) => e.toDataURL()"
    before = page.locator(".scrubber .large").evaluate(pixels)
    page.get_by_role("slider", name=LAYER).focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
        settle(page)  # a sheet that is overtaken is gone before the browser asks for it, which it reports
    expect(page.locator(".scrubber .label")).to_contain_text("layer4.0 (block")
    settle(page)
    assert page.locator(".scrubber .large").evaluate(pixels) != before
    assert not seen.errors


def test_values_are_read_by_pointer_and_by_keyboard(visit):
    page, _ = visit("attribution?relu=false")
    frame = page.locator(".viewer .frame").nth(1)
    frame.hover()
    expect(page.locator(".viewer .tip")).to_be_visible()
    expect(page.locator(".viewer .readout")).to_contain_text("x ")
    page.mouse.move(5, 5)
    expect(page.locator(".viewer .tip")).to_be_hidden()
    page.locator(".viewer").focus()
    page.keyboard.press("Home")
    strongest = page.locator(".viewer .readout").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer .readout")).not_to_have_text(strongest)
    frame.hover(position={"x": 3, "y": 3})
    expect(page.locator(".viewer .readout")).to_contain_text("outside what the network saw")


def test_upload_stays_when_the_page_changes(visit, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "mine.png")
    page, seen = visit("attribution")
    before = overlay_source(page)
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.png")
    wait_for_other(page, before)
    page.get_by_test_id("stSidebarNav").get_by_text("Feature maps").click()
    page.wait_for_selector(".scrubber")
    settle(page)
    expect(page.get_by_test_id("stMain").get_by_text("mine.png").first).to_be_visible()
    (tmp_path / "text.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    expect(page.get_by_test_id("stAlert").get_by_text("text.png", exact=False).first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert not seen.errors


def test_answers_carry_the_security_headers(address):
    for path in ("/", "/api/health", "/_stcore/health"):
        with urllib.request.urlopen(address + path) as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
