"""Read what a stored notebook says about itself: title, question, parameters, digest; and put other parameters in."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from xai.errors import UserError, one_of

PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook from disk.

    Raises:
        UserError: there is no such file, or it is no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return nbformat.reads(text, as_version=4)
    except OSError as error:
        raise UserError(f"The notebook {path.name!r} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # not JSON, or JSON that is no notebook
        raise UserError(f"The file {path.name!r} is not a notebook.") from error


def has_tag(cell: NotebookNode, tag: str) -> bool:
    """Say whether a cell carries a tag."""
    return tag in cell.metadata.get("tags", [])


def notebook_title(notebook: NotebookNode) -> str:
    """Find the first heading of the first level, as plain text; empty when there is none."""
    for cell in notebook.cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
            if line.startswith("# "):
                return re.sub(r"[*`]", "", line[2:]).strip()
    return ""


def section_titles(notebook: NotebookNode) -> list[str]:
    """List the headings of the second level, in order: the table of contents."""
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return [line[3:].strip() for line in lines if line.startswith("## ")]


def source_digest(notebook: NotebookNode) -> str:
    """Digest of what people wrote: type, identity, tags and source of each cell, not outputs or injected cells.

    Returns:
        sha256 in hexadecimal; the stored notebook and its executed copy have the same.
    """
    written = [
        [cell.cell_type, cell.get("id", ""), cell.metadata.get("tags", []), cell.source]
        for cell in notebook.cells
        if not has_tag(cell, INJECTED_TAG)
    ]
    return hashlib.sha256(json.dumps(written, ensure_ascii=False).encode()).hexdigest()


def output_digest(notebook: NotebookNode) -> str:
    """Digest of what the run made: the outputs of each code cell. A page and its notebook share it."""
    made = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(made, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def parameter_names(notebook: NotebookNode) -> list[str]:
    """List the names that the cell tagged "parameters" assigns; empty without such a cell."""
    index = _parameters_index(notebook)
    if index is None:
        return []
    targets = re.findall(r"^([A-Za-z_][\w, ]*)=(?!=)", notebook.cells[index].source, flags=re.MULTILINE)
    return [name.strip() for target in targets for name in target.split(",")]


def inject_parameters(notebook: NotebookNode, parameters: Mapping[str, object]) -> None:
    """Insert a cell after the tagged one that gives parameters other values. Changes the notebook in place.

    Args:
        notebook: has one code cell tagged "parameters" with plain assignments.
        parameters: name and value; strings, numbers, None, and lists of them.

    Raises:
        UserError: the notebook has no such parameter.
    """
    if not parameters:
        return
    names = parameter_names(notebook)
    for name in parameters:
        if name not in names:
            raise one_of("notebook parameter", name, names)
    lines = ["# Values for this run, in place of those above."]
    lines += [f"{name} = {_literal(value)}" for name, value in parameters.items()]
    cell = nbformat.v4.new_code_cell("\n".join(lines), id="injected", metadata={"tags": [INJECTED_TAG]})
    notebook.cells.insert((_parameters_index(notebook) or 0) + 1, cell)


def map_text(notebook: NotebookNode, change: Callable[[str], str]) -> None:
    """Pass every text of a notebook, sources and text outputs but not pictures, through a function. In place."""
    for cell in notebook.cells:
        cell.source = change(cell.source)
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = change(output.text)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and not kind.startswith("image/"):
                    output.data[kind] = change(value)


def _parameters_index(notebook: NotebookNode) -> int | None:
    """Find the place of the cell tagged "parameters"."""
    found = (i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and has_tag(cell, PARAMETERS_TAG))
    return next(found, None)


def _literal(value: object) -> str:
    """Write a value as Python source, strings in double quotes as everywhere else in the notebooks."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return repr(value)
