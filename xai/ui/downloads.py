"""Take a result along: files, and the link, command and notebook cell that make it again."""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

import numpy as np
import PIL.Image
import streamlit as st

from xai.errors import UserError
from xai.io.images import Image
from xai.registry import METHODS
from xai.spec import RunSpec
from xai.ui import basket

Bytes = Callable[[], bytes]
BUTTON = "take_along"
MIME = {
    "png": "image/png",
    "npy": "application/octet-stream",
    "csv": "text/csv",
    "json": "application/json",
    "zip": "application/zip",
}


def npy(values: np.ndarray) -> bytes:
    """Write an array as an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def report_zip(spec: RunSpec, image: Image) -> bytes:
    """Pack the spec and the picture it speaks of, pixel for pixel, so that the digest holds."""
    picture = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(picture, "PNG")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.json", spec.to_json())
        archive.writestr("picture.png", picture.getvalue())
        archive.writestr("README.txt", "Make the result again: xai explain --spec result.json --img picture.png\n")
    return packed.getvalue()


def page_link(spec: RunSpec, view: Sequence[str]) -> str:
    """Write the address of this page with everything that makes up the view; `view` names widgets beyond the spec."""
    base = (st.context.url or "").partition("?")[0]
    shown = {name: st.session_state[name] for name in view if st.session_state.get(name) is not None}
    spelled = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in shown.items()}
    return f"{base}?{urlencode(spec.to_query(_defaults(spec)) | spelled)}"


@dataclass(frozen=True, eq=False)
class Result:
    """What a page shows, ready to be taken along.

    Attributes:
        name: beginning of the file names.
        files: kind ("png", "npy", "csv") to what makes the file, called when somebody clicks.
        spec: how the result was made.
        view: keys of the widgets that shape the view beyond the spec.
        upload: the picture when it is the user's own, which no address can name.
    """

    name: str
    files: Mapping[str, Bytes]
    spec: RunSpec
    view: Sequence[str]
    upload: Image | None = None


def offer(result: Callable[[], Result]) -> None:
    """Show the buttons to take a result along and to keep it for the report; it is made when somebody presses."""
    with st.container(horizontal=True):
        taken = st.button("Download, link, command, notebook cell", icon=":material/ios_share:", key=BUTTON)
        added = st.button("Add to report", icon=":material/note_add:", key=basket.BUTTON)
    if not (taken or added):
        return
    try:
        made = result()
    except UserError as error:  # a slow method that has not been started
        st.warning(str(error), icon=":material/info:")
        return
    if taken:
        _take_along(made)
    else:
        basket.add(_title(made.spec), made.files, made.spec, made.upload)


@st.dialog("Take this view along", width="large")
def _take_along(result: Result) -> None:
    """Show the downloads and the ways to make this view again."""
    spec = result.spec
    _show_files(result.name, result.files, spec, result.upload)
    if result.upload is None:
        st.caption("Link to exactly this view")
        st.code(page_link(spec, result.view), language=None, wrap_lines=True)
    else:
        st.caption("Your picture is not part of any address, so there is no link: take the ZIP instead.")
    st.caption("Command")
    st.code(spec.to_command(_defaults(spec)), language=None, wrap_lines=True)
    st.caption("Notebook cell")
    st.code(spec.to_cell(_defaults(spec)), language=None, wrap_lines=True)


def _show_files(name: str, files: Mapping[str, Bytes], spec: RunSpec, upload: Image | None) -> None:
    with st.container(horizontal=True):
        for kind, make in files.items():
            _offer_file(kind, make, f"{name}.{kind}", ":material/download:")
        about = "How it was made: network, weights, picture, layer, class and options, with digests."
        _offer_file("json", spec.to_json, f"{name}.json", ":material/description:", about)
        if upload is not None:
            pack = partial(report_zip, spec, upload)
            _offer_file("zip", pack, f"{name}.zip", ":material/folder_zip:", "The JSON together with your picture.")


def _offer_file(kind: str, make: Callable[[], bytes | str], file: str, icon: str, about: str | None = None) -> None:
    st.download_button(
        kind.upper(), make, file, MIME[kind], icon=icon, help=about, on_click="ignore", key=f"download-{kind}"
    )


def _defaults(spec: RunSpec) -> dict[str, Any]:
    method = METHODS.get(spec.method)
    return {param.name: param.default for param in method.params} if method else {}


def _title(spec: RunSpec) -> str:
    """Say what a view shows: method, layer and pictures."""
    label = METHODS[spec.method].label if spec.method in METHODS else spec.method.replace("_", " ").capitalize()
    return " · ".join([label, *spec.layers(), *spec.pictures])


def grid_csv(values: np.ndarray) -> bytes:
    """Write a map (h, w) as rows of numbers."""
    buffer = io.BytesIO()
    np.savetxt(buffer, values, fmt="%.6g", delimiter=",")
    return buffer.getvalue()
