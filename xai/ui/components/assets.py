"""Register a component from the files beside this one, and hand its pictures to the browser."""

import base64
from pathlib import Path

import numpy as np
import streamlit as st
from streamlit import runtime
from streamlit.components.v2.types import ComponentRenderer


def register(name: str) -> ComponentRenderer:
    """Register the component whose parts are NAME.html, NAME.css and NAME.js; nothing is built or fetched.

    Both components also get what they share: shared.js and the sliders of dials.js and dials.css.
    """
    html, css, js = (
        "".join(Path(__file__).with_name(file).read_text(encoding="utf-8") for file in files)
        for files in ((f"{name}.html",), ("dials.css", f"{name}.css"), ("shared.js", "dials.js", f"{name}.js"))
    )
    return st.components.v2.component(f"xai_{name}", html=html, css=css, js=js)


def base64_text(data: bytes | np.ndarray) -> str:
    """Encode bytes, or the bytes of an array, for a JSON message."""
    raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    return base64.b64encode(raw).decode("ascii")


def data_uri(picture: bytes, mime: str) -> str:
    """Return the picture as a `data:` address: part of the message itself, so it can never be missing."""
    return f"data:{mime};base64,{base64_text(picture)}"


def media_url(picture: bytes, mime: str, place: str) -> str:
    """Return an address under which this session's browser can fetch a picture; better than a data URI when large.

    The address is named after the content, so an unchanged picture is not sent twice. Without a running server
    (AppTest) it is a data URI.
    """
    if not runtime.exists():
        return data_uri(picture, mime)
    return runtime.get_instance().media_file_mgr.add(picture, mime, f"xai-{place}")
