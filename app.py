"""Launcher of the app: `streamlit run app.py` serves it; what it shows is in xai/ui/frame.py and pages/."""

import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_XAI = find_spec("xai")  # found without importing it, which would load torch
if _XAI is None or _XAI.origin is None:
    raise ModuleNotFoundError("The package xai is not installed: run `make env`, or `pip install .` here.")
FRAME = Path(_XAI.origin).parent / "ui" / "frame.py"

# Everything comes from this server: a picture that somebody uploads cannot leave it, not even by a bug in a page.
# Streamlit's own bundle needs 'unsafe-eval' (charts) and blob: (components).
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; "
        "connect-src 'self' blob: data: ws: wss:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
_READY = {"ready": False}


class SecurityHeaders:
    """Middleware that adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to what comes back."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = [
                    (k.lower().encode(), v.encode()) for k, v in HEADERS.items() if k.lower().encode() not in present
                ]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def health(request: Request) -> JSONResponse:
    """Say that the server answers, and whether the default network is loaded."""
    return JSONResponse({"status": "ok", **_READY})


async def view(request: Request) -> Response:
    """Answer a component that follows its slider without a run of the page."""
    from xai.ui.live import respond

    return await respond(request)


def _warm_up() -> None:
    from xai.ui.caching import warm_up

    warm_up()
    _READY["ready"] = True


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Load torch and the default network beside the running server, so that the first page opens at once."""
    from xai.ui.live import serve

    serve()
    Thread(target=_warm_up, name="warm-up", daemon=True).start()
    yield


app = st.App(
    FRAME,
    lifespan=lifespan,
    routes=[Route("/api/health", health), Route("/api/view", view)],
    middleware=[Middleware(SecurityHeaders)],
)

if __name__ == "__main__":  # a plain run: AppTest, or a Streamlit that does not know st.App's launcher
    runpy.run_path(str(FRAME), run_name="__main__")
