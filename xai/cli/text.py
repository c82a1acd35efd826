"""What commands print: tables and JSON on standard output, messages and progress on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import typer

Tell = Callable[[float, str], None]


def say(sentence: str) -> None:
    """Print one line on standard error."""
    print(sentence, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """Print a value as JSON; numbers that JSON has no word for become null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: str = "") -> None:
    """Print rows in columns that are as wide as they must be.

    Args:
        headings: of the columns.
        rows: as many cells each.
        right: the headings (with spaces between) of the columns that stand flush right.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    flush = [heading in right.split() for heading in headings]
    for line in (headings, ["-" * width for width in widths], *texts):
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, flush, strict=True)
        ]
        print("  ".join(cells).rstrip())


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[Tell]:
    """Give a function that takes (fraction done, what is going on) and shows a bar with the time left.

    The bar stands on standard error and appears with the first call; there is none when that is no terminal.
    """
    with ExitStack() as stack:
        bars: list[Any] = []

        def tell(fraction: float, text: str = "") -> None:
            if quiet or not sys.stderr.isatty():
                return
            if not bars:
                bar = typer.progressbar(
                    length=1000, label=label, file=sys.stderr, width=24, item_show_func=lambda item: item
                )
                bars.append(stack.enter_context(bar))
            bars[0].update(round(1000 * fraction) - bars[0].pos, text)

        yield tell
