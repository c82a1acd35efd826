"""What every test gets: fixed seeds, one thread, no network, and a browser on request."""

from __future__ import annotations

import ipaddress
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from browsing import Seen, settle
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
)


class NetworkBlocked(RuntimeError):
    """A test tried to reach another computer; no OSError, so that no code takes it for a failed download."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run browser tests last: while Playwright is open, its event loop keeps asyncio.run from working."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same global random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """Use one thread: rounding then does not depend on the cores, and tiny networks run faster on busy ones."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every connection and every name look-up beyond this computer."""
    real = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}
    real_getaddrinfo = socket.getaddrinfo

    def guarded(name: str):
        def call(self: socket.socket, address):
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _refuse_unless_local(address[0])
            return real[name](self, address)

        return call

    def getaddrinfo(host, *args, **kwargs):
        _refuse_unless_local(host)
        return real_getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(socket.socket, name, guarded(name))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


def _refuse_unless_local(host: str | bytes | None) -> None:
    text = host.decode() if isinstance(host, bytes) else host or "localhost"
    if text in ("localhost", "0.0.0.0", "::", socket.gethostname()):
        return
    try:
        local = ipaddress.ip_address(text).is_loopback
    except ValueError:
        local = False
    if not local:
        raise NetworkBlocked(f"Tests do not use the network, but this one asked for {text!r}.")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One headless Chromium for all browser tests; without one they skip, or fail where REQUIRE_BROWSER=1."""
    with sync_playwright() as playwright:
        path = _find_browser(playwright)
        if path is None:
            message = "No Chromium: install chromium or google-chrome, or name one with CHROMIUM=/path/to/it."
            pytest.fail(message) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(message)
        browser = playwright.chromium.launch(executable_path=path, args=list(BROWSER_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Callable[..., tuple[Page, Seen]]]:
    """Open a page of the server at `address`, which the module of the test starts, in a context of its own."""
    opened = []

    def go(path: str, *, width: int = 1280, scheme: str = "light", server: str | None = None) -> tuple[Page, Seen]:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        seen = Seen(page)
        page.goto(f"{server or address}/{path}")
        settle(page)
        return page, seen

    yield go
    for context in opened:
        context.close()


def _find_browser(playwright: Playwright) -> str | None:
    named = os.environ.get("CHROMIUM")
    candidates = [named] if named else [*BROWSERS, playwright.chromium.executable_path]
    return next((found for name in candidates if (found := shutil.which(name))), None)
