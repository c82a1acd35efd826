"""Begin a report about one's own network and photographs: folders, README with prompts, environment, a notebook."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat

from xai.errors import UserError
from xai.io.files import write_atomic
from xai.io.model_files import MODEL_FILE, is_model_file, model_file_beside, read_model_file
from xai.report.approaches import APPROACHES
from xai.report.findings import FINDINGS
from xai.report.project import EXPORTED, NOTEBOOKS, QUESTIONS
from xai.report.rules.environment import requirement_name
from xai.report.source import PARAMETERS_TAG, has_tag, read_notebook
from xai.resources import project_file

PICTURES, MODEL = "pictures", "model"
NOTEBOOK = "01_feature_maps.ipynb"
DISTRIBUTION = "xai-dashboard"
PROMPTS = {
    "Why": "what do you want to find out by it?",
    "What": "what of your network does it look at?",
    "When": "during or after training, and why then?",
    "Who": "who is to read it?",
    "How": "in which form is it shown?",
    "Where": "on which kind of network and in which field?",
}


def start_report(root: Path, pictures: Sequence[Path], *, model: str, weights: str | None) -> list[Path]:
    """Write the skeleton of a report into a new or empty folder.

    Args:
        root: the folder; made when missing.
        pictures: photographs, copied into its pictures/; one whose folder is named after a class is judged by it.
        model, weights: as typed; files are copied into its model/, and the notebook loads them from there.

    Returns:
        The copies of the photographs.

    Raises:
        UserError: the folder holds something already, or two photographs share a name.
    """
    if root.exists() and any(root.iterdir()):
        raise UserError(f"The folder '{root}' is not empty; name a new one.")
    copies = _copy_pictures(root, pictures)
    model, weights = _copy_network(root, model, weights)
    for name in (NOTEBOOKS, f"{EXPORTED}/figures"):
        (root / name).mkdir(parents=True, exist_ok=True)
    write_atomic(root / "README.md", _readme().encode())
    write_atomic(root / "environment.yml", _environment().encode())
    names = [f"../{copy.relative_to(root).as_posix()}" for copy in copies]
    write_atomic(root / NOTEBOOKS / NOTEBOOK, _notebook(model, weights, names).encode())
    return copies


def _copy_pictures(root: Path, pictures: Sequence[Path]) -> list[Path]:
    """Copy photographs, each into a folder named after the one it lies in: that may be its class."""
    copies = []
    for picture in pictures:
        target = root / PICTURES / picture.resolve().parent.name / picture.name
        if target.exists():
            raise UserError(f"Two photographs are called '{picture.parent.name}/{picture.name}'; rename one.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
        copies.append(target)
    return copies


def _copy_network(root: Path, model: str, weights: str | None) -> tuple[str, str | None]:
    """Copy the files of a network, and say how the notebook names it; one that has none stays as it was named."""
    folder, files, named = root / MODEL, [], (model, weights)
    if is_model_file(model):
        described = Path(model) if Path(model).is_file() else Path(model) / MODEL_FILE
        files, named = [described, read_model_file(model).weights], (f"../{MODEL}", "default")
    elif weights is not None and Path(weights).is_file():
        beside = Path(weights).with_name(MODEL_FILE)
        files = [Path(weights), *([beside] if model_file_beside(Path(weights)) else [])]
        named = model, f"../{MODEL}/{Path(weights).name}"
    for file in files:
        folder.mkdir(exist_ok=True)
        shutil.copyfile(file, folder / (MODEL_FILE if file.suffix == ".json" else file.name))
    return named


def _readme() -> str:
    """Write the README: headings, generated parts, and a prompt wherever somebody has to write."""
    sections = "\n\n".join(_section(key) for key in FINDINGS)
    return f"""# Report: TODO: name what your report is about

## Framework

TODO: say in your own words which six questions the survey by Hohman et al. (2018, arXiv 1801.06889) asks.

{_part("drawing")}

## Questions of this project

TODO: say what you want to know about your network; the table gives what the tools are made for.

{_part("project")}

{_part("overview")}

## Model

TODO: say what your network does, on what it was trained, where it comes from and under which licence.

{_part("model")}

## Data

TODO: say what the photographs show, how many there are, of which classes, where they are from, and their terms.

{_part("data")}

## Approaches

{sections}

## Summary of approaches

{_part("comparison")}

TODO: say where the approaches agree, where they part, and which you trust for what.

### What was learned about the network

{_part("lessons")}

TODO: say what you know about your network now that its accuracy does not show.

## Demo

```sh
xai app
```

TODO: show a picture of the app on one of your photographs, saved under {EXPORTED}/screenshots/.

## Authorship

| Who | What | Share |
|---|---|---|
| TODO: name | TODO: part | TODO % |

## Development environment

TODO: say how to clone this, create the environment from environment.yml, and start notebooks and app.
"""


def _section(key: str) -> str:
    approach = APPROACHES[key]
    asked = "\n\n".join(f"#### {question}\n\nTODO: {PROMPTS[question]}" for question in QUESTIONS)
    return f"""### {approach.title}

{asked}

#### Summary

TODO: sum up the approach in your own words, with its formula, its parameters and its source.

{_part(f"figures {key}")}

#### Categorisation

{_part(f"categories {key}")}

#### Interpretation

{_part(f"findings {key}")}

TODO: read your figures: a correct and a wrong prediction, what both say about your network, and a limit."""


def _part(name: str) -> str:
    return f"<!-- generated: {name} -->\n<!-- /generated -->"


def _environment() -> str:
    """List what xai needs, in the versions that are installed here."""
    needed = importlib.metadata.requires(DISTRIBUTION) or []
    core = sorted({requirement_name(line) for line in needed if "extra ==" not in line})
    pins = [f"      - {name}=={importlib.metadata.version(name)}" for name in core]
    own = f"      - {DISTRIBUTION}=={importlib.metadata.version(DISTRIBUTION)}  # from its repository: pip install PATH"
    return "\n".join(["name: report", "dependencies:", "  - python=3.11", "  - pip", "  - pip:", *pins, own]) + "\n"


def _notebook(model: str, weights: str | None, pictures: Sequence[str]) -> str:
    """Copy the project's notebook about feature maps, with this network and these photographs."""
    notebook = read_notebook(project_file(f"{NOTEBOOKS}/{NOTEBOOK}"))
    shown = ", ".join(f'"{name}"' for name in pictures[:4])
    values = {"MODEL, WEIGHTS": f'"{model}", {_quoted(weights)}', "IMAGES": f"[{shown}]", "ORIGIN": '""'}
    for cell in notebook.cells:
        if cell.cell_type == "code" and has_tag(cell, PARAMETERS_TAG):
            cell.source = "\n".join(_assign(line, values) for line in cell.source.splitlines())
    return nbformat.writes(notebook)


def _assign(line: str, values: Mapping[str, str]) -> str:
    """Give a line that assigns one of these names its new value."""
    found = (f"{name} = {value}" for name, value in values.items() if line.startswith(f"{name} = "))
    return next(found, line)


def _quoted(weights: str | None) -> str:
    return '"default"' if weights is None else "None" if weights == "none" else f'"{weights}"'
