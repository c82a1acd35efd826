"""What commands print: tables and JSON on standard output, messages and progress on standard error."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Tell = Callable[[float, str], None]
BAR_WIDTH = 24  # characters


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
    begun = time.monotonic()
    shown = False

    def tell(fraction: float, text: str = "") -> None:
        nonlocal shown
        if quiet or not sys.stderr.isatty():
            return
        shown = True
        line = _bar(label, fraction, text, time.monotonic() - begun)
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{line[:width]:<{width}}")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if shown:
            sys.stderr.write("\n")


def _bar(label: str, fraction: float, text: str, seconds: float) -> str:
    filled = round(BAR_WIDTH * fraction)
    parts = [label, f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}]", f"{fraction:4.0%}", text]
    if 0 < fraction < 1 and "left" not in text:  # a download tells its own
        parts.append(f"{seconds * (1 - fraction) / fraction:.0f} s left")
    return "  ".join(filter(None, parts))
