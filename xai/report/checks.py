"""Look for what an exported page must not have: loads from elsewhere, figures without alt text, private paths."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

from nbformat import NotebookNode

MAX_BYTES = 5_000_000
SHOWN = ("image/png", "image/jpeg", "text/html", "text/markdown", "text/plain")
INTERACTIVE = ("application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json", "application/javascript")
LOADING = {"src", "srcset", "poster", "data", "background", "action", "formaction"}  # attributes that fetch something


def check_outputs(notebook: NotebookNode, folder: Path) -> list[str]:
    """Say what in the outputs of an executed notebook cannot go on a page.

    Args:
        notebook: executed.
        folder: where the stored notebook lies; no output may show its path, the user's home or the interpreter's.

    Returns:
        One sentence per problem; empty when all is well.
    """
    private = {str(folder.resolve()), str(Path.home()), sys.prefix} - {"/"}
    problems = []
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            data, metadata = output.get("data", {}), output.get("metadata", {})
            for kind in ("image/png", "image/jpeg", "image/svg+xml"):
                if kind in data and not str(metadata.get(kind, {}).get("alt", "")).strip():
                    problems.append(f"Cell {number} shows a figure without alt text: give the figure a label.")
            if any(kind in data for kind in INTERACTIVE):
                problems.append(f"Cell {number} shows a figure that needs a script: show a matplotlib one.")
            elif data and not any(kind in data for kind in SHOWN):
                problems.append(f"Cell {number} shows {sorted(data)[0]}, which a page cannot show.")
            text = " ".join([output.get("text", ""), *(str(data[kind]) for kind in data if kind.startswith("text/"))])
            problems += [f"Cell {number} prints the private path {path!r}." for path in private if path in text]
    return problems


def check_page(html: str) -> list[str]:
    """Say what keeps a page from opening without a network, or from being read by everybody.

    Returns:
        One sentence per problem; empty when all is well.
    """
    reader = _PageReader()
    reader.feed(html)
    problems = list(reader.problems)
    if reader.headings != 1:
        problems.append(f"The page has {reader.headings} headings of the first level instead of one.")
    if not reader.language:
        problems.append("The page does not say its language.")
    size = len(html.encode())
    if size > MAX_BYTES:
        problems.append(f"The page has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f} MB.")
    return problems


class _PageReader(HTMLParser):
    """Collects problems while it reads a page."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.headings = 0
        self.language = ""
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.in_style = tag == "style"
        self.headings += tag == "h1"
        if tag == "html":
            self.language = values.get("lang", "")
        if tag in {"script", "iframe", "object", "embed"}:
            self.problems.append(f"The page has a <{tag}> element.")
        if tag == "img" and "alt" not in values:
            self.problems.append("The page has a picture without alt text.")
        fetched = LOADING | ({"href", "xlink:href"} if tag in {"link", "image", "use", "base"} else set())
        for name in fetched & set(values):
            if not values[name].startswith(("data:", "#")):
                self.problems.append(f"The page loads {values[name][:80]!r}.")
        self._check_style(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self._check_style(data)

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False

    def _check_style(self, css: str) -> None:
        """Look for addresses in style rules."""
        for address in re.findall(r"url\(\s*['\"]?([^)'\"]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css):
            if not address.startswith(("data:", "#")):
                self.problems.append(f"The page's style loads {address[:80]!r}.")
