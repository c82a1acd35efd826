"""A report as the rules see it: the README, the part of it that is the report, and what was measured for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xai.errors import UserError
from xai.report.document import Document, Heading, Section

README, EXPORTED, NOTEBOOKS = "README.md", "exported_html", "notebooks"
MEASURED = f"{EXPORTED}/report.json"
FIGURES = f"{EXPORTED}/figures"
REPORT, APPROACHES = "Report", "Approaches"
QUESTIONS = ("Why", "What", "When", "Who", "How", "Where")
PARTS = ("Summary", "Categorisation", "Interpretation")
CHAPTERS = (
    "Framework",
    "Questions of this project",
    "Model",
    "Data",
    APPROACHES,
    "Summary of approaches",
    "Demo",
    "Authorship",
    "Development environment",
)
FORMAT = 1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: a sentence, and where; line 0 is the file as a whole."""

    file: str
    line: int
    sentence: str

    def __str__(self) -> str:
        """Write it as editors read it: "README.md:12: sentence"."""
        return f"{self.file}:{self.line}: {self.sentence}" if self.line else f"{self.file}: {self.sentence}"


@dataclass(frozen=True)
class Project:
    """A folder with a report in its README.

    Attributes:
        root: the folder.
        readme: its README.md.
        measured: what `xai report build --measure` wrote; empty when there is none.
    """

    root: Path
    readme: Document
    measured: Mapping[str, Any]

    @classmethod
    def read(cls, root: Path) -> Project:
        """Read a project.

        Raises:
            UserError: there is no such folder, or no README.md in it.
        """
        path = root / README
        if not path.is_file():
            raise UserError(f"There is no {README} in '{root}'.")
        return cls(root, Document.read(path), read_measured(root))

    @cached_property
    def report(self) -> Section:
        """The part of the README that is the report: all of it where no heading says where it begins."""
        chapters = self.readme.sections(level=1)
        first = next((each for each in chapters if each.heading.title.startswith(REPORT)), None)
        if first is not None:
            return first
        top = self.readme.headings[0] if self.readme.headings else None
        line, last = (top.line if top else 1), len(self.readme.lines)
        return Section(top or Heading(1, "", 1), line + 1, last)

    @cached_property
    def approaches(self) -> tuple[Section, ...]:
        """The section of each approach."""
        chapter = self.readme.section(APPROACHES, self.report)
        return self.readme.sections(chapter, chapter.heading.level + 1) if chapter else ()

    def finding(self, line: int, sentence: str) -> Finding:
        """Say that something is wrong in the README."""
        return Finding(README, line, sentence)


def read_measured(root: Path) -> dict[str, Any]:
    """Read what was measured for the report of a folder; empty when nothing was.

    Raises:
        UserError: the file is not one of ours.
    """
    path = root / MEASURED
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{MEASURED} is no JSON: {error}.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"{MEASURED} was not written by `xai report build --measure`.")
    return found
