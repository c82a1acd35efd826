"""Run a notebook from top to bottom in a fresh kernel of the running interpreter."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from xai.errors import UserError
from xai.report.source import INJECTED_TAG, has_tag, inject_parameters, map_text, notebook_title, read_notebook

Progress = Callable[[float, str], None]

IMPORT_ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package: `import xai` works from anywhere
ASK_PROVENANCE = (
    "import json as _json\n"
    "from xai.report.provenance import collect_provenance as _collect\n"
    "print(_json.dumps(_collect(get_ipython().user_ns)))"
)


class RunningInterpreter(KernelSpecManager):
    """Offers one kernel, that of this very interpreter, whatever kernels the machine has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Describe the kernel of the running interpreter under any name."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def execute_notebook(
    path: str | os.PathLike[str],
    parameters: Mapping[str, object] | None = None,
    *,
    timeout: float = 1800.0,
    on_progress: Progress | None = None,
) -> NotebookNode:
    """Execute a stored notebook and return it with its outputs; the file is left as it is.

    Args:
        path: the stored notebook; its folder is the working directory of the run.
        parameters: values that replace those of the cell tagged "parameters". A path to a file is made absolute for
            the run and reads as the bare file name in the result.
        timeout: seconds that one cell may take.
        on_progress: called before each cell with the fraction done and a text; may raise ``Cancelled``.

    Returns:
        The executed notebook. ``metadata.title`` is its question, ``metadata.xai`` its provenance (networks, pictures).

    Raises:
        UserError: the notebook is missing, has no such parameter, or one of its cells fails.
    """
    source = Path(path)
    notebook = read_notebook(source)
    values, hidden = _resolve_files(parameters or {})
    inject_parameters(notebook, values)
    provenance = _run(notebook, source, timeout=timeout, on_progress=on_progress or _ignore)
    map_text(notebook, lambda text: _replace_all(text, hidden))
    notebook.metadata["title"] = notebook_title(notebook)
    notebook.metadata["xai"] = provenance
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3", "file_extension": ".py"}
    return notebook


def _run(notebook: NotebookNode, source: Path, *, timeout: float, on_progress: Progress) -> dict[str, Any]:
    """Execute every cell in place and return what the notebook used."""
    count = len(notebook.cells)
    asked = nbformat.v4.new_code_cell(ASK_PROVENANCE)
    with tempfile.TemporaryDirectory() as scratch:
        manager = AsyncKernelManager(kernel_spec_manager=RunningInterpreter())
        manager.connection_file = str(Path(scratch) / "kernel.json")
        place = {"metadata": {"path": str(source.resolve().parent)}}
        client = NotebookClient(notebook, km=manager, timeout=timeout, record_timing=False, resources=place)
        with client.setup_kernel(cleanup_kc=True, env=_kernel_environment(scratch)):
            for index, cell in enumerate(notebook.cells):
                on_progress(index / count, f"{source.stem}: cell {index + 1} of {count}")
                _execute(client, cell, index, source.name)
            notebook.cells.append(asked)
            _execute(client, asked, count, source.name)
            notebook.cells.pop()
    on_progress(1.0, f"{source.stem}: {count} cells done")
    return json.loads(asked.outputs[-1].text)


def _execute(client: NotebookClient, cell: NotebookNode, index: int, name: str) -> None:
    """Execute one cell, and tell in one sentence what went wrong in which cell."""
    place = "the cell with the given parameters" if has_tag(cell, INJECTED_TAG) else f"cell {index + 1}"
    try:
        client.execute_cell(cell, index)
    except CellExecutionError as error:
        raise UserError(f"{name}: {place} stopped with {error.ename}: {error.evalue}") from error
    except CellTimeoutError as error:
        raise UserError(f"{name}: {place} took longer than {client.timeout:g} seconds.") from error
    except DeadKernelError as error:
        raise UserError(f"{name}: the kernel died in {place}; the machine may be out of memory.") from error


def _kernel_environment(scratch: str) -> dict[str, str]:
    """Make the variables of the kernel: `import xai` works, and no personal set-up of IPython reaches the run."""
    paths = [str(IMPORT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": scratch}


def _resolve_files(parameters: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Make the paths among the parameters absolute; return them, and what each is to be called in the result."""
    hidden: dict[str, str] = {}

    def resolve(value: object) -> object:
        if isinstance(value, list | tuple):
            return [resolve(item) for item in value]
        if isinstance(value, str | os.PathLike) and str(value) and Path(value).is_file():
            absolute = Path(value).resolve()
            hidden[str(absolute)] = absolute.name
            return str(absolute)
        return value

    return {name: resolve(value) for name, value in parameters.items()}, hidden


def _replace_all(text: str, names: Mapping[str, str]) -> str:
    """Replace each key by its value."""
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _ignore(fraction: float, text: str) -> None:
    """Take progress and do nothing with it."""
