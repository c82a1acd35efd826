"""Rules on figures: alternative text, caption, and beside each the record from which it can be made again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from xai.errors import UserError
from xai.report.document import Link
from xai.report.project import Finding, Project
from xai.spec import RunSpec

DRAWN, SCREENSHOTS = (".svg",), "screenshots"  # a drawing and a picture of the app are no results of a network
SHORTEST_ALT = 15  # characters


def descriptions(project: Project) -> Iterator[Finding]:
    """Find pictures of the report without alternative text or caption."""
    seen: dict[str, int] = {}
    for link in _pictures(project):
        name = PurePosixPath(link.target).name
        if len(link.text) < SHORTEST_ALT:
            yield project.finding(link.line, f"The picture '{name}' has no alternative text that says what it shows.")
        if not link.caption:
            yield project.finding(link.line, f"The picture '{name}' has no caption: a line 'Figure N. ...' under it.")
            continue
        number = re.match(r"Figure\s+(\w+)", link.caption)
        if number is None:
            yield project.finding(link.line, f"The caption of '{name}' has no number.")
        elif number[1] in seen:
            before = seen[number[1]]
            yield project.finding(link.line, f"Figure {number[1]} is there twice; the other is in line {before}.")
        else:
            seen[number[1]] = link.line


def records(project: Project) -> Iterator[Finding]:
    """Find figures of the report without a readable RunSpec beside them."""
    for link in _pictures(project):
        path = project.root / link.target
        kind = PurePosixPath(link.target)
        if kind.suffix in DRAWN or SCREENSHOTS in kind.parts or not path.is_file():
            continue
        beside = path.with_suffix(".json")
        if not beside.is_file():
            yield project.finding(link.line, f"The figure '{kind.name}' has no RunSpec '{beside.name}' beside it.")
            continue
        try:
            RunSpec.load(beside)
        except UserError as error:
            yield Finding(beside.relative_to(project.root).as_posix(), 0, str(error))


def _pictures(project: Project) -> list[Link]:
    return [link for link in project.readme.links if link.picture and project.report.holds(link.line)]
