"""Formal rules: chapters that exist and are filled, no prompt left, authorship, links that lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from xai.report.document import Link, Section
from xai.report.project import CHAPTERS, EXPORTED, NOTEBOOKS, PARTS, QUESTIONS, Finding, Project

FEWEST_WORDS = 6  # of a heading that counts as filled
PROMPT = re.compile(
    r"\b(TODO|TBD|FIXME|XXX)\b|lorem ipsum|\[(?:your|insert|describe)\b[^\]]*\]|"
    r"<(?:your|insert|describe)\b[^>]*>|\bplease (?:describe|fill in|insert|replace)\b|"
    r"\brepeat the section below\b",
    re.IGNORECASE,
)
PRIVATE = re.compile(
    r"(?:^|[\s\"'(=`])(/(?:home|Users|content|root|mnt|kaggle)/[\w.\-]+[^\s\"')`]*|[A-Za-z]:\\+[\w.\-\\ ]+)"
)
WORKLOAD = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def chapters(project: Project) -> Iterator[Finding]:
    """Find chapters and sub-headings that are missing or say nothing."""
    for title in CHAPTERS:
        section = project.readme.section(title, project.report)
        if section is None:
            yield project.finding(0, f"The report has no chapter '{title}'.")
        elif project.readme.sections(section) == () and _is_empty(project, section):
            yield project.finding(section.heading.line, f"The chapter '{title}' says nothing.")
    for approach in project.approaches:
        for title in (*QUESTIONS, *PARTS):
            part = project.readme.section(title, approach)
            if part is None:
                line = approach.heading.line
                yield project.finding(line, f"The approach '{approach.heading.title}' has no heading '{title}'.")
            elif _is_empty(project, part):
                where = f"'{title}' of '{approach.heading.title}'"
                yield project.finding(part.heading.line, f"{where} says nothing.")


def prompts(project: Project) -> Iterator[Finding]:
    """Find what a template asked to be replaced."""
    for number, line in project.readme.text:
        found = PROMPT.search(line)
        if found:
            yield project.finding(number, f"A template prompt is left: '{found[0]}'.")


def authorship(project: Project) -> Iterator[Finding]:
    """Check that the workload of the authors adds up to 100 percent."""
    section = project.readme.section("Authorship", project.report)
    if section is None:
        return
    tables = [table for table in project.readme.tables if section.holds(table.line)]
    if not tables:
        yield project.finding(section.heading.line, "The authors stand in no table.")
        return
    table = tables[0]
    shares = [WORKLOAD.search(" ".join(row.cells)) for row in table.rows]
    for row, share in zip(table.rows, shares, strict=True):
        if share is None or not all(row.cells):
            yield project.finding(
                row.line, f"The row of '{row.cells[0] or 'an author'}' lacks a share or another cell."
            )
    total = sum(float(share[1]) for share in shares if share)
    if total != 100:
        yield project.finding(table.line, f"The workload adds up to {total:g} %, not 100 %.")


def links(project: Project) -> Iterator[Finding]:
    """Find links and pictures of the README that lead nowhere, and pictures that lie on another host."""
    anchors = project.readme.anchors()
    for link in project.readme.links:
        problem = _problem(project.root, link, anchors)
        if problem:
            yield project.finding(link.line, problem)


def private_paths(project: Project) -> Iterator[Finding]:
    """Find paths of one computer in the README, the notebooks and their exports."""
    folders = (NOTEBOOKS, EXPORTED)
    files = [project.readme.path, *(path for name in folders for path in sorted((project.root / name).glob("*.ipynb")))]
    for path in files:
        name = path.relative_to(project.root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found = PRIVATE.search(line) if len(line) < 10_000 else None  # longer lines are pictures in base64
            if found:
                yield Finding(name, number, f"The path '{found[1]}' exists on one computer only.")


def _is_empty(project: Project, section: Section) -> bool:
    words = re.findall(r"[^\W_]+", project.readme.words(section))
    return len(words) < FEWEST_WORDS


def _problem(root: Path, link: Link, anchors: frozenset[str]) -> str | None:
    """Say in one sentence what is wrong with a link; None if nothing is."""
    target, _, anchor = link.target.partition("#")
    if re.match(r"^(https?:)?//", link.target):
        return f"The picture '{link.target}' lies on another host." if link.picture else None
    if re.match(r"^[a-z]+:", link.target):
        return None
    if not target:
        return None if anchor in anchors else f"There is no heading for the link '#{anchor}'."
    path = root / unquote(target)
    what = "picture" if link.picture else "link"
    return None if path.exists() else f"The {what} '{target}' leads to no file."
