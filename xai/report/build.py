"""Write the generated parts of a README anew, from the registry and from what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xai.io.files import write_atomic
from xai.report.blocks import fill_blocks, find_blocks
from xai.report.project import FIGURES, Project
from xai.report.tables import DRAWING, render


@dataclass(frozen=True)
class Built:
    """What building changed: names of all generated parts, and of those that were not as they should be."""

    parts: tuple[str, ...]
    changed: tuple[str, ...]


def build_report(root: Path) -> Built:
    """Write the generated parts of README.md and the drawing of the six questions; twice changes nothing more.

    Args:
        root: holds README.md and, once measured, exported_html/report.json.

    Raises:
        UserError: there is no README.md, or its markers are wrong.
    """
    from xai.figures.questions import questions_svg

    project = Project.read(root)
    stale = stale_parts(project)
    lines = fill_blocks(project.readme.lines, lambda name: render(name, project.measured))
    if tuple(lines) != project.readme.lines:
        write_atomic(project.readme.path, ("\n".join(lines) + "\n").encode())
    folder = root / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    svg = questions_svg().encode()
    if not (folder / DRAWING).is_file() or (folder / DRAWING).read_bytes() != svg:
        write_atomic(folder / DRAWING, svg)
    parts = tuple(block.name for block in find_blocks(project.readme.lines))
    return Built(parts, tuple(name for name, _ in stale))


def stale_parts(project: Project) -> list[tuple[str, int]]:
    """Name the generated parts whose text is not what building writes, with the line where each begins."""
    lines = project.readme.lines
    return [
        (block.name, block.first - 1)
        for block in find_blocks(lines)
        if list(lines[block.first - 1 : block.last]) != render(block.name, project.measured)
    ]
