"""Rules on the end of the report: approaches compared with each other and with controls, lessons, a demo."""

from __future__ import annotations

from collections.abc import Iterator

from xai.report.document import Table
from xai.report.project import Finding, Project

CHAPTER, LESSONS = "Summary of approaches", "What was learned about the network"
COLUMNS = {"agreement": ("agree",), "cost": ("cost", "run", "seconds"), "what each misses": ("miss", "cannot", "limit")}
CONTROL = "control"


def compared(project: Project) -> Iterator[Finding]:
    """Ask for a table that compares the approaches: agreement, cost, what each misses."""
    section = project.readme.section(CHAPTER, project.report)
    if section is None:
        return
    tables = _tables(project)
    if not tables:
        yield project.finding(section.heading.line, "No table compares the approaches with each other.")
        return
    head = " ".join(tables[0].head).casefold()
    for what, words in COLUMNS.items():
        if not any(word in head for word in words):
            yield project.finding(tables[0].line, f"The comparison has no column for {what}.")


def controlled(project: Project) -> Iterator[Finding]:
    """Ask for a control that knows nothing beside the methods."""
    for table in _tables(project)[:1]:
        if not any(CONTROL in row.cells[0].casefold() for row in table.rows):
            yield project.finding(table.line, "The comparison has no control, such as a random map.")


def learned(project: Project) -> Iterator[Finding]:
    """Ask what was learned about the network that accuracy alone does not show."""
    section = project.readme.section(CHAPTER, project.report)
    if section is not None:
        lessons = project.readme.section(LESSONS, section)
        if lessons is None:
            yield project.finding(section.heading.line, f"The summary has no heading '{LESSONS}'.")
        elif len(project.readme.words(lessons).split()) < 30:
            yield project.finding(lessons.heading.line, f"'{LESSONS}' says next to nothing.")


def demo(project: Project) -> Iterator[Finding]:
    """Ask for a demo: how it is started, and what it looks like."""
    section = project.readme.section("Demo", project.report)
    if section is None:
        return
    if not any(section.holds(line) for line in project.readme.code):
        yield project.finding(section.heading.line, "The demo does not say by which command it is started.")
    if not any(link.picture and section.holds(link.line) for link in project.readme.links):
        yield project.finding(section.heading.line, "The demo shows no picture of itself.")


def _tables(project: Project) -> list[Table]:
    section = project.readme.section(CHAPTER, project.report)
    found = [table for table in project.readme.tables if section is not None and section.holds(table.line)]
    return [
        table
        for table in found
        if table.head[0].casefold() in ("method", "approach")
        and len(table.rows) > 1
        and "why" not in {cell.casefold() for cell in table.head}
    ]
