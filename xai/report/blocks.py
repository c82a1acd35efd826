"""Find the generated parts of a README, between markers, and put fresh text into them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xai.errors import UserError

BEGIN = re.compile(r"^<!-- generated: ([a-z_]+(?: [a-z_]+)?) -->$")
END = "<!-- /generated -->"


@dataclass(frozen=True)
class Block:
    """A generated part: what it shows, and its lines between the markers, `first` to `last`, counted from 1.

    An empty block has ``last == first - 1``.
    """

    name: str
    first: int
    last: int


def find_blocks(lines: Sequence[str]) -> list[Block]:
    """List the generated parts of a text.

    Raises:
        UserError: a marker has no partner.
    """
    blocks: list[Block] = []
    opened: tuple[str, int] | None = None
    for number, line in enumerate(lines, start=1):
        begin = BEGIN.match(line.strip())
        if begin and opened:
            raise UserError(f"Line {number}: the generated part '{opened[0]}' has not ended; write {END} first.")
        if begin:
            opened = begin[1], number + 1
        elif line.strip() == END:
            if opened is None:
                raise UserError(f"Line {number}: {END} ends nothing.")
            blocks.append(Block(*opened, number - 1))
            opened = None
    if opened:
        raise UserError(f"Line {opened[1] - 1}: the generated part '{opened[0]}' never ends; write {END} below it.")
    return blocks


def fill_blocks(lines: Sequence[str], render: Callable[[str], Sequence[str]]) -> list[str]:
    """Put fresh text into every generated part.

    Args:
        lines: of the README.
        render: gives the lines for the name of a part.
    """
    filled, at = [], 0
    for block in find_blocks(lines):
        filled += [*lines[at : block.first - 1], *render(block.name)]
        at = block.last
    return [*filled, *lines[at:]]
