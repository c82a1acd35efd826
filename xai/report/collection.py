"""Views that somebody collected while exploring, each with a sentence, as one page or as a folder of files in a ZIP."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from xai.report.page import STYLE
from xai.spec import RunSpec

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{views}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class View:
    """One view of the app, taken along.

    Attributes:
        title: what it shows.
        png: its figure, at most one.
        spec: how it was made.
        csv: its numbers, or None.
        picture: the photograph as PNG where no name stands for it: an upload.
        sentence: what somebody saw in it.
    """

    title: str
    png: bytes | None
    spec: RunSpec
    csv: bytes | None = None
    picture: bytes | None = None
    sentence: str = ""

    @property
    def alt(self) -> str:
        """What the figure shows, for those who do not see it."""
        about = f" of {', '.join(self.spec.pictures)}" if self.spec.pictures else ""
        return f"{self.title}: {self.spec.method}{about} by {self.spec.title}"


def to_page(title: str, views: Sequence[View]) -> str:
    """Write views as one HTML page that loads nothing: figures, sentences and RunSpecs inside."""
    shown = "\n".join(_section(number, view) for number, view in enumerate(views, start=1))
    return PAGE.format(title=escape(title), style=STYLE, views=shown)


def to_zip(title: str, views: Sequence[View]) -> bytes:
    """Write views as report.md with figures, RunSpecs, tables and own photographs beside it, in a ZIP."""
    lines, packed = [f"# {_inline(title)}", ""], io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, view in enumerate(views, start=1):
            stem = f"figures/{number:02d}"
            beside = {"png": view.png, "csv": view.csv, "picture.png": view.picture}
            beside["json"] = view.spec.to_json().encode()
            for kind, data in beside.items():
                if data is not None:
                    archive.writestr(f"{stem}.{kind}", data)
            lines += _lines(number, view, stem)
        archive.writestr("report.md", "\n".join(lines))
    return packed.getvalue()


def _section(number: int, view: View) -> str:
    parts = [f"<h2>{number}. {escape(view.title)}</h2>"]
    if view.png is not None:
        data = base64.b64encode(view.png).decode("ascii")
        parts.append(f'<figure><img src="data:image/png;base64,{data}" alt="{escape(view.alt)}"></figure>')
    parts.append(f"<p>{escape(view.sentence) or 'No sentence was written about this view.'}</p>")
    parts.append(f"<details><summary>How it was made</summary><pre>{escape(view.spec.to_json())}</pre></details>")
    if view.csv is not None:
        link = base64.b64encode(view.csv).decode("ascii")
        parts.append(f'<p><a href="data:text/csv;base64,{link}" download="{number:02d}.csv">Numbers as CSV</a></p>')
    return "\n".join(parts)


def _lines(number: int, view: View, stem: str) -> list[str]:
    lines = [f"## {number}. {_inline(view.title)}", ""]
    if view.png is not None:
        lines += [f"![{_inline(view.alt)}]({stem}.png)", "", f"*Figure {number}. {_inline(view.title)}.*", ""]
    lines += [_inline(view.sentence) or "No sentence was written about this view.", ""]
    again = f"xai explain --spec {stem}.json" + (f" --img {stem}.picture.png" if view.picture is not None else "")
    lines += ["Made again by:", "", "```sh", again, "```", ""]
    return lines + ([f"Numbers: [{stem}.csv]({stem}.csv)", ""] if view.csv is not None else [])


def _inline(text: str) -> str:
    """Keep a text of somebody's on one line and out of Markdown's own signs."""
    plain = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|$" else sign for sign in plain)
