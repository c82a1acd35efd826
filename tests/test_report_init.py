"""A report of one's own is begun by what can be computed, and check tells what is left: xai.report.skeleton."""

from __future__ import annotations

import re

import pytest
import safetensors.torch
from pictures import encode, photograph
from test_report_build import Small, small_model

import xai
from xai.cli import main
from xai.errors import UserError
from xai.report.findings import FINDINGS
from xai.report.project import Project
from xai.report.rubric import grade
from xai.report.skeleton import start_report
from xai.report.source import read_notebook


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A report of two photographs and a tiny network, as the command begins it."""
    folder = tmp_path_factory.mktemp("own")
    for number, name in enumerate(("tabby", "palace")):
        (folder / "photos" / name).mkdir(parents=True)
        picture = photograph().rotate(90 * number, expand=True)
        (folder / "photos" / name / "one.png").write_bytes(encode(picture))
    weights = folder / "small.safetensors"
    state = {name: value.contiguous() for name, value in small_model().network.state_dict().items()}
    safetensors.torch.save_file(state, weights)
    (folder / "names.txt").write_text("tabby\nespresso\npalace\n")
    module = f"{Small.__module__}:{Small.__qualname__}"
    command = ["report", "init", str(folder / "report"), "--img", str(folder / "photos" / "*" / "*.png"), "--quiet"]
    command += ["--model", module, "--weights", str(weights), "--input-size", "32"]
    assert main([*command, "--class-names", str(folder / "names.txt")]) == 0
    return folder / "report"


def test_all_that_can_be_computed_is_filled_in(started):
    text = (started / "README.md").read_text()
    assert "Not measured yet" not in text
    assert text.count("![") >= 2 + len(FINDINGS) and (started / "pictures" / "tabby" / "one.png").is_file()
    project = Project.read(started)
    assert {each["verdict"] for each in project.measured["pictures"]} <= {"correct", "wrong"}
    assert [section.heading.title for section in project.approaches][:2] == ["Filters", "Feature maps"]


def test_check_tells_what_is_left_to_write_and_nothing_else(started):
    failed = {each.check.id: each.findings for each in grade(started) if not each.passed}
    prompts = failed["G-01b"]
    lines = (started / "README.md").read_text().splitlines()
    assert [finding.line for finding in prompts] == [n for n, line in enumerate(lines, start=1) if "TODO" in line]
    assert len(prompts) > 8 * len(FINDINGS)
    assert set(failed) <= {"G-01b", "G-02", "G-04c", "G-09", "G-12", "G-14", "G-17", "G-18"}
    assert any("has not been exported" in finding.sentence for finding in failed["G-04c"])


def test_the_notebook_loads_the_copies(started):
    notebook = read_notebook(started / "notebooks" / "01_feature_maps.ipynb")
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert '"../model/small.safetensors"' in cell.source
    assert re.search(r'^IMAGES = \["\.\./pictures/\w+/one\.png", ', cell.source, re.MULTILINE)
    assert (started / "model" / "small.safetensors").is_file()


def test_figures_of_one_s_own_photographs_are_made_again(started):
    from xai.report.recompute import SAME, recompute

    weights = started / "model" / "small.safetensors"
    named = f"{Small.__module__}:{Small.__qualname__}"  # the name stands in the figures
    model = xai.load_model(named, weights=weights, input_size=32, class_names=["tabby", "espresso", "palace"])
    assert [each.sentence for each in recompute(started, model) if each.state != SAME] == []


def test_mistakes_are_sentences(started, tmp_path, capsys):
    with pytest.raises(UserError, match="is not empty"):
        start_report(started, [], model="resnet18", weights="none")
    assert main(["report", "init", str(tmp_path / "new"), "--img", "cat", "--model", "resnet18"]) == 2
    assert "photographs of your own" in capsys.readouterr().err
