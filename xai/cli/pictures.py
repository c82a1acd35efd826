"""Find the pictures that the options name and run over them: what fails is reported, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from xai.cli.text import progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.io.images import Image

BATCH_PIXELS = 48_000_000  # source pixels held together: about 150 MB
Source = str | Path
Made = TypeVar("Made")


def find_sources(values: Sequence[str] | None) -> list[Source]:
    """List sample names and picture files, without repeats, in the order given.

    Raises:
        UserError: none was named, or a name, folder or pattern stands for nothing.
    """
    from xai.io.files import find_images
    from xai.io.samples import SAMPLES, sample_names

    if not values:
        raise UserError(
            f"No picture was named: give --img with a file, a folder, a pattern or a sample ({', '.join(sample_names())})."
        )
    found: dict[Source, None] = {}
    for value in values:
        if value in SAMPLES or not value:
            found[value] = None
        else:
            found.update(dict.fromkeys(find_images(value)))
    return list(found)


def run_over(
    sources: Sequence[Source],
    compute: Callable[[list[Image]], Sequence[Made]],
    keep: Callable[[Source, Made], None],
    *,
    batch: int = 1,
    label: str,
    quiet: bool = False,
) -> list[str]:
    """Load pictures, compute something about each, keep it; one picture that fails does not stop the others.

    Args:
        sources: from `find_sources`.
        compute: makes one result for each picture of a batch; may raise UserError.
        keep: takes a source and its result; may raise UserError.
        batch: how many pictures `compute` gets at most.
        label, quiet: of the progress bar; a single picture has none.

    Returns:
        One sentence for each picture that failed.

    Raises:
        UserError: the only picture failed.
    """
    failures: list[str] = []

    def attempt(call: Callable[[], Made], source: Source) -> Made | None:
        try:
            return call()
        except UserError as error:
            if len(sources) == 1:
                raise
            failures.append(f"{source}: {error}")
            return None

    with progress(label, quiet=quiet or len(sources) == 1) as tell:
        tell(0.0, "")
        for done, group in _batches(sources, batch, attempt):
            for source, made in _compute(group, compute, attempt):
                attempt(lambda source=source, made=made: keep(source, made), source)  # type: ignore[misc]
            tell(done / len(sources), f"{done} of {len(sources)}")
    return failures


def _batches(
    sources: Sequence[Source], size: int, attempt: Callable[[Callable[[], Image], Source], Image | None]
) -> Iterator[tuple[int, list[tuple[Source, Image]]]]:
    """Yield loaded pictures in groups, each with the number of sources that are behind them."""
    from xai.io.images import load_image

    group: list[tuple[Source, Image]] = []
    for number, source in enumerate(sources, start=1):
        image = attempt(lambda source=source: load_image(source), source)  # type: ignore[misc]
        if image is not None:
            group.append((source, image))
        full = len(group) == size or sum(each.width * each.height for _, each in group) > BATCH_PIXELS
        if full or number == len(sources):
            yield number, group
            group = []


def _compute(
    group: list[tuple[Source, Image]],
    compute: Callable[[list[Image]], Sequence[Made]],
    attempt: Callable[[Callable[[], Made], Source], Made | None],
) -> Iterator[tuple[Source, Made]]:
    """Compute a group at once, or, if that fails, one by one to find out whose fault it is."""
    if len(group) > 1:
        try:
            results = compute([image for _, image in group])
        except UserError:
            pass
        else:
            yield from zip([source for source, _ in group], results, strict=True)
            return
    for source, image in group:
        made = attempt(lambda image=image: compute([image])[0], source)  # type: ignore[misc]
        if made is not None:
            yield source, made


def report_failures(failures: Sequence[str], total: int) -> None:
    """End a run in which pictures failed: name them, exit with 1, or with 2 when not one of them worked."""
    for sentence in failures:
        say(f"Skipped {sentence}")
    if failures and len(failures) == total:
        raise UserError(f"None of the {total} pictures worked.")
    if failures:
        say(f"{total - len(failures)} of {total} pictures done, {len(failures)} skipped.")
        raise typer.Exit(1)
