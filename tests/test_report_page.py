"""The Report page filters approaches, shows notebooks, and gives away what somebody collected: xai.ui.panels.report."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from pictures import ASYMMETRIC, encode
from streamlit.testing.v1 import AppTest

from xai.hohman import QUESTIONS
from xai.report.approaches import APPROACHES
from xai.report.checks import check_page
from xai.report.collection import View, to_page, to_zip
from xai.spec import RunSpec
from xai.ui import basket

ROOT = Path(__file__).resolve().parent.parent
SPEC = RunSpec(model="resnet18", method="grad_cam", weights="untrained", image="cat", layer="layer4", target=(281,))


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XAI_MODEL", "resnet18")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def page():
    return AppTest.from_file(str(ROOT / "pages" / "report.py"), default_timeout=300)


def shown(at: AppTest) -> list[str]:
    return [each.label for each in at.expander if each.label in {a.title for a in APPROACHES.values()}]


def test_questions_filter_the_approaches(page):
    at = page.run()
    assert not at.exception and shown(at) == [approach.title for approach in APPROACHES.values()]
    why, who = QUESTIONS["why"][1], QUESTIONS["who"][2]
    at.selectbox(key="ask_why").select(why).run()
    at.selectbox(key="ask_who").select(who).run()
    wanted = [a.title for a in APPROACHES.values() if why in a.categories["why"] and who in a.categories["who"]]
    assert shown(at) == wanted and "Class activation maps" in wanted and "Filters" not in wanted


def test_a_view_of_another_page_lands_in_the_report():
    at = AppTest.from_file(str(ROOT / "xai" / "ui" / "frame.py"), default_timeout=300).run()
    at = at.switch_page(str(ROOT / "pages" / "filters.py")).run()
    at.button(key=basket.BUTTON).click().run()
    at.button(key=basket.BUTTON).click().run()
    assert not at.exception
    at = at.switch_page(str(ROOT / "pages" / "report.py")).run()
    assert not at.exception
    [area] = at.text_area
    area.input("Stripes & <dots>").run()
    [view] = at.session_state["_basket"]
    assert view.spec.method == "filters" and view.png[:4] == b"\x89PNG"
    assert view.title.startswith("Filters")
    at.button(key=f"remove_{area.key}").click().run()
    assert at.session_state["_basket"] == [] and not at.text_area


def test_an_exported_notebook_is_shown(page):
    at = page.run()
    at.selectbox(key="notebook").select("02_filters").run()
    assert not at.exception
    assert "DownloadButton(label='HTML')" in str(at.main)


def views() -> list[View]:
    png = encode(ASYMMETRIC)
    return [
        View("Grad-CAM · cat", png, SPEC, b"1,2\n", None, "Its <b>head</b> & *ears*"),
        View("Own", png, SPEC, None, png, ""),
    ]


def test_a_page_of_views_loads_nothing_and_runs_nothing():
    html = to_page("What <I> saw", views())
    assert check_page(html) == []
    assert "Its &lt;b&gt;head&lt;/b&gt; &amp; *ears*" in html and "<h1>What &lt;I&gt; saw</h1>" in html
    assert html.count("<img") == 2 and "data:text/csv;base64,MSwyCg==" in html


def test_a_zip_of_views_holds_everything_to_make_them_again():
    archive = zipfile.ZipFile(io.BytesIO(to_zip("Title", views())))
    assert set(archive.namelist()) == {
        "report.md", "figures/01.png", "figures/01.json", "figures/01.csv", "figures/02.png", "figures/02.json",
        "figures/02.picture.png",
    }  # fmt: skip
    assert RunSpec.from_json(archive.read("figures/01.json").decode()) == SPEC
    text = archive.read("report.md").decode()
    assert "![Grad-CAM · cat: grad\\_cam of cat by resnet18 (untrained)](figures/01.png)" in text
    assert "xai explain --spec figures/02.json --img figures/02.picture.png" in text
    assert "Its \\<b\\>head\\</b\\> & \\*ears\\*" in text
