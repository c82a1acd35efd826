"""Generated parts are written once and for all, figures are made again, and what differs is said: xai.report."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from report_project import write_project
from torch import nn

import xai
from xai.cli import main
from xai.errors import UserError
from xai.figures.questions import questions_svg
from xai.hohman import QUESTIONS
from xai.registry import METHODS
from xai.report import clustering
from xai.report.approaches import APPROACHES, PROJECT
from xai.report.blocks import END, fill_blocks, find_blocks
from xai.report.build import build_report, stale_parts
from xai.report.comparing import count_runs
from xai.report.findings import FINDINGS
from xai.report.illustrations import ILLUSTRATIONS
from xai.report.keeping import largest_difference, read_record, summarise
from xai.report.measure import measure_report
from xai.report.project import FIGURES, MEASURED, Project
from xai.report.recompute import DIFFERENT, OTHER, SAME, recompute
from xai.report.subjects import choose_roles, find_subjects
from xai.report.tables import render

ROOT = Path(__file__).resolve().parents[1]


class Small(nn.Module):
    """Two convolutions, pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.last = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.end = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.end(self.last(self.relu(self.first(x)))).mean((2, 3)))


def small_model(seed: int = 0) -> xai.Model:
    torch.manual_seed(seed)
    return xai.load_model(Small(), input_size=32, class_names=["tabby", "espresso", "palace"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A project that was measured with a tiny network on three photographs."""
    root = tmp_path_factory.mktemp("measured")
    model = small_model()
    answers = {subject.image.name: subject.answer for subject in find_subjects(model, ["cat", "coffee", "china"])}
    told: list[tuple[float, str]] = []
    measure_report(
        root, model, ["cat", "coffee", "china"], accuracy="12.5 % on nothing", on_progress=lambda *at: told.append(at)
    )
    return root, answers, told


def test_every_approach_answers_every_question_in_the_survey_s_words():
    for approach in APPROACHES.values():
        assert set(approach.reasons) == set(approach.categories) == set(QUESTIONS)
        assert all(len(reason.split()) >= 3 for reason in approach.reasons.values())
        for question, names in approach.categories.items():
            assert names and set(names) <= set(QUESTIONS[question])
        assert all((ROOT / path).exists() for path in approach.code if path != "xai/scan"), approach.key
    assert {key for approach in APPROACHES.values() for key in approach.methods} == set(METHODS)
    for question, rows in PROJECT.items():
        assert {name for name, _ in rows} <= set(QUESTIONS[question])
    assert set(FINDINGS) | {"clusters"} == set(APPROACHES)


def test_categories_of_a_family_are_those_of_its_methods():
    for approach in APPROACHES.values():
        for question, names in approach.categories.items() if approach.methods else ():
            assert set(names) == {name for key in approach.methods for name in METHODS[key].hohman[question]}


def test_blocks_are_filled_between_their_markers_and_nowhere_else():
    lines = ["a", "<!-- generated: model -->", "old", "older", END, "b", "<!-- generated: figures cam -->", END, "c"]
    assert [(block.name, block.first, block.last) for block in find_blocks(lines)] == [
        ("model", 3, 4), ("figures cam", 8, 7),
    ]  # fmt: skip
    filled = fill_blocks(lines, lambda name: [f"new {name}"])
    assert filled == ["a", lines[1], "new model", END, "b", lines[6], "new figures cam", END, "c"]
    assert fill_blocks(filled, lambda name: [f"new {name}"]) == filled
    for wrong, sentence in [
        (lines[:4], "Line 2: the generated part 'model' never ends"),
        ([END], "Line 1: .* ends nothing"),
        ([lines[1], lines[1]], "Line 2: the generated part 'model' has not ended"),
    ]:
        with pytest.raises(UserError, match=sentence):
            find_blocks(wrong)
    with pytest.raises(UserError, match=r"Unknown generated part 'modle'.*did you mean 'model'"):
        render("modle", {})
    with pytest.raises(UserError, match=r"Unknown approach of the generated part 'figures' 'came'"):
        render("figures came", {})


def test_building_twice_changes_nothing(tmp_path):
    root = write_project(tmp_path / "project")
    readme = root / "README.md"
    readme.write_text(readme.read_text() + "\n<!-- generated: project -->\n<!-- /generated -->\n")
    assert build_report(root).changed == ("project",)
    once = readme.read_bytes()
    assert b"| Why | teaching deep learning concepts |" in once
    assert build_report(root).changed == () and readme.read_bytes() == once
    text = readme.read_text().replace("teaching deep", "teaching very deep")
    readme.write_text(text)
    line = next(n for n, each in enumerate(text.splitlines(), start=1) if each == "<!-- generated: project -->")
    assert stale_parts(Project.read(root)) == [("project", line)]


def test_the_committed_report_is_what_building_writes():
    assert stale_parts(Project.read(ROOT)) == []
    assert (ROOT / "exported_html" / "figures" / "six_questions.svg").read_text() == questions_svg()


def test_the_drawing_has_every_answer_once():
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", questions_svg()).replace("·", "|"))
    for names in QUESTIONS.values():
        for name in names:
            assert f"| {name} " in words


def test_measuring_says_what_the_network_answered(measured):
    root, answers, told = measured
    found = json.loads((root / MEASURED).read_text())
    assert [(each["name"], each["answer"]) for each in found["pictures"]] == list(answers.items())
    right = {"cat": "tabby", "coffee": "espresso", "china": "palace"}
    verdicts = ["correct" if answers[name] == right[name] else "wrong" for name in answers]
    assert [each["verdict"] for each in found["pictures"]] == verdicts
    assert (
        found["network"]["parameters"] == 6 * 28 + 8 * 55 + 27 and found["network"]["accuracy"] == "12.5 % on nothing"
    )
    assert set(found["findings"]) == set(FINDINGS)
    sentences = [each["sentence"] for found_here in found["findings"].values() for each in found_here]
    assert all(re.search(r"\d", sentence) and sentence.endswith(".") for sentence in sentences)
    rows = {row["key"]: row for row in found["comparison"]["rows"]}
    assert rows["random"]["runs"] == 1 and rows["grad_cam"]["runs"] == 1 and rows["rise"]["runs"] > 300
    assert abs(rows["random"]["agreement"]) < 0.2
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] <= 1


def test_the_clusters_that_ship_are_counted_and_two_pictures_speak(tmp_path):
    """Against counting the held-out pictures again."""
    survey = clustering.open_shipped()
    run, head = survey.run, survey.head
    labels = run.pictures("validation").levels["shape"].labels
    names = run.pictures("validation").levels["shape"].names
    probabilities = run.probabilities(head, "validation")
    clusters = probabilities.argmax(1)
    result = clustering.draw(survey)
    for cluster, shape in np.ndindex(result.values.shape):
        assert result.values[cluster, shape] == ((clusters == cluster) & (labels == shape)).sum()
    right, wrong = clustering.find(survey)
    assert (right["verdict"], wrong["verdict"]) == ("correct", "wrong")
    for said, own in ((right, True), (wrong, False)):
        words = re.match(r"held-out picture (\d+), a (\w+), lies in cluster (\d+)", said["sentence"])
        place, shape, cluster = words.groups()
        assert names[labels[int(place)]] == shape and clusters[int(place)] == int(cluster)
        assert (survey.measure("validation").matched[int(cluster)] == labels[int(place)]) == own
    kept = clustering.keep(tmp_path, survey)
    spec, _ = read_record(tmp_path / "clusters.json")
    assert spec.weights_digest == clustering.describe(survey)["digest"] and kept["alt"].count(" in cluster ") == 8
    assert [(made.name, made.state) for made in recompute_in(tmp_path)] == [("clusters", "same")]


def recompute_in(folder):
    """Make the figures of a folder again, as those of a report."""
    root = folder / "root"
    shutil.copytree(folder, root / FIGURES, ignore=shutil.ignore_patterns("root"))
    return list(recompute(root, small_model()))


def test_every_figure_has_its_record_caption_and_alternative_text(measured):
    root, _, _ = measured
    found = json.loads((root / MEASURED).read_text())
    assert {each["approach"] for each in found["figures"]} <= {each.approach for each in ILLUSTRATIONS}
    for figure in found["figures"]:
        path = root / "exported_html" / "figures" / figure["file"]
        assert path.is_file() and len(figure["alt"]) > 15 and figure["caption"].endswith(".")
        spec, kept = read_record(path.with_suffix(".json"))
        assert spec.weights_digest == found["network"]["digest"] and kept["shape"]


def test_recomputing_gives_the_same_and_tells_what_differs(measured, tmp_path):
    root = Path(shutil.copytree(measured[0], tmp_path / "copy"))
    assert {each.state for each in recompute(root, small_model())} == {SAME}
    assert {each.state for each in recompute(root, small_model(1))} == {OTHER}
    folder = root / "exported_html" / "figures"
    names = sorted(path.stem for path in folder.glob("*.json"))
    changed = json.loads((folder / f"{names[0]}.json").read_text())
    changed["result"]["map"][0][0] += 2 * abs(changed["result"]["highest"]) + 1
    (folder / f"{names[0]}.json").write_text(json.dumps(changed))
    pixels = np.asarray(PIL.Image.open(folder / f"{names[1]}.png").convert("RGB")).copy()
    pixels[: len(pixels) // 4] = 0
    PIL.Image.fromarray(pixels).save(folder / f"{names[1]}.png")
    (folder / f"{names[2]}.png").unlink()
    made = {each.name: each for each in recompute(root, small_model())}
    assert [made[name].state for name in names[:3]] == [DIFFERENT] * 3
    assert "numbers or map differ by" in made[names[0]].sentence
    assert "of the picture differs visibly" in made[names[1]].sentence
    assert "missing" in made[names[2]].sentence
    assert {each.state for name, each in made.items() if name not in names[:3]} <= {SAME}


def test_a_summary_tells_arrays_apart():
    values = np.random.default_rng(0).normal(size=(3, 20, 30))
    assert largest_difference(summarise(values), summarise(values)) == 0
    assert largest_difference(summarise(values), summarise(values + 1e-4)) < 1e-3
    assert largest_difference(summarise(values), summarise(values[:, ::-1])) > 0.01
    assert largest_difference(summarise(values), summarise(values[:2])) == float("inf")
    assert np.asarray(summarise(values)["map"]).shape == (8, 8) and summarise(np.ones(5))["map"] == [[1.0] * 5]


def test_runs_are_pictures_that_reach_the_first_convolution():
    model = small_model()
    with count_runs() as counted:
        xai.predict(model, "cat")
        xai.explain(model, "cat", "rise", masks=12)
    assert counted[0] >= 1 + 12
    with count_runs() as counted:
        xai.filters(model)
    assert counted == [0]


def test_roles_are_the_surest_right_and_wrong_answer():
    found = {each.image.name: each for each in find_subjects(small_model(), ["cat", "coffee", "china", "astronaut"])}
    truth = {"cat": ("right",), "coffee": ("right",), "china": ("tabby", "espresso", "palace"), "astronaut": ("x",)}
    judged = [
        replace(each, answer="right" if name != "china" else each.answer, truth=truth[name], known=True, probability=p)
        for (name, each), p in zip(found.items(), (0.5, 0.7, 0.6, 0.4), strict=True)
    ]
    roles = choose_roles(judged)
    assert [each.verdict for each in judged] == ["correct", "correct", "correct", "wrong"]
    assert {role: each.image.name for role, each in roles.items()} == {"right": "coffee", "wrong": "astronaut"}
    roles = choose_roles(judged[:3])
    assert {role: each.image.name for role, each in roles.items()} == {"right": "coffee", "wrong": "cat"}
    unknown = [replace(each, truth=()) for each in judged]
    roles = choose_roles(unknown)
    assert {role: each.image.name for role, each in roles.items()} == {"right": "coffee", "wrong": "astronaut"}
    assert {each.verdict for each in roles.values()} == {"not judged"}
    assert list(choose_roles(unknown[:1])) == ["right"]


def test_the_commands_refuse_in_a_sentence(tmp_path, capsys):
    assert main(["report", "build", str(tmp_path)]) == 2
    assert "There is no README.md" in capsys.readouterr().err
    root = write_project(tmp_path / "project")
    assert main(["report", "build", str(root), "--model", "resnet18"]) == 2
    assert "only asked with --measure" in capsys.readouterr().err
    (root / MEASURED).write_text("{}")
    assert main(["report", "check", str(root)]) == 2
    assert "was not written by `xai report build --measure`" in capsys.readouterr().err
