"""What tests of the app in a browser share: what a page says, when it is still, and whether it is too wide."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from benchmarks.app_latency import IDLE


class Seen:
    """What a page said and asked for besides showing itself."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str | None] = set()
        self.sent = 0
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._take)
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: setattr(self, "sent", self.sent + 1)))

    def _take(self, message) -> None:
        # Streamlit finds out its own base address by asking below the page first, which a link answers with 404.
        probing = "/_stcore/" in message.location.get("url", "")
        if message.type == "error" and not probing:
            self.errors.append(f"{message.text} {message.location.get('url', '')}")


def settle(page: Page) -> None:
    """Wait until the page is drawn and the server has nothing more to say."""
    page.wait_for_selector("h1")
    page.wait_for_selector(IDLE)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=60_000)


def overflow(page: Page) -> int:
    return page.evaluate(
        "Math.max(document.documentElement.scrollWidth - innerWidth,"
        " ...[...document.querySelectorAll('[data-testid=stMain]')].map((e) => e.scrollWidth - e.clientWidth))"
    )
