"""The report basket: views that somebody keeps while exploring, in this session only."""

import io
from collections.abc import Callable, Mapping

import PIL.Image
import streamlit as st

from xai.io.images import Image
from xai.report.collection import View
from xai.spec import RunSpec

BUTTON = "add_to_report"
MOST = 40  # views: figures are kept in memory
_VIEWS = "_basket"


def views() -> list[View]:
    """The views kept so far, in the order in which they were added."""
    return st.session_state.setdefault(_VIEWS, [])


def add(title: str, files: Mapping[str, Callable[[], bytes]], spec: RunSpec, upload: Image | None) -> None:
    """Keep a view: its figure and its numbers are made now, since sliders move on.

    Args:
        title: what it shows.
        files: kind ("png", "csv", ...) to what makes the file.
        spec: how it was made.
        upload: the picture when it is the user's own.
    """
    kept = views()
    if any(view.spec == spec for view in kept):
        st.toast("This view is in the report already.", icon=":material/info:")
    elif len(kept) >= MOST:
        st.toast(f"The report holds {MOST} views, and no more.", icon=":material/info:")
    else:
        made = {kind: files[kind]() if kind in files else None for kind in ("png", "csv")}
        kept.append(View(title, made["png"], spec, made["csv"], None if upload is None else _png(upload)))
        st.toast(f"Added to the report: {len(kept)} so far. See the page Report.", icon=":material/check:")


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(buffer, "PNG")
    return buffer.getvalue()
