"""Photograph the app for the report: `python benchmarks/screenshots.py` writes exported_html/screenshots/.

Two pages, and a walk through the app as one moving picture (WebP), each step with a sentence under it.

Start it with the network of the report: `XAI_MODEL=NAME XAI_WEIGHTS=FILE python benchmarks/screenshots.py`.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from app_latency import BROWSERS, FLAGS, IDLE, ROOT, running_app
from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = ROOT / "exported_html" / "screenshots"
PAGES = {"start": "", "attribution": "attribution?image=cat&method=grad_cam"}
SIZE = {"width": 1280, "height": 860}
STILL = 4000  # milliseconds in which the last picture is painted
COLOURS = 160


@dataclass(frozen=True)
class Step:
    """A step of the walk.

    Attributes:
        words: what it shows.
        page: to open; None: go on where the last step was.
        key: pressed on a slider, or None.
        slider: its selector.
        scroll: pixels down the page.
    """

    words: str
    page: str | None = None
    key: str | None = None
    slider: str = ""
    scroll: int = 0


WALK = (
    Step("Start: what the network sees of a photograph, and what it answers.", ""),
    Step("Attribution: where Grad-CAM sees the answer.", "attribution?image=cat&method=grad_cam"),
    Step("The layer slider: the same question, one layer earlier.", key="ArrowLeft", slider="#dial-layer"),
    Step("And one more: inside the last block.", key="ArrowLeft", slider="#dial-layer"),
    Step("The class slider: what would speak for another class?", key="ArrowRight", slider="#dial-target"),
    Step("Feature maps: which channels answer the photograph.", "feature_maps?image=cat"),
    Step("The channel slider: one channel over the picture.", key="ArrowRight", slider=".scrubber .position"),
    Step("Compare: several methods and controls on one scale.", "compare?image=cat"),
    Step("Clusters: groups that were found without labels.", "clusters"),
    Step("Further down: pictures on the border of a group, and its outliers.", scroll=700),
)
WALKED = (960, 645)  # pixels of the moving picture, without the words
WORDS = 40  # pixels under it for a sentence
SECONDS = 3.0  # for a step


def main() -> None:
    """Open each page on the sample photograph of a cat, and keep what it looks like."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_app() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        for name, page in PAGES.items():
            keep(FOLDER / f"{name}.png", photograph(browser, f"{address}/{page}"))
            print(FOLDER / f"{name}.png")
        walk(browser, address, FOLDER / "walkthrough.webp")
        browser.close()


def walk(browser: Browser, address: str, path: Path) -> None:
    """Go through the app step by step, and keep it as one moving picture."""
    page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
    frames = []
    for step in WALK:
        if step.page is not None:
            page.goto(f"{address}/{step.page}", timeout=300_000)
            page.wait_for_selector("h1", timeout=300_000)
        if step.key is not None:
            page.locator(step.slider).focus()
            page.keyboard.press(step.key)
        if step.scroll:
            page.mouse.move(SIZE["width"] * 0.6, SIZE["height"] / 2)
            page.mouse.wheel(0, step.scroll)
        wait_until_still(page)
        frames.append(with_words(page.screenshot(animations="disabled"), step.words))
    page.close()
    buffer = io.BytesIO()
    duration = round(1000 * SECONDS)
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=70)
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {len(frames)} steps, {len(buffer.getvalue()) / 1e6:.1f} MB")


def with_words(shown: bytes, words: str) -> PIL.Image.Image:
    """Make a picture smaller and write a sentence under it."""
    made = PIL.Image.new("RGB", (WALKED[0], WALKED[1] + WORDS), "#1f2937")
    made.paste(PIL.Image.open(io.BytesIO(shown)).convert("RGB").resize(WALKED, PIL.Image.Resampling.LANCZOS))
    font = PIL.ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 18)
    place = (WALKED[0] // 2, WALKED[1] + WORDS // 2)
    PIL.ImageDraw.Draw(made).text(place, words, fill="white", font=font, anchor="mm")
    return made


def wait_until_still(page: Page) -> None:
    """Wait until a page has nothing left to do and its last picture is painted."""
    page.wait_for_selector(IDLE, timeout=300_000)
    page.wait_for_timeout(STILL)
    page.wait_for_selector(IDLE, timeout=300_000)


def photograph(browser: Browser, address: str) -> bytes:
    """Wait until a page stands still, and give it as PNG."""
    page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
    page.goto(address, timeout=300_000)
    page.wait_for_selector("h1", timeout=300_000)
    wait_until_still(page)
    shown = page.screenshot(animations="disabled")
    page.close()
    return shown


def keep(path: Path, shown: bytes) -> None:
    """Write a picture with a palette, a third of the size."""
    buffer = io.BytesIO()
    small = PIL.Image.open(io.BytesIO(shown)).convert("RGB").quantize(COLOURS)
    small.save(buffer, format="PNG", optimize=True)
    path.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
