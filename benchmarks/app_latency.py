"""How fast the app answers: from a key press to the new picture on the screen, and from the pointer to the next frame.

A press counts when another picture is on the screen and the words beside it name what the slider stands on. Its time
ends two animation frames after that, so that the frame with the picture has been painted.

Run it on an otherwise idle computer with Chromium: `python benchmarks/app_latency.py`. It starts the app on a free port
with an untrained network (weights do not change the time) and prints medians as a Markdown table and as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'

# Runs in the page: from a key press (its own time stamp) until the picture has changed and was painted.
PROBE = """
() => {
  const roots = [...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)
  const rootOf = (selector) => roots.find((each) => each.querySelector(selector))
  const frame = () => new Promise(requestAnimationFrame)
  const kinds = {
    viewer: {
      picture: (root) => root.querySelectorAll(".viewer img")[1].src,
      words: (root) => root.querySelectorAll(".viewer img")[1].alt,
    },
    scrubber: {
      picture: (root) => root.querySelector(".large").toDataURL() + root.querySelector(".sheet").toDataURL(),
      words: (root) => `${root.querySelector(".label").textContent}, ${root.querySelector(".large").ariaLabel}`,
    },
  }
  addEventListener("keydown", (event) => (window.pressed = event.timeStamp), true)
  window.nextPicture = (kind, slider) => {
    const [root, { picture, words }] = [rootOf(`.${kind}`), kinds[kind]]
    const before = [picture(root), words(root)]
    return new Promise((done) => {
      const observer = new MutationObserver(async () => {
        if (words(root) === before[1]) return
        observer.disconnect()
        for (const image of root.querySelectorAll("img")) await image.decode().catch(() => null)
        await frame()
        await frame()
        const took = performance.now() - window.pressed
        const stands = root.querySelector(slider).getAttribute("aria-valuetext")
        done({ took, stands, words: words(root), other: picture(root) !== before[0] })
      })
      observer.observe(root, { subtree: true, childList: true, attributes: true, characterData: true })
      setTimeout(() => (observer.disconnect(), done(null)), 5000)
    })
  }
  window.frames_ = []
  rootOf(".scrubber")?.querySelector(".position").addEventListener("input", async (event) => {
    const began = event.timeStamp
    await frame()
    await frame()
    window.frames_.push(performance.now() - began)
  })
}
"""


@dataclass(frozen=True)
class Row:
    """One measured way of using the app; times in milliseconds, `goal` what its median must stay under."""

    what: str
    goal: float
    median: float
    p90: float
    worst: float
    count: int


@contextmanager
def running_app(**environment: str) -> Iterator[str]:
    """Serve the app on a free port of this computer until the block ends; yields its address.

    What the server complains about goes to this process's stderr, which pytest shows with a test that fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(
        [*command, "--server.headless", "true", "--server.address", "127.0.0.1"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until(lambda: _answers(f"{address}/api/health"), server)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _wait_until(true: Callable[[], bool], server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"The app did not start (exit code {server.poll()}).")
        time.sleep(0.1)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def is_ready(address: str) -> bool:
    """Say whether the app has loaded its network."""
    with urllib.request.urlopen(f"{address}/api/health", timeout=60) as answer:
        return json.load(answer)["ready"]


def open_page(page: Page, address: str) -> None:
    """Open a page of the app and wait until it stands still."""
    page.goto(address)
    page.wait_for_selector(IDLE, timeout=120_000)
    page.wait_for_selector(".dials output:not(:empty)", timeout=120_000)
    page.wait_for_timeout(1500)
    page.evaluate(PROBE)


def time_keys(
    page: Page, kind: str, slider: str, key: str, count: int, *, pause: float | None = None, warm: int = 2
) -> list[float]:
    """Press a key on a slider `count` times and return the time until each new picture was painted.

    Args:
        page: an open page of the app.
        kind: the component, "viewer" or "scrubber".
        slider: selector of the slider in it.
        key: the key; it has to bring another picture at least `count` times.
        count: how many times to take.
        pause: seconds between two presses; None: as long as the page needs to stand still.
        warm: presses before those that count.
    """
    times: list[float] = []
    page.locator(slider).focus()
    for _ in range(3 * count):
        page.evaluate("([kind, slider]) => { window.coming = window.nextPicture(kind, slider) }", [kind, slider])
        page.keyboard.press(key)
        seen = page.evaluate("window.coming")
        assert seen is not None, f"{key} on {slider} changed nothing"
        name = seen["stands"].split(" · ")[0].split(" of ")[0]
        assert name in seen["words"], f"the slider says {name}, the picture {seen['words']}"
        page.wait_for_timeout(600 if pause is None else 1000 * pause)
        if pause is None:
            page.wait_for_selector(IDLE)
        if seen["other"]:  # the last block of a stage is the stage: the same picture
            times.append(seen["took"])
        if len(times) == count + warm:
            break
    return times[warm:]


def time_drag(page: Page, steps: int = 120) -> list[float]:
    """Drag the scrubber from end to end and return the time from each move to its frame."""
    box = page.locator(".scrubber .position").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.evaluate("window.frames_ = []")
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    for step in range(steps):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * step / steps, middle)
    page.mouse.up()
    page.wait_for_timeout(500)
    return page.evaluate("window.frames_")


def measure(page: Page, address: str, count: int) -> list[Row]:
    """Time every goal of the app."""
    layer, target, channel = "#dial-layer", "#dial-target", ".scrubber .position"
    rows = []
    open_page(page, f"{address}/attribution?relu=false")  # an untrained network's map may have no positive value
    steps = time_keys(page, "viewer", target, "ArrowRight", count)
    rows.append(_row("class slider, Attribution", 150, steps))
    in_a_row = time_keys(page, "viewer", target, "ArrowRight", count, pause=0.2)
    rows.append(_row("the same, about four presses a second", 150, in_a_row))
    jumps = time_keys(page, "viewer", target, "PageUp", 8, warm=0)
    rows.append(_row("the same, 100 classes further (not made ahead)", 150, jumps))
    rows.append(_row("layer slider, Grad-CAM", 300, time_keys(page, "viewer", layer, "ArrowLeft", count)))
    open_page(page, f"{address}/feature_maps")
    rows.append(_row("channel slider", 150, time_keys(page, "scrubber", channel, "ArrowRight", count)))
    rows.append(_row("scrubbing, pointer to frame", 33, time_drag(page)))
    rows.append(_row("layer slider, Feature maps", 150, time_keys(page, "scrubber", layer, "ArrowLeft", count)))
    in_a_row = time_keys(page, "scrubber", layer, "ArrowLeft", count, pause=0.2)
    rows.append(_row("the same, about four presses a second", 150, in_a_row))
    return rows


def _row(what: str, goal: float, times: list[float]) -> Row:
    ordered = sorted(times)
    p90 = ordered[min(len(ordered) - 1, round(0.9 * len(ordered)))]
    return Row(what, goal, statistics.median(times), p90, ordered[-1], len(times))


def markdown(rows: list[Row]) -> str:
    """Write the rows as a table."""
    lines = ["| what | goal | median | p90 | worst | n |", "|---|---|---|---|---|---|"]
    for row in rows:
        times = " | ".join(f"{value:.0f} ms" for value in (row.goal, row.median, row.p90, row.worst))
        lines.append(f"| {row.what} | {times} | {row.count} |")
    return "\n".join(lines)


def main() -> None:
    """Start the app, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--weights", default="none", help="a file, an official name, or none for untrained")
    parser.add_argument("--count", type=int, default=20, help="key presses per row")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = parser.parse_args()
    browser_path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with running_app(XAI_MODEL=given.model, XAI_WEIGHTS=given.weights) as address, sync_playwright() as playwright:
        while not is_ready(address):
            time.sleep(0.5)
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(FLAGS))
        rows = measure(browser.new_page(viewport={"width": 1280, "height": 900}), address, given.count)
        browser.close()
    print(f"{given.model}, {os.cpu_count()} cores\n\n{markdown(rows)}\n")
    text = json.dumps({"model": given.model, "cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
