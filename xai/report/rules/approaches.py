"""Rules on the approaches: implemented, categorised in the survey's words, summarised, and read critically."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from xai.hohman import QUESTIONS
from xai.report.approaches import APPROACHES
from xai.report.document import Row, Section, Table
from xai.report.project import Finding, Project

FEWEST = 4
SOURCE = re.compile(r"arXiv|doi|\b(19|20)\d\d\b")
READS = {
    "a correct prediction": re.compile(r"\b(right|correct|correctly)\b", re.IGNORECASE),
    "a wrong prediction": re.compile(r"\b(wrong|wrongly|mistake|mistaken|incorrect)\b", re.IGNORECASE),
    "a limit of the method": re.compile(r"\b(limits?|cannot|does not show|do not show|misses)\b", re.IGNORECASE),
}


def implemented(project: Project) -> Iterator[Finding]:
    """Find approaches that were measured but have no section, and those whose code is not in the repository."""
    titles = {section.heading.title.casefold() for section in project.approaches}
    for key in project.measured.get("approaches", ()):
        approach = APPROACHES.get(key)
        if approach is None:
            continue
        if approach.title.casefold() not in titles:
            yield project.finding(0, f"The approach '{approach.title}' has no section under 'Approaches'.")
        for module in approach.code:
            if not _is_there(project.root, module):
                yield Finding(module, 0, f"The implementation of '{approach.title}' is missing.")


def in_tables(project: Project) -> Iterator[Finding]:
    """Find approaches without a row in the table over all, and without a table of their own."""
    overview = next((table for table in project.readme.tables if _is_overview(project, table)), None)
    if overview is None:
        yield project.finding(0, "There is no table with a row for each approach and a column for each question.")
        return
    rows = {row.cells[0].casefold() for row in overview.rows}
    for section in project.approaches:
        title, line = section.heading.title, section.heading.line
        if title.casefold() not in rows:
            yield project.finding(overview.line, f"The approach '{title}' has no row in the table of all approaches.")
        if not any(section.holds(table.line) and _is_categorisation(table) for table in project.readme.tables):
            yield project.finding(line, f"The approach '{title}' has no categorisation table.")


def category_names(project: Project) -> Iterator[Finding]:
    """Find what stands in the place of a category and is none of the survey's."""
    for table in project.readme.tables:
        if not project.report.holds(table.line):
            continue
        if _is_categorisation(table):
            for row in table.rows:
                yield from _check_cell(project, row, row.cells[0].casefold(), row.cells[1])
        elif _is_overview(project, table):
            for row in table.rows:
                for question, cell in zip(table.head[1:], row.cells[1:], strict=False):
                    yield from _check_cell(project, row, question.casefold(), cell)


def all_questions(project: Project) -> Iterator[Finding]:
    """Find categorisation tables that leave one of the six questions without category or reason."""
    for table in project.readme.tables:
        if not (project.report.holds(table.line) and _is_categorisation(table)):
            continue
        rows = {row.cells[0].casefold(): row for row in table.rows}
        for question in QUESTIONS:
            if question not in rows:
                yield project.finding(table.line, f"The table does not answer '{question}'.")
            elif not rows[question].cells[1]:
                yield project.finding(rows[question].line, f"No category answers '{question}'.")
            elif len(rows[question].cells[2].split()) < 3:
                yield project.finding(rows[question].line, f"No reason stands beside the categories of '{question}'.")
        most = [
            row for row in table.rows if len(_names(row.cells[1])) == len(QUESTIONS.get(row.cells[0].casefold(), ()))
        ]
        if len(most) >= len(QUESTIONS) - 1:
            yield project.finding(table.line, "Every category of nearly every question is ticked: that says nothing.")


def summaries(project: Project) -> Iterator[Finding]:
    """Find summaries without formula or source."""
    for section in project.approaches:
        part = project.readme.section("Summary", section)
        if part is None:
            continue
        words = project.readme.words(part)
        if "$" not in words:
            yield project.finding(part.heading.line, f"The summary of '{section.heading.title}' has no formula.")
        if not SOURCE.search(words):
            yield project.finding(part.heading.line, f"The summary of '{section.heading.title}' names no source.")


def interpretations(project: Project) -> Iterator[Finding]:
    """Find interpretations that miss a right answer, a wrong one, a limit, or a figure to read."""
    for section in project.approaches:
        part = project.readme.section("Interpretation", section)
        if part is None or section.heading.title.casefold() not in _measured_titles(project, section):
            continue
        words, line = project.readme.words(part), part.heading.line
        for what, pattern in READS.items():
            if not pattern.search(words):
                yield project.finding(line, f"The interpretation of '{section.heading.title}' speaks of no {what[2:]}.")
        if not any(link.picture and section.holds(link.line) for link in project.readme.links):
            yield project.finding(line, f"The approach '{section.heading.title}' shows no figure.")


def kinds(project: Project) -> Iterator[Finding]:
    """Ask for several approaches of different kinds."""
    if len(project.approaches) < FEWEST:
        yield project.finding(0, f"The report has {len(project.approaches)} approaches, fewer than {FEWEST}.")


def _measured_titles(project: Project, section: Section) -> set[str]:
    """Titles that need an interpretation: the measured ones, and those that this project does not know."""
    known = {approach.title.casefold(): key for key, approach in APPROACHES.items()}
    title = section.heading.title.casefold()
    measured: Mapping[str, object] = dict.fromkeys(project.measured.get("approaches", ()))
    return {title} if title not in known or not measured or known[title] in measured else set()


def _is_there(root: Path, module: str) -> bool:
    """Whether a file or folder such as "xai/compute/cam.py" lies in the project, or in the package that runs this."""
    package = Path(__file__).resolve().parents[3]
    return (root / module).exists() or (not (root / "xai").is_dir() and (package / module).exists())


def _is_categorisation(table: Table) -> bool:
    return len(table.head) == 3 and table.head[0].casefold() == "question"


def _is_overview(project: Project, table: Table) -> bool:
    head = tuple(cell.casefold() for cell in table.head)
    return project.report.holds(table.line) and head[0] == "approach" and set(head[1:]) == set(QUESTIONS)


def _names(cell: str) -> list[str]:
    return [name.strip() for name in re.split(r";|<br\s*/?>", cell) if name.strip()]


def _check_cell(project: Project, row: Row, question: str, cell: str) -> Iterator[Finding]:
    valid = QUESTIONS.get(question)
    if valid is None:
        yield project.finding(row.line, f"'{row.cells[0]}' is none of the six questions.")
        return
    for name in _names(cell):
        if name not in valid:
            yield project.finding(row.line, f"'{name}' is no category of '{question}' in the survey.")
