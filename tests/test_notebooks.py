"""Notebooks run, export to pages that load nothing, say when they are stale, and keep the house rules: xai.report."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import PIL.Image
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from scan_runs import make_run

from xai.errors import Cancelled, UserError
from xai.report.checks import MAX_BYTES, check_page
from xai.report.notebooks import check_fresh, execute_notebook, export_all, export_notebook
from xai.report.source import inject_parameters, parameter_names, read_notebook, source_digest

ROOT = Path(__file__).resolve().parents[1]
STORED = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [*(ROOT / "exported_html" / f"{path.stem}.html" for path in STORED), ROOT / "exported_html" / "index.html"]

FIGURE = """%matplotlib inline
%load_ext xai.report.display
from matplotlib.figure import Figure
figure = Figure(figsize=(3, 2), label='A rising "line" & more')
figure.subplots().plot([1, 2])
figure"""
USE = """import pandas as pd
import xai
model, picture = xai.load_model("resnet18", weights=None), xai.load_image(IMAGES[0])
print(MODEL, WEIGHTS)
pd.DataFrame({"answer": [42]})"""


def make_notebook(folder: Path, *code: str, name: str = "01_tiny.ipynb") -> Path:
    markdown, cell = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    text = "# Is `this` a question?\n\nA *short* answer with $x_c^2 < 3$.\n\n$$\\frac{a}{b}$$\n\n## One & two"
    parameters = 'MODEL, WEIGHTS = "resnet18", None\nIMAGES = ["cat"]\nORIGIN = ""'
    cells = [
        markdown(text, id="title"),
        cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
        *(cell(source, id=f"code-{number}") for number, source in enumerate(code)),
        markdown("## What this does not show\n\nAll else.", id="limits"),
    ]
    path = folder / name
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny notebook, exported once: the stored notebook, the result, and what progress was told."""
    folder = tmp_path_factory.mktemp("notebooks")
    weights = folder / "private" / "secret.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    told: list[tuple[float, str]] = []
    path = make_notebook(folder, USE, FIGURE)
    (export,) = export_all(
        folder, folder / "out", weights=weights, model="alexnet", on_progress=lambda *event: told.append(event)
    )
    return path, export, told


def test_export_writes_page_notebook_and_index(exported):
    _, export, told = exported
    assert [export.page.name, export.notebook.name] == ["01_tiny.html", "01_tiny.ipynb"]
    assert (export.page.parent / "index.html").is_file()
    assert not list(export.page.parent.glob(".*")), "temporary files are gone"
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert "01_tiny: cell 2 of" in told[1][1]


def test_executed_notebook_is_complete_and_says_what_it_used(exported):
    _, export, _ = exported
    notebook = read_notebook(export.notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert notebook.metadata["title"] == "Is this a question?"
    used = notebook.metadata["xai"]
    assert [(n["name"], n["weights"], len(n["digest"])) for n in used["networks"]] == [("resnet18", "untrained", 64)]
    assert [(p["name"], p["hint"]) for p in used["pictures"]] == [("cat", "sample:cat")]


def test_parameters_are_injected_after_the_tagged_cell_and_paths_stay_private(exported):
    path, export, _ = exported
    cells = read_notebook(export.notebook).cells
    assert cells[2].source.splitlines()[1:] == ['MODEL = "alexnet"', 'WEIGHTS = "secret.safetensors"']
    assert cells[3].outputs[0].text == "alexnet secret.safetensors\n"
    for made in (export.page, export.notebook):
        assert str(path.parent) not in made.read_text(encoding="utf-8")


def test_page_is_self_contained_and_readable(exported):
    html = exported[1].page.read_text(encoding="utf-8")
    assert check_page(html) == []
    assert '<html lang="en">' in html and html.count("<h1") == 1
    assert "<script" not in html and "http://" not in html.replace("http://www.w3.org/1998/Math/MathML", "")
    assert html.count("<math") == 2 and "$" not in re.sub(r"(?s)<style>.*?</style>", "", html)
    assert 'href="#one-two"' in html and 'id="one-two"' in html
    assert ">42<" in html


def test_figure_carries_alt_text_and_a_crisp_picture(exported):
    notebook = read_notebook(exported[1].notebook)
    output = next(o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {}))
    assert output.metadata["image/png"] == {"width": 300, "height": 200, "alt": 'A rising "line" & more'}
    assert PIL.Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).size == (450, 300)
    page = exported[1].page.read_text(encoding="utf-8")
    assert re.search(r"alt='A rising \"line\" &amp; more'", page) or "A rising &quot;line&quot; &amp; more" in page


def test_index_has_question_summary_network_and_picture(exported):
    html = (exported[1].page.parent / "index.html").read_text(encoding="utf-8")
    assert check_page(html) == []
    assert 'href="01_tiny.html"' in html and 'href="01_tiny.ipynb"' in html
    assert "Is this a question?" in html and "A short answer" in html and "resnet18, weights untrained" in html
    assert html.count("<img") == 1 and 'alt="A rising &#34;line&#34; &amp; more"' in html


def test_fresh_export_and_every_way_to_be_stale(exported, tmp_path):
    path, export, _ = exported
    stored, page, executed = (tmp_path / name for name in ("01_tiny.ipynb", "x/01_tiny.html", "x/01_tiny.ipynb"))
    page.parent.mkdir()

    def fresh_copy():
        stored.write_bytes(path.read_bytes())
        page.write_bytes(export.page.read_bytes())
        executed.write_bytes(export.notebook.read_bytes())

    fresh_copy()
    assert check_fresh(stored, page) == []
    for target, old, new, expected in [
        (stored, "A *short* answer", "A *long* answer", "has changed since"),
        (executed, "A *short* answer", "A *long* answer", "has changed since"),
        (executed, "alexnet secret.safetensors\\n", "resnet50\\n", "another run"),
        (page, 'name="xai:outputs"', 'name="xai:other"', "another run"),
    ]:
        fresh_copy()
        text = target.read_text(encoding="utf-8")
        assert old in text
        target.write_text(text.replace(old, new), encoding="utf-8")
        assert any(expected in reason for reason in check_fresh(stored, page)), expected
    fresh_copy()
    text = json.loads(executed.read_text(encoding="utf-8"))
    text["metadata"]["xai"]["pictures"][0]["digest"] = "0" * 64
    text["metadata"]["xai"]["networks"][0]["digest"] = "0" * 64
    executed.write_text(json.dumps(text), encoding="utf-8")
    reasons = " ".join(check_fresh(stored, page))
    assert "other weights" in reasons and "other pictures" in reasons and "'cat' is not the one" in reasons
    executed.unlink()
    assert check_fresh(stored, page) == ["01_tiny.ipynb has not been exported: 01_tiny.ipynb missing."]


def test_source_digest_ignores_outputs_and_injected_cells_only(tmp_path):
    notebook = read_notebook(make_notebook(tmp_path, "1 + 1"))
    before = source_digest(notebook)
    assert parameter_names(notebook) == ["MODEL", "WEIGHTS", "IMAGES", "ORIGIN"]
    inject_parameters(notebook, {"MODEL": "x", "WEIGHTS": None, "IMAGES": ["a", "b"]})
    assert notebook.cells[2].source.splitlines()[1:] == ['MODEL = "x"', "WEIGHTS = None", 'IMAGES = ["a", "b"]']
    assert source_digest(notebook) == before
    notebook.cells[3].source += " "
    assert source_digest(notebook) != before


def test_failing_cell_is_one_sentence_and_writes_nothing(tmp_path):
    path = make_notebook(tmp_path, "import xai\nraise xai.UserError('No such thing.')")
    with pytest.raises(UserError, match=r"01_tiny.ipynb: cell 3 stopped with UserError: No such thing\."):
        export_notebook(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (FIGURE.replace("label='A rising \"line\" & more'", "dpi=50"), "Cell 3 shows a figure without alt text"),
        (
            "from IPython.display import display\n"
            "display({'application/vnd.plotly.v1+json': {}, 'text/html': ''}, raw=True)",
            "Cell 3 shows a figure that needs a script",
        ),
        ("import os; print(os.getcwd())", "Cell 3 prints the private path"),
        ('from IPython.display import HTML; HTML(\'<img alt="" src="https://example.org/a.png">\')', "page loads"),
    ],
)
def test_export_refuses_what_a_page_must_not_have(tmp_path, code, sentence):
    with pytest.raises(UserError, match=f"01_tiny.ipynb cannot be exported. .*{sentence}"):
        export_notebook(make_notebook(tmp_path, code), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<link rel="stylesheet" href="https://example.org/a.css">', "loads"),
        ('<img src="//example.org/a.png" alt="a">', "loads"),
        ('<img src="data:image/png;base64,AA">', "without alt"),
        ("<script>1</script>", "<script>"),
        ('<p style="background: url(https://example.org/a.png)">', "style loads"),
        ("<style>@import 'https://example.org/a.css';</style>", "style loads"),
        ("<h1>again</h1>", "2 headings"),
    ],
)
def test_check_page_finds(html, problem):
    good = '<html lang="en"><h1>Title</h1><a href="https://example.org">link</a></html>'
    assert check_page(good) == []
    assert any(problem in found for found in check_page(good + html))


def test_user_mistakes_are_sentences(tmp_path):
    path = make_notebook(tmp_path, "1")
    with pytest.raises(UserError, match=r"Unknown notebook parameter 'MODLE'.*did you mean 'MODEL'"):
        execute_notebook(path, {"MODLE": "x"})
    with pytest.raises(UserError, match="cannot be read"):
        execute_notebook(tmp_path / "none.ipynb")
    with pytest.raises(UserError, match="no notebooks in"):
        export_all(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="Unknown notebook '07'"):
        export_all(tmp_path, tmp_path / "out", only=["07"])
    (tmp_path / "text.ipynb").write_text("no JSON")
    with pytest.raises(UserError, match="is not a notebook"):
        execute_notebook(tmp_path / "text.ipynb")


def test_execution_can_be_cancelled(tmp_path):
    def cancel(fraction, text):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        export_notebook(make_notebook(tmp_path, "1", "2"), tmp_path / "out", on_progress=cancel)
    assert not (tmp_path / "out").exists()


def asks_a_run(path: Path) -> bool:
    return parameter_names(read_notebook(path))[:3] == ["RUN", "HEAD", "IMAGES"]


def test_there_are_notebooks():
    stems = [path.stem for path in STORED]
    assert stems[:4] == ["01_feature_maps", "02_filters", "03_grad_cam", "04_lime"]
    assert {"06_comparison", "07_concepts", "08_adversarial"} <= set(stems)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_notebook_keeps_the_rules(path):
    notebook = read_notebook(path)
    text = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    title, *rest = notebook.cells[0].source.splitlines()
    assert title.startswith("# ") and title.endswith("?") and any(line.strip() for line in rest)
    assert sum(line.startswith("# ") for cell in text for line in cell.source.splitlines()) == 1
    assert len(text) >= len(code)
    assert code[0].source.startswith("%matplotlib inline\n") and "import xai" in code[0].source
    assert parameter_names(notebook)[:4] == ["MODEL", "WEIGHTS", "IMAGES", "ORIGIN"] or asks_a_run(path)
    for cell in code:
        assert not cell.outputs and cell.execution_count is None, f"{cell.id} is stored with outputs"
        assert len(cell.source.splitlines()) <= 10, cell.id
        assert not re.search(r"^\s*(def|class|for|while) |\blambda\b|import (torch|numpy)", cell.source, re.M), cell.id
    for before, after in zip(notebook.cells, notebook.cells[1:], strict=False):
        if before.cell_type == "code" and "finding.figure" in before.source:
            assert after.cell_type == "markdown", f"the figure of {before.id} is followed by text that reads it"
    headings = [line for cell in text for line in cell.source.splitlines() if line.startswith("## ")]
    assert headings[-1] == "## What this does not show" and text[-1] is notebook.cells[-1]
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_committed_export_is_fresh_and_sound(path):
    page = ROOT / "exported_html" / f"{path.stem}.html"
    assert check_fresh(path, page) == []
    html = page.read_text(encoding="utf-8")
    assert check_page(html) == [] and len(html) < MAX_BYTES
    executed = read_notebook(page.with_suffix(".ipynb"))
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    network = executed.metadata["xai"]["networks"][0]
    assert network["weights"] != "untrained" and network["digest"][:12] in html
    told = "Run embedded:" if asks_a_run(path) else "top-1"
    assert told in html, "the page says what its network is, and how good"
    assert all(picture["hint"].startswith("sample:") for picture in executed.metadata["xai"]["pictures"])


def test_committed_index_lists_every_notebook():
    html = PAGES[-1].read_text(encoding="utf-8")
    assert check_page(html) == []
    for path in STORED:
        assert f'href="{path.stem}.html"' in html


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("path", [p for p in STORED if not asks_a_run(p)], ids=lambda path: path.stem)
def test_stored_notebook_runs_with_a_small_untrained_network(path, tmp_path):
    export = export_notebook(path, tmp_path, {"MODEL": "bundled", "WEIGHTS": None, "IMAGES": ["cat", "coffee"]})
    html = export.page.read_text(encoding="utf-8")
    assert "bundled (untrained)" in html and "Its weights are random" in html
    assert check_fresh(path, export.page) == []


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("path", [p for p in STORED if asks_a_run(p)], ids=lambda path: path.stem)
def test_stored_notebook_of_clusters_runs_with_another_run(path, tmp_path):
    make_run(tmp_path / "mine")
    export = export_notebook(path, tmp_path, {"RUN": str(tmp_path / "mine"), "IMAGES": ["coffee"], "POINTED": 10})
    assert "Run mine:" in export.page.read_text(encoding="utf-8") and check_fresh(path, export.page) == []


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_opens_without_a_network_and_fits_a_phone(page: Path, chromium: Browser):
    context = chromium.new_context(offline=True, viewport={"width": 400, "height": 800})
    try:
        tab = context.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        tab.wait_for_load_state("networkidle")
        assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        broken = "[...document.images].filter(image => !image.naturalWidth || !image.alt.trim()).length"
        assert tab.evaluate(broken) == 0
        results = Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})
        assert results.violations_count == 0, results.generate_report()
    finally:
        context.close()
