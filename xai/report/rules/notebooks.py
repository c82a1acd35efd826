"""Rules on notebooks: executed from top to bottom without error, read by text, exported to fresh offline pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from xai.errors import UserError
from xai.report.checks import check_page
from xai.report.fresh import check_fresh
from xai.report.project import EXPORTED, NOTEBOOKS, Finding, Project
from xai.report.source import has_tag, notebook_title, read_notebook


def executed(project: Project) -> Iterator[Finding]:
    """Find notebooks whose cells were not executed, not in order, or ended in an error."""
    for path, notebook in _executed(project):
        name = f"{EXPORTED}/{path.name}"
        expected = 0
        for number, cell in enumerate(notebook.cells, start=1):
            if cell.cell_type != "code":
                continue
            expected += 1
            errors = [output for output in cell.outputs if output.output_type == "error"]
            if errors:
                yield Finding(name, 0, f"Cell {number} ended in {errors[0].ename}: {errors[0].evalue}")
            if cell.execution_count is None:
                yield Finding(name, 0, f"Cell {number} was not executed.")
            elif cell.execution_count != expected:
                yield Finding(name, 0, f"Cell {number} was executed as number {cell.execution_count}, not {expected}.")
                expected = cell.execution_count


def narrated(project: Project) -> Iterator[Finding]:
    """Find notebooks without title and purpose, and figures that no text reads."""
    for path, notebook in _executed(project):
        name = f"{EXPORTED}/{path.name}"
        if not notebook.cells or notebook.cells[0].cell_type != "markdown" or not notebook_title(notebook):
            yield Finding(name, 0, "The first cell is no title with the purpose of the notebook.")
        cells = [cell for cell in notebook.cells if not has_tag(cell, "injected-parameters")]
        for cell, after in zip(cells, [*cells[1:], None], strict=True):
            if _shows_figure(cell) and (after is None or after.cell_type != "markdown"):
                yield Finding(name, 0, f"No text reads the figure of cell {notebook.cells.index(cell) + 1}.")


def exported(project: Project) -> Iterator[Finding]:
    """Find notebooks whose exported page is missing, older than the notebook, or loads something from elsewhere."""
    stored = _stored(project)
    if not stored:
        yield Finding(NOTEBOOKS, 0, "There is no notebook.")
    for path in stored:
        page = project.root / EXPORTED / f"{path.stem}.html"
        for reason in _stale(path, page):
            yield Finding(f"{EXPORTED}/{page.name}", 0, reason)
        if page.is_file():
            for problem in check_page(page.read_text(encoding="utf-8")):
                yield Finding(f"{EXPORTED}/{page.name}", 0, problem)


def _stale(path: Path, page: Path) -> list[str]:
    try:
        return check_fresh(path, page)
    except UserError as error:
        return [str(error)]


def _stored(project: Project) -> list[Path]:
    paths = sorted((project.root / NOTEBOOKS).glob("*.ipynb"))
    return [path for path in paths if not path.name.startswith(".")]


def _executed(project: Project) -> Iterator[tuple[Path, NotebookNode]]:
    for stored in _stored(project):
        path = project.root / EXPORTED / stored.name
        if path.is_file():
            yield path, read_notebook(path)


def _shows_figure(cell: NotebookNode) -> bool:
    return any(
        {"image/png", "image/jpeg", "image/svg+xml"} & set(output.get("data", {})) for output in cell.get("outputs", [])
    )
