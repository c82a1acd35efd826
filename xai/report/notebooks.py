"""Export notebooks: execute them, check what came out, and write page, executed notebook and index atomically."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from xai.errors import UserError, one_of
from xai.io.files import write_atomic
from xai.report.checks import check_outputs, check_page
from xai.report.execute import Progress, execute_notebook
from xai.report.fresh import check_fresh, describe_provenance, page_meta
from xai.report.html import render_page
from xai.report.index import render_index
from xai.report.source import parameter_names, read_notebook

__all__ = ["Export", "check_fresh", "execute_notebook", "export_all", "export_notebook"]


@dataclass(frozen=True)
class Export:
    """The two files that one notebook became."""

    page: Path
    notebook: Path


def export_notebook(
    path: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    parameters: Mapping[str, object] | None = None,
    *,
    on_progress: Progress | None = None,
) -> Export:
    """Execute one stored notebook and write it as a self-contained page and as an executed notebook.

    Args:
        path: the stored notebook, such as "notebooks/01_feature_maps.ipynb".
        output_dir: gets "01_feature_maps.html" and "01_feature_maps.ipynb"; made when missing.
        parameters: as for `execute_notebook`.
        on_progress: called with the fraction done and a text; may raise ``Cancelled``.

    Raises:
        UserError: a cell fails, a figure has no alt text, or the page would load something from elsewhere. Nothing is
            written then.
    """
    source, folder = Path(path), Path(output_dir)
    executed = execute_notebook(source, parameters, on_progress=on_progress)
    _refuse(source.name, check_outputs(executed, source.parent))
    used = executed.metadata["xai"]
    footer = [
        f"Made by executing notebooks/{source.name}: its text, with the figures and numbers of this run.",
        *describe_provenance(used["networks"], used["pictures"]),
    ]
    html = render_page(executed, name=source.stem, meta=page_meta(executed), footer=footer)
    _refuse(source.name, check_page(html))
    folder.mkdir(parents=True, exist_ok=True)
    made = Export(folder / f"{source.stem}.html", folder / source.name)
    write_atomic(made.notebook, nbformat.writes(executed).encode())
    write_atomic(made.page, html.encode())
    return made


def export_all(
    notebooks_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    images: Sequence[str | os.PathLike[str]] | None = None,
    origin: str | None = None,
    only: Collection[str] = (),
    on_progress: Progress | None = None,
) -> list[Export]:
    """Export every notebook of a folder, and write the index of all that were exported.

    Args:
        notebooks_dir: holds the stored notebooks.
        output_dir: gets the pages, the executed notebooks and "index.html".
        model, weights, images: replace the notebooks' own MODEL, WEIGHTS and IMAGES where given. Weights are as for
            `load_model`, "none" being an untrained network; a model without weights gets its default ones. A file of
            weights shows as its bare name.
        origin: one sentence that says where the weights come from; the pages show it.
        only: stems such as "01_feature_maps", or their numbers such as "01"; empty: all.
        on_progress: called with the fraction of all work done and a text; may raise ``Cancelled``.

    Raises:
        UserError: there are no such notebooks, or as for `export_notebook`.
    """
    given = {"MODEL": model, "WEIGHTS": weights or (model and "default"), "IMAGES": images, "ORIGIN": origin}
    parameters = {name: None if value == "none" else value for name, value in given.items() if value is not None}
    paths = _choose(Path(notebooks_dir), only)
    exports = []
    for number, path in enumerate(paths):

        def tell(fraction: float, text: str, done: int = number) -> None:
            if on_progress is not None:
                on_progress((done + fraction) / len(paths), text)

        known = parameter_names(read_notebook(path))  # one that asks a clustering run has no MODEL
        mine = {name: value for name, value in parameters.items() if name in known}
        exports.append(export_notebook(path, output_dir, mine, on_progress=tell))
    index = render_index(Path(output_dir))
    _refuse("index.html", check_page(index))
    write_atomic(Path(output_dir) / "index.html", index.encode())
    return exports


def _choose(folder: Path, only: Collection[str]) -> list[Path]:
    """List the stored notebooks of a folder, all or those named."""
    paths = [path for path in sorted(folder.glob("*.ipynb")) if not path.name.startswith(".")]
    if not paths:
        raise UserError(f"There are no notebooks in {str(folder)!r}.")
    stems = {key: path for path in paths for key in (path.stem, path.stem.split("_")[0])}
    for name in only:
        if name not in stems:
            raise one_of("notebook", name, [path.stem for path in paths])
    chosen = {stems[name] for name in only}
    return [path for path in paths if path in chosen or not only]


def _refuse(name: str, problems: list[str]) -> None:
    """Turn problems into one error."""
    if problems:
        more = f" There are {len(problems) - 1} more problems." if len(problems) > 1 else ""
        raise UserError(f"{name} cannot be exported. {problems[0]}{more}")
