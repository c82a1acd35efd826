"""One function and one entry make a method: it is then offered by library, commands, pages and comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from streamlit.testing.v1 import AppTest

import xai
from xai import registry
from xai.cli import main
from xai.compute.attribution import Attribution
from xai.method import Method, Param

ROOT = Path(__file__).resolve().parent.parent


def ramp(trace, targets, *, layer=None, on_progress=None, slope: float = 2.0) -> Attribution:
    """Rise from left to right."""
    height, width = trace.pixels.shape[2:]
    row = torch.linspace(0, slope, width).expand(height, width)
    return Attribution(torch.stack([row * (1 + target) for target in targets]))


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> str:
    entry = Method(
        key="ramp",
        aliases=("slope",),
        label="Ramp of the tests",
        function=ramp,
        family="Controls",
        needs_layer=False,
        signed=False,
        speed="live",
        supports=lambda model: None,
        paper="none",
        limits="It knows nothing.",
        hohman=registry.METHODS["random"].hohman,
        params=(Param("slope", 2.0, "how steep", low=0.0, high=9.0, step=0.5),),
    )
    monkeypatch.setitem(registry._BY_KEY, "ramp", entry)
    return "ramp"


def test_library_and_comparison_offer_it(added: str) -> None:
    model = xai.load_model("squeezenet1_1", weights=None, input_size=64)
    assert xai.explain(model, "cat", "slope", target=0, slope=4).map[0, 0, -1] == 4
    assert added in xai.METHODS and added in set(xai.compare(model, "cat")["method"])


def test_commands_offer_it(
    added: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["methods", "--json"]) == 0
    assert added in [row["key"] for row in json.loads(capsys.readouterr().out)]
    network = ["--model", "squeezenet1_1", "--weights", "none", "--input-size", "64", "--quiet"]
    assert main(["explain", "--img", "cat", "--method", "ramp", "--slope", "5", *network, "--output", "r.png"]) == 0
    assert np.asarray(PIL.Image.open("r.png")).std() > 10
    assert json.loads(Path("r.json").read_text())["params"] == {"slope": 5.0}


@pytest.mark.parametrize("page", ["attribution", "compare"])
def test_pages_offer_it(added: str, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAI_MODEL", "squeezenet1_1")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    at = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=120).run()
    assert not at.exception
    offered = at.selectbox(key="method").options if page == "attribution" else at.get_by_key("methods").options
    assert "Ramp of the tests" in list(offered)
