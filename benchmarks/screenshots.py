"""Photograph the app for the report: `python benchmarks/screenshots.py` writes exported_html/screenshots/.

Start it with the network of the report: `XAI_MODEL=NAME XAI_WEIGHTS=FILE python benchmarks/screenshots.py`.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import PIL.Image
from app_latency import BROWSERS, FLAGS, IDLE, ROOT, running_app
from playwright.sync_api import Browser, sync_playwright

FOLDER = ROOT / "exported_html" / "screenshots"
PAGES = {"start": "", "attribution": "attribution?image=cat&method=grad_cam"}
SIZE = {"width": 1280, "height": 860}
STILL = 4000  # milliseconds in which the last picture is painted
COLOURS = 160


def main() -> None:
    """Open each page on the sample photograph of a cat, and keep what it looks like."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_app() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        for name, page in PAGES.items():
            keep(FOLDER / f"{name}.png", photograph(browser, f"{address}/{page}"))
            print(FOLDER / f"{name}.png")
        browser.close()


def photograph(browser: Browser, address: str) -> bytes:
    """Wait until a page stands still, and give it as PNG."""
    page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
    page.goto(address, timeout=300_000)
    page.wait_for_selector(IDLE, timeout=300_000)
    page.wait_for_selector("h1", timeout=300_000)
    page.wait_for_timeout(STILL)
    page.wait_for_selector(IDLE, timeout=300_000)
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
