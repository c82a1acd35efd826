"""The rubric passes a sound report, and tells in one precise line what a damaged one lacks: xai.report.rubric."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from report_project import write_project

from xai.cli import main
from xai.errors import UserError
from xai.report.document import Document
from xai.report.project import MEASURED
from xai.report.rubric import CHECKS, grade

ALSO = {"G-03": {"G-13"}, "G-13": {"G-13b"}, "G-20": {"G-04c"}, "G-01": {"G-01b"}}
README, EXPORT = "README.md", "exported_html/01_sum.ipynb"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("sound") / "project")


@pytest.fixture
def project(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "project"))


def findings(root: Path) -> list[tuple[str, str]]:
    return [(each.check.id, str(finding)) for each in grade(root) for finding in each.findings]


def replace(root: Path, name: str, old: str, new: str) -> int:
    """Change the first place of a text in a file, and give its line."""
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{name} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def test_a_sound_report_passes(project):
    assert findings(project) == []
    assert main(["report", "check", str(project)]) == 0


# name of a file, what stands there, what is put in its place, the check that must fail, and its line ("@": that of
# the change, "@[text]": the first with that text). A few defects break a second rule too.
DEFECTS = [
    (README, "## Framework\n", "Framework:\n", "G-01", "README.md: The report has no chapter 'Framework'."),
    (
        README, "#### Who\n", "Who:\n", "G-01",
        "README.md:@[### Feature maps]: The approach 'Feature maps' has no heading 'Who'.",
    ),
    (
        README, "#### Where\n\nThis answers it for the network at hand.", "#### Where\n", "G-01",
        "README.md:@: 'Where' of 'Feature maps' says nothing.",
    ),
    (
        README, "Six questions are", "TODO: six questions are", "G-01b",
        "README.md:@: A template prompt is left: 'TODO'.",
    ),
    (README, "40 %", "30 %", "G-02", "README.md:@[| Who | What | Share]: The workload adds up to 90 %, not 100 %."),
    (
        README, "### Gradients\n", "### Gradient maps\n", "G-03",
        "README.md: The approach 'Gradients' has no section under 'Approaches'.",
    ),
    (EXPORT, '"execution_count": 2', '"execution_count": 7', "G-04",
        f"{EXPORT}: Cell 3 was executed as number 7, not 2."),
    (EXPORT, '"execution_count": 2', '"execution_count": null', "G-04", f"{EXPORT}: Cell 3 was not executed."),
    (
        "notebooks/01_sum.ipynb", "Two.", "Three.", "G-04c",
        "exported_html/01_sum.html: 01_sum.ipynb has changed since 01_sum.html was made: export it again.",
    ),
    (
        "exported_html/01_sum.html", "</main>", '<img alt="x" src="https://example.org/a.png"></main>', "G-04c",
        "exported_html/01_sum.html: The page loads 'https://example.org/a.png'.",
    ),
    (
        "environment.yml", "      - numpy==2.1\n", "", "G-05",
        "notebooks/01_sum.ipynb: 'numpy' is imported, but environment.yml does not install numpy.",
    ),
    (
        "pages/start.py", "import numpy", "import numpy, scipy", "G-05",
        "pages/start.py:@: 'scipy' is imported, but environment.yml does not install scipy.",
    ),
    (
        README, "Clone, create", "Clone into /home/somebody/xai, create", "G-06",
        "README.md:@: The path '/home/somebody/xai,' exists on one computer only.",
    ),
    (
        README, "(pages/start.py)", "(pages/begin.py)", "G-07",
        "README.md:@: The link 'pages/begin.py' leads to no file.",
    ),
    (README, "(#report)", "(#the-report)", "G-07", "README.md:@: There is no heading for the link '#the-report'."),
    (
        README, "[A map over the photograph of a cat](exported_html/figures/cam.png)",
        "[](exported_html/figures/cam.png)",
        "G-07b", "README.md:@: The picture 'cam.png' has no alternative text that says what it shows.",
    ),
    (
        README, "*Figure 2. A map over a photograph.*", "A map over a photograph.", "G-07b",
        "README.md:@[cam.png]: The picture 'cam.png' has no caption: a line 'Figure N. ...' under it.",
    ),
    (
        README, "*Figure 2. A map over a photograph.*", "*Figure 1. A map over a photograph.*", "G-07b",
        "README.md:@[cam.png]: Figure 1 is there twice; the other is in line @[feature_maps.png].",
    ),
    (
        README, "its input is 64 x 64 pixels, ", "", "G-09",
        "README.md:@[## Model]: The chapter 'Model' does not tell its input.",
    ),
    (
        README, "$\\sum_k w_k A_k$ of", "of", "G-12",
        "README.md:@[#### Summary]: The summary of 'Feature maps' has no formula.",
    ),
    (
        README, "| Gradients |", "| Slopes |", "G-13",
        "README.md:@[| Approach |]: The approach 'Gradients' has no row in the table of all approaches.",
    ),
    (
        README, "individual computational units | every panel", "channels | every panel", "G-13b",
        "README.md:@: 'channels' is no category of 'what' in the survey.",
    ),
    (
        README, "| every panel is the activation of one channel |", "| |", "G-13c",
        "README.md:@: No reason stands beside the categories of 'what'.",
    ),
    (
        README, "; the rocket is wrong", "", "G-14",
        "README.md:@[#### Interpretation]: The interpretation of 'Feature maps' speaks of no wrong prediction.",
    ),
    (
        README, "| Method | Agreement | Cost | Misses |", "| Method | Agreement | Colour | Misses |", "G-16",
        "README.md:@: The comparison has no column for cost.",
    ),
    (
        README, "### What was learned about the network", "### Lessons", "G-17",
        "README.md:@[## Summary of approaches]: The summary has no heading 'What was learned about the network'.",
    ),
    (
        README, "```sh\nxai app\n```\n", "", "G-18",
        "README.md:@[## Demo]: The demo does not say by which command it is started.",
    ),
    (
        README, "| Random (control) |", "| Random |", "G-19",
        "README.md:@[| Method |]: The comparison has no control, such as a random map.",
    ),
    (
        README, "A map is a weighted", "A map of VGG-16 is a weighted", "G-20",
        "README.md:@: The text speaks of VGG-16; the report is about resnet18 · own.",
    ),
    (
        "exported_html/figures/cam.json", "5555", "6666", "G-20",
        "exported_html/figures/cam.json: The figure was made with resnet18 · own (666655555555); "
        "the report is about resnet18 · own (555555555555).",
    ),
    (
        EXPORT, '"digest": "5555', '"digest": "4444', "G-20",
        f"{EXPORT}: The notebook is about resnet18 (444455555555); the report is about resnet18 · own (555555555555).",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "check", "expected"), DEFECTS, ids=[f"{d[3]}-{d[1][:24]}" for d in DEFECTS]
)
def test_a_defect_is_told_in_one_precise_line(project, name, old, new, check, expected):
    changed = replace(project, name, old, new)
    lines = (project / README).read_text(encoding="utf-8").splitlines()

    def place(mark: re.Match[str]) -> str:
        if mark[1] is None:
            return str(changed)
        return str(next(number for number, line in enumerate(lines, start=1) if mark[1] in line))

    wanted = (check, re.sub(r"@(?:\[(.+?)\])?", place, expected))
    found = findings(project)
    assert wanted in found
    also = {found_check for found_check, _ in found} - {check}
    assert len([each for each in found if each[0] == check]) == 1
    assert also <= ALSO.get(check, set())


def test_a_notebook_may_be_about_the_clustering_that_was_measured(project):
    """And about no other one."""

    def said() -> list[str]:
        return [sentence for check, sentence in findings(project) if check == "G-20"]

    replace(project, EXPORT, '"digest": "5555', '"digest": "4444')
    assert len(said()) == 1
    path = project / MEASURED
    measured = json.loads(path.read_text(encoding="utf-8"))
    digest = next(iter(json.loads((project / EXPORT).read_text())["metadata"]["xai"]["networks"]))["digest"]
    path.write_text(json.dumps(measured | {"clustering": {"name": "embedded k8", "digest": digest}}))
    assert said() == []
    path.write_text(json.dumps(measured | {"clustering": {"name": "embedded k8", "digest": "3" * 64}}))
    assert said()[0].endswith("(555555555555) and embedded k8 (333333333333).")


def test_missing_files_are_told(project):
    (project / "exported_html" / "figures" / "cam.json").unlink()
    (project / "exported_html" / "figures" / "gradients.png").unlink()
    (project / "exported_html" / "01_sum.html").unlink()
    (project / "environment.yml").unlink()
    found = [sentence for _, sentence in findings(project)]
    assert any("The figure 'cam.png' has no RunSpec 'cam.json' beside it." in sentence for sentence in found)
    assert any("The picture 'exported_html/figures/gradients.png' leads to no file." in sentence for sentence in found)
    assert "exported_html/01_sum.html: 01_sum.ipynb has not been exported: 01_sum.html missing." in found
    assert "environment.yml: The environment file is missing." in found


def test_the_command_lists_every_check_and_ends_with_1(project, capsys):
    replace(project, README, "40 %", "30 %")
    assert main(["report", "check", str(project), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["passed"] and [each["id"] for each in told["checks"]] == [check.id for check in CHECKS]
    failed = [each for each in told["checks"] if not each["passed"]]
    assert [(each["id"], each["findings"][0]["file"]) for each in failed] == [("G-02", "README.md")]
    assert main(["report", "check", str(project)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FAIL  G-02" in lines[2] and lines[-1] == f"{len(CHECKS) - 1} of {len(CHECKS)} checks pass."
    assert main(["report", "check", str(project / "pages")]) == 2
    with pytest.raises(UserError, match=r"no README\.md"):
        grade(project / "pages")


def test_a_document_is_read_as_people_see_it(tmp_path):
    text = """# Top `x`

<!-- ## Hidden
[no](nowhere.md) -->
```text
# no heading [no](nowhere.md)
```
`[no](nowhere.md)` but [yes](there.md "title") and [![alt](a.png)](b.md) <img alt='one &amp; two' src="c.png">

_Figure 3._ Under it.

| A | B |
|--:|---|
| **x** | a \\| b |
| y |

## Top x
"""
    (tmp_path / "a.md").write_text(text)
    document = Document.read(tmp_path / "a.md")
    assert [(h.level, h.title, h.line) for h in document.headings] == [(1, "Top x", 1), (2, "Top x", 17)]
    assert [(link.target, link.picture) for link in document.links] == [
        ("there.md", False), ("b.md", False), ("a.png", True), ("c.png", True),
    ]  # fmt: skip
    assert document.links[3].text == "one & two" and document.links[3].caption == "Figure 3._ Under it."
    [table] = document.tables
    assert table.head == ("A", "B") and table.line == 12
    assert [row.cells for row in table.rows] == [("x", "a \\| b"), ("y", "")]
    assert document.anchors() == {"top-x", "top-x-1"}
