"""Write the table of contents of the exported notebooks: question, answer in brief, network and a figure of each."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
from jinja2 import Environment
from nbformat import NotebookNode

from xai.report.page import INDEX_PAGE, STYLE
from xai.report.source import has_tag, notebook_title, read_notebook

COVER_TAG = "cover"
THUMBNAIL_WIDTH = 352  # CSS pixels; drawn twice as fine
THUMBNAIL_RATIO = 1.6


@dataclass(frozen=True)
class IndexEntry:
    """What the index says about one exported notebook; the thumbnail is a JPEG in base64."""

    page: str
    notebook: str
    question: str
    summary: str
    network: str
    thumbnail: str
    alt: str
    width: int
    height: int


def render_index(folder: Path) -> str:
    """Write the index of the executed notebooks in a folder, in the order of their names.

    Args:
        folder: holds executed notebooks, each with its page of the same stem.

    Returns:
        HTML, self-contained.
    """
    pairs = [path for path in sorted(folder.glob("*.ipynb")) if path.with_suffix(".html").is_file()]
    entries = [_entry(path.stem, read_notebook(path)) for path in pairs]
    return Environment(autoescape=False, trim_blocks=False).from_string(INDEX_PAGE).render(entries=entries, style=STYLE)


def _entry(stem: str, notebook: NotebookNode) -> IndexEntry:
    """Collect what the index says about one notebook."""
    networks = notebook.metadata.get("xai", {}).get("networks", [])
    picture, alt = _cover(notebook)
    return IndexEntry(
        page=f"{stem}.html",
        notebook=f"{stem}.ipynb",
        question=notebook_title(notebook) or stem,
        summary=_first_paragraph(notebook),
        network="; ".join(f"{network['name']}, weights {network['weights']}" for network in networks) or "none",
        thumbnail=_jpeg_base64(picture),
        alt=alt,
        width=picture.width // 2,
        height=picture.height // 2,
    )


def _first_paragraph(notebook: NotebookNode) -> str:
    """Take the first paragraph after the title, without marks."""
    paragraphs = [part for cell in notebook.cells if cell.cell_type == "markdown" for part in cell.source.split("\n\n")]
    found = (part for part in paragraphs if part.strip() and not part.startswith("#"))
    return " ".join(next(found, "").replace("*", "").replace("`", "").split())


def _cover(notebook: NotebookNode) -> tuple[PIL.Image.Image, str]:
    """Cut a small picture from the figure of the cell tagged "cover", or from the first one; and its alt text."""
    width, height = 2 * THUMBNAIL_WIDTH, round(2 * THUMBNAIL_WIDTH / THUMBNAIL_RATIO)
    for cell in sorted(notebook.cells, key=lambda cell: not has_tag(cell, COVER_TAG)):
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                figure = PIL.Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).convert("RGB")
                size = width, round(figure.height * width / figure.width)
                figure = figure.resize(size, PIL.Image.Resampling.LANCZOS)
                return figure.crop((0, 0, width, min(height, figure.height))), output.metadata[kind]["alt"]
    return PIL.Image.new("RGB", (width, height), "white"), "No figure."


def _jpeg_base64(picture: PIL.Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
