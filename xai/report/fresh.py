"""Tell whether an exported page still belongs to its notebook, from digests that the page and its notebook carry."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

from nbformat import NotebookNode

from xai.io.images import load_image
from xai.io.samples import SAMPLES
from xai.report.provenance import NetworkRecord, PictureRecord
from xai.report.source import output_digest, read_notebook, source_digest


def page_meta(executed: NotebookNode) -> dict[str, str]:
    """Make the meta elements of a page: digests of cells, outputs, weights and pictures, in hexadecimal."""
    used = executed.metadata["xai"]
    return {
        "xai:cells": source_digest(executed),
        "xai:outputs": output_digest(executed),
        "xai:weights": " ".join(network["digest"] for network in used["networks"]),
        "xai:pictures": " ".join(picture["digest"] for picture in used["pictures"]),
    }


def describe_provenance(networks: list[NetworkRecord], pictures: list[PictureRecord]) -> list[str]:
    """Say in plain lines what a run used, with the first characters of each digest."""
    shown = [f"{record['name']}, weights {record['weights']} ({record['digest'][:12]})" for record in networks]
    seen = [f"{record['name']} ({record['digest'][:12]})" for record in pictures]
    lines = [f"Network: {'; '.join(shown) or 'none'}.", f"Pictures: {', '.join(seen) or 'none'}."]
    return [*lines, "In brackets: the first characters of the SHA-256 digest of weights and pixels."]


def check_fresh(notebook: str | os.PathLike[str], page: str | os.PathLike[str]) -> list[str]:
    """Say why an exported page no longer belongs to its notebook.

    Args:
        notebook: the stored notebook, without outputs.
        page: the exported HTML; the executed notebook lies beside it under the same stem.

    Returns:
        One sentence per reason; empty when page and executed notebook were made from this very notebook, in one run,
        and the sample photographs they used are those installed now.
    """
    stored, html, beside = Path(notebook), Path(page), Path(page).with_suffix(".ipynb")
    missing = [path.name for path in (html, beside) if not path.is_file()]
    if missing:
        return [f"{stored.name} has not been exported: {' and '.join(missing)} missing."]
    executed = read_notebook(beside)
    if "xai" not in executed.metadata:
        return [f"{beside.name} was not made by this project's export: export {stored.name} again."]
    wanted = page_meta(executed)
    carried = _read_meta(html.read_text(encoding="utf-8"))
    reasons = []
    if source_digest(read_notebook(stored)) != wanted["xai:cells"]:
        reasons.append(f"{stored.name} has changed since {html.name} was made: export it again.")
    what = {"cells": "another text", "outputs": "another run", "weights": "other weights", "pictures": "other pictures"}
    for key, words in what.items():
        if carried.get(f"xai:{key}") != wanted[f"xai:{key}"]:
            reasons.append(f"{html.name} shows {words} than {beside.name}: export {stored.name} again.")
    return reasons + _changed_samples(executed.metadata["xai"]["pictures"], html.name)


def _changed_samples(pictures: list[PictureRecord], page: str) -> list[str]:
    """Compare the sample photographs that a page used with those installed now."""
    digests = {record["hint"].removeprefix("sample:"): record["digest"] for record in pictures}
    changed = [name for name, digest in digests.items() if name in SAMPLES and load_image(name).digest != digest]
    return [f"The sample photograph {name!r} is not the one that {page} shows." for name in changed]


def _read_meta(html: str) -> dict[str, str]:
    """Read the named meta elements of a page."""
    found: dict[str, str] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            if tag == "meta" and values.get("name"):
                found[str(values["name"])] = values.get("content") or ""

    Reader().feed(html[: html.find("</head>")])
    return found
