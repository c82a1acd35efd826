"""A small project with a report in which nothing is wrong, for tests to copy and to damage."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
from pictures import ASYMMETRIC, encode

from xai.hohman import QUESTIONS
from xai.report.approaches import APPROACHES
from xai.report.fresh import page_meta
from xai.report.html import render_page
from xai.spec import RunSpec

REPORTED = ("feature_maps", "cam", "gradients", "perturbation")
DIGEST = "5" * 64
NETWORK = {
    "name": "resnet18", "weights": "own", "title": "resnet18 · own", "digest": DIGEST, "parameters": 1000,
}  # fmt: skip


def write_project(root: Path) -> Path:
    """Write README.md, environment.yml, one notebook with its export, and figures into an empty folder."""
    for name in ("notebooks", "exported_html/figures", "pages"):
        (root / name).mkdir(parents=True)
    (root / "README.md").write_text(readme(), encoding="utf-8")
    (root / "pages" / "start.py").write_text("import json\n\nimport numpy\n", encoding="utf-8")
    (root / "environment.yml").write_text(
        "name: xai\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n      - numpy==2.1\n", encoding="utf-8"
    )
    for key in REPORTED:
        figure = root / "exported_html" / "figures" / f"{key}.png"
        figure.write_bytes(encode(ASYMMETRIC))
        spec = RunSpec(model="resnet18", method="grad_cam", weights="own", weights_digest=DIGEST, image="cat")
        spec.save(figure.with_suffix(".json"))
    measured = {"format": 1, "network": NETWORK, "approaches": list(REPORTED)}
    (root / "exported_html" / "report.json").write_text(json.dumps(measured), encoding="utf-8")
    write_notebook(root)
    return root


def write_notebook(root: Path) -> None:
    """Write a notebook, and what executing and exporting it gives."""
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [markdown("# What is one and one?\n\nTwo.", id="title"), code("import numpy", id="first")]
    cells += [code("numpy.add(1, 1)", id="second"), markdown("A figure of it.", id="read")]
    stored = nbformat.v4.new_notebook(cells=cells)
    (root / "notebooks" / "01_sum.ipynb").write_text(nbformat.writes(stored), encoding="utf-8")
    for number, cell in enumerate((cell for cell in stored.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = number
    picture = {"image/png": "iVBORw0KGgo="}
    output = nbformat.v4.new_output("display_data", picture, metadata={"image/png": {"alt": "Two"}})
    stored.cells[2].outputs = [output]
    used = {"networks": [{"name": "resnet18", "weights": "own", "digest": DIGEST}], "pictures": []}
    stored.metadata |= {"title": "What is one and one?", "xai": used}
    export = root / "exported_html" / "01_sum.ipynb"
    export.write_text(nbformat.writes(stored), encoding="utf-8")
    page = render_page(stored, name="01_sum", meta=page_meta(stored), footer=[])
    export.with_suffix(".html").write_text(page, encoding="utf-8")


def readme() -> str:
    """Write a README whose report passes every check."""
    sections = "\n".join(_section(key, number) for number, key in enumerate(REPORTED, start=1))
    head = "| Approach | " + " | ".join(question.capitalize() for question in QUESTIONS) + " |"
    rows = "\n".join(
        f"| {APPROACHES[key].title} | "
        + " | ".join("<br>".join(names) for names in APPROACHES[key].categories.values())
        + " |"
        for key in REPORTED
    )
    return f"""# A small project

See [the report](#report) and [the page](pages/start.py).

# Report

## Framework

Six questions are asked of every way to look into a network.

## Questions of this project

Every approach answers the six questions in words of the survey.

{head}
|{"---|" * 7}
{rows}

## Model

The network has 1000 parameters, its input is 64 x 64 pixels, it is right for 50.0 % and under an open licence.

| Layer | Shape |
|---|---|
| conv1 | 8 x 8 |

## Data

There are 1000 photographs of 10 classes from a public set; its terms allow to use them.

## Approaches

{sections}

## Summary of approaches

| Method | Agreement | Cost | Misses |
|---|---|---|---|
| Grad-CAM | 0.5 | 1 | fine detail |
| Random (control) | 0.0 | 0 | everything |

### What was learned about the network

{"It looks at the head of the cat and not at the grass around it. " * 3}

## Demo

The demo opens in a browser and shows every approach.

```sh
xai app
```

![The start page with a photograph of a cat](exported_html/figures/cam.png)

*Figure 9. The start page.*

## Authorship

| Who | What | Share |
|---|---|---|
| A | code | 60 % |
| B | text | 40 % |

## Development environment

Clone, create the environment, activate it, and start the app.
"""


def _section(key: str, number: int) -> str:
    approach = APPROACHES[key]
    questions = "\n\n".join(
        f"#### {question}\n\nThis answers it for the network at hand."
        for question in ("Why", "What", "When", "Who", "How", "Where")
    )
    table = "\n".join(
        f"| {question.capitalize()} | {'; '.join(names)} | {approach.reasons[question]} |"
        for question, names in approach.categories.items()
    )
    return f"""### {approach.title}

{questions}

#### Summary

A map is a weighted sum $\\sum_k w_k A_k$ of activations (Selvaraju et al. 2017, arXiv 1610.02391).

![A map over the photograph of a cat](exported_html/figures/{key}.png)

*Figure {number}. A map over a photograph.*

#### Categorisation

| Question | Category | Reason |
|---|---|---|
{table}

Each category is taken from the list of the survey.

#### Interpretation

The cat is right and the map lies on its head; the rocket is wrong. A limit: fine detail is lost.
"""
