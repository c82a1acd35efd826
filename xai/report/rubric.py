"""The grader's rubric in code: a literal list of checks, each of which says precisely what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xai.report.project import Finding, Project
from xai.report.rules import approaches, consistency, environment, figures, formal, notebooks, summary


@dataclass(frozen=True)
class Check:
    """One line of the rubric.

    Attributes:
        id: as the requirements number it.
        what: what is expected, in one phrase.
        rule: yields what is wrong.
    """

    id: str
    what: str
    rule: Callable[[Project], Iterable[Finding]]


@dataclass(frozen=True)
class Graded:
    """A check with what it found; it passes when that is nothing."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


CHECKS: Sequence[Check] = (
    Check("G-01", "every chapter and heading is there and says something", formal.chapters),
    Check("G-01b", "no template prompt is left", formal.prompts),
    Check("G-02", "the workload of the authors adds up to 100 %", formal.authorship),
    Check("G-03", "every approach is reported, and its code is in the repository", approaches.implemented),
    Check("G-04", "notebooks are executed in order without error", notebooks.executed),
    Check("G-04b", "notebooks have a purpose, and text reads every figure", notebooks.narrated),
    Check("G-04c", "exported pages are fresh and load nothing", notebooks.exported),
    Check("G-05", "environment.yml installs what is imported", environment.complete),
    Check("G-06", "no path of one computer", formal.private_paths),
    Check("G-07", "links and pictures lead somewhere", formal.links),
    Check("G-07b", "figures have alternative text and a numbered caption", figures.descriptions),
    Check("G-07c", "a RunSpec lies beside every figure", figures.records),
    Check("G-09", "network and data are described with numbers (G-09 to G-11)", consistency.described),
    Check("G-12", "summaries have a formula and a source", approaches.summaries),
    Check("G-13", "every approach is in the tables", approaches.in_tables),
    Check("G-13b", "categories are those of the survey", approaches.category_names),
    Check("G-13c", "all six questions are answered, with a reason", approaches.all_questions),
    Check("G-14", "interpretations read a right and a wrong prediction and name a limit", approaches.interpretations),
    Check("G-15", "several approaches of different kinds", approaches.kinds),
    Check("G-16", "approaches are compared: agreement, cost, what each misses", summary.compared),
    Check("G-17", "what was learned about the network", summary.learned),
    Check("G-18", "a demo", summary.demo),
    Check("G-19", "methods stand beside a control", summary.controlled),
    Check("G-20", "text, figures and notebooks are about one network", consistency.one_network),
    Check("G-20b", "generated parts are up to date", consistency.generated),
)


def grade(root: Path) -> list[Graded]:
    """Grade the report of a folder.

    Args:
        root: holds README.md, notebooks/ and exported_html/.

    Raises:
        UserError: there is no README.md.
    """
    project = Project.read(root)
    return [Graded(check, tuple(check.rule(project))) for check in CHECKS]
