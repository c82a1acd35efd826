"""Read a Markdown report as what it consists of: headings, sections, tables, links and pictures, each with its line."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HTML_LINK = re.compile(r"<(img|a)\b([^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-z]+)\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
_SEPARATOR = re.compile(r"^\|?(\s*:?-{1,}:?\s*\|)+\s*(:?-{1,}:?)?\s*$")
_CAPTION = re.compile(r"^[*_]{0,2}Figure\b")


@dataclass(frozen=True)
class Heading:
    """A heading: its level (1 to 6), its plain text, and its line, counted from 1."""

    level: int
    title: str
    line: int


@dataclass(frozen=True)
class Row:
    """One row of a table, without marks of emphasis or code."""

    cells: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Table:
    """A table: the cells of its head, its rows, and the line of its head."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    line: int


@dataclass(frozen=True)
class Link:
    """A link, or a picture with its alternative text and the caption that stands under it ("" where none does)."""

    target: str
    text: str
    line: int
    picture: bool = False
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, up to the next heading of its level: lines `first` to `last`."""

    heading: Heading
    first: int
    last: int

    def holds(self, line: int) -> bool:
        """Whether a line belongs to the section."""
        return self.heading.line <= line <= self.last


@dataclass(frozen=True)
class Document:
    """A Markdown file.

    Attributes:
        path: where it lies.
        lines: its lines, the first being `lines[0]`.
    """

    path: Path
    lines: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a Markdown file in UTF-8."""
        return cls(path, tuple(path.read_text(encoding="utf-8").splitlines()))

    @cached_property
    def code(self) -> frozenset[int]:
        """Lines of fenced code, the fences included."""
        found, fence = set(), ""
        for number, line in enumerate(self.lines, start=1):
            mark = re.match(r"^\s*(```+|~~~+)", line)
            if fence or mark:
                found.add(number)
            if mark and not fence:
                fence = mark[1]
            elif mark and mark[1].startswith(fence):
                fence = ""
        return frozenset(found)

    @cached_property
    def text(self) -> tuple[tuple[int, str], ...]:
        """Numbered lines of what people read: no fenced code, no comments, inline code blanked out."""
        shown, hidden = [], False
        for number, line in enumerate(self.lines, start=1):
            if number in self.code:
                continue
            kept = re.sub(r"<!--.*?-->", "", line)
            hidden, kept = (True, "") if hidden and "-->" not in kept else (False, kept.split("-->")[-1])
            if "<!--" in kept:
                hidden, kept = True, kept.split("<!--")[0]
            shown.append((number, re.sub(r"`[^`]*`", lambda mark: " " * len(mark[0]), kept)))
        return tuple(shown)

    @cached_property
    def headings(self) -> tuple[Heading, ...]:
        """All headings, in order."""
        plain = ((number, self.lines[number - 1]) for number, _ in self.text)
        found = ((number, _HEADING.match(line)) for number, line in plain)
        return tuple(Heading(len(mark[1]), _plain(mark[2]), number) for number, mark in found if mark)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """All tables, in order."""
        tables, shown = [], {number for number, _ in self.text}
        for number in sorted(shown):
            below = self.lines[number] if number < len(self.lines) else ""
            if "|" in self.lines[number - 1] and _SEPARATOR.match(below.strip()):
                end = number + 1
                while end < len(self.lines) and self.lines[end].strip().startswith("|"):
                    end += 1
                head = _cells(self.lines[number - 1])
                cells = ((_cells(self.lines[at]), at + 1) for at in range(number + 1, end))
                rows = tuple(Row(each + ("",) * (len(head) - len(each)), line) for each, line in cells)
                tables.append(Table(head, rows, number))
        return tuple(tables)

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """All links and pictures, Markdown and HTML, in order."""
        return tuple(link for number, line in self.text for link in self._links_of(number, line))

    def section(self, title: str, within: Section | None = None) -> Section | None:
        """Find the section of that title, in any case, inside another one or anywhere."""
        wanted = title.casefold()
        return next((each for each in self.sections(within) if each.heading.title.casefold() == wanted), None)

    def sections(self, within: Section | None = None, level: int | None = None) -> tuple[Section, ...]:
        """List sections: all, or those inside another one, of one level."""
        found = []
        for place, heading in enumerate(self.headings):
            later = (each.line - 1 for each in self.headings[place + 1 :] if each.level <= heading.level)
            found.append(Section(heading, heading.line + 1, next(later, len(self.lines))))
        inside = [each for each in found if within is None or within.first <= each.heading.line <= within.last]
        return tuple(each for each in inside if level is None or each.heading.level == level)

    def words(self, section: Section) -> str:
        """Give what a section says: its own text without headings, pictures, captions and table rules."""
        lines = [
            line
            for number, line in self.text
            if section.first <= number <= section.last
            and not _HEADING.match(line)
            and not _SEPARATOR.match(line.strip())
            and not _CAPTION.match(line)
        ]
        return " ".join(re.sub(r"!\[[^\]]*\]\([^)]*\)", "", " ".join(lines)).split())

    def anchors(self) -> frozenset[str]:
        """Name the anchors that a code host gives to the headings."""
        seen: dict[str, int] = {}
        for heading in self.headings:
            name = re.sub(r"[^\w\- ]", "", heading.title.casefold()).replace(" ", "-")
            seen[name] = seen.get(name, -1) + 1
            if seen[name]:
                seen[f"{name}-{seen[name]}"] = 0
        return frozenset(seen)

    def _links_of(self, number: int, line: str) -> list[Link]:
        found = []
        for mark, text, target in _LINK.findall(line):
            found.append(Link(target, text.strip(), number, bool(mark), self._caption(number) if mark else ""))
            found += self._links_of(number, text) if "](" in text else []
        for tag, attributes in _HTML_LINK.findall(line):
            values = {name.lower(): html.unescape(value) for name, value in _ATTRIBUTE.findall(attributes)}
            picture = tag.lower() == "img"
            target = values.get("src" if picture else "href", "")
            if target:
                caption = self._caption(number) if picture else ""
                found.append(Link(target, values.get("alt", "").strip(), number, picture, caption))
        return found

    def _caption(self, number: int) -> str:
        """Give the first line below a picture that says something, if it begins with "Figure"."""
        below = (line.strip() for line in self.lines[number:])
        said = next((line for line in below if line and not line.startswith("!")), "")
        return said.strip("*_ ") if _CAPTION.match(said) else ""


def _plain(text: str) -> str:
    return re.sub(r"[*`]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)).strip()


def _cells(line: str) -> tuple[str, ...]:
    inner = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return tuple(_plain(cell) for cell in inner)
