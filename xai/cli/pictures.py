"""Find the pictures that the options name and run over them: what fails is reported, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from xai.cli.text import progress, say
from xai.errors import UserError, one_of

if TYPE_CHECKING:
    from xai.io.images import Image

BATCH_PIXELS = 48_000_000  # source pixels held together: about 150 MB
Source = str | Path
Made = TypeVar("Made")


@dataclass(frozen=True)
class PictureList:
    """Sample names and picture files, without repeats.

    Attributes:
        sources: in the order given.
        only: the picture itself where there is just one, so that what is wrong with it shows at once.
    """

    sources: tuple[Source, ...]
    only: Image | None

    def __len__(self) -> int:
        return len(self.sources)


def find_pictures(values: Sequence[str] | None) -> PictureList:
    """List the pictures that --img names.

    Raises:
        UserError: none was named, a name, folder or pattern stands for nothing, or the only picture cannot be read.
    """
    from xai.io.files import find_images
    from xai.io.images import load_image
    from xai.io.samples import SAMPLES, sample_names

    if not values:
        raise UserError(
            "No picture was named: give --img with a file, a folder, a pattern or one of the samples "
            f"{', '.join(sample_names())}."
        )
    found: dict[Source, None] = {}
    for value in values:
        if value in SAMPLES or not value:
            found[value] = None
        else:
            found.update(dict.fromkeys(find_images(value)))
    sources = tuple(found)
    return PictureList(sources, load_image(sources[0]) if len(sources) == 1 else None)


def run_over(
    pictures: PictureList,
    compute: Callable[[list[Image]], Sequence[Made]],
    keep: Callable[[Source, Made], None],
    *,
    batch: int = 1,
    label: str,
    quiet: bool = False,
) -> list[str]:
    """Load pictures, compute something about each, keep it; one picture that fails does not stop the others.

    Args:
        pictures: from `find_pictures`.
        compute: makes one result for each picture of a batch; may raise UserError.
        keep: takes a source and its result; may raise UserError.
        batch: how many pictures `compute` gets at most.
        label, quiet: of the progress bar; a single picture has none.

    Returns:
        One sentence for each picture that failed.

    Raises:
        UserError: the only picture failed.
    """
    attempt = _Attempts(alone=len(pictures) == 1)
    with progress(label, quiet=quiet or len(pictures) == 1) as tell:
        tell(0.0, "")
        for done, group in _batches(pictures, batch, attempt):
            for source, made in _compute(group, compute, attempt):
                attempt(partial(keep, source, made), source)
            tell(done / len(pictures), f"{done} of {len(pictures)}")
    return attempt.failures


class _Attempts:
    """Calls what may fail for one picture, and remembers in which sentence it did; alone, it fails for good."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.failures: list[str] = []

    def __call__(self, call: Callable[[], Made], source: Source) -> Made | None:
        try:
            return call()
        except UserError as error:
            if self.alone:
                raise
            self.failures.append(f"{source}: {error}")
            return None


def _batches(pictures: PictureList, size: int, attempt: _Attempts) -> Iterator[tuple[int, list[tuple[Source, Image]]]]:
    """Yield loaded pictures in groups, each with the number of sources that are behind them."""
    from xai.io.images import load_image

    group: list[tuple[Source, Image]] = []
    for number, source in enumerate(pictures.sources, start=1):
        image = pictures.only or attempt(partial(load_image, source), source)
        if image is not None:
            group.append((source, image))
        full = len(group) == size or sum(each.width * each.height for _, each in group) > BATCH_PIXELS
        if full or number == len(pictures):
            yield number, group
            group = []


def _compute(
    group: list[tuple[Source, Image]],
    compute: Callable[[list[Image]], Sequence[Made]],
    attempt: _Attempts,
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
        made = attempt(partial(compute, [image]), source)
        if made is not None:
            yield source, made[0]


def report_failures(failures: Sequence[str], total: int) -> None:
    """End a run in which pictures failed: name them, exit with 1, or with 2 when not one of them worked."""
    for sentence in failures:
        say(f"Skipped {sentence}")
    if failures and len(failures) == total:
        raise UserError(f"None of the {total} pictures worked.")
    if failures:
        say(f"{total - len(failures)} of {total} pictures done, {len(failures)} skipped.")
        raise typer.Exit(1)


def check_resize(mode: str | None) -> str:
    """Return the way to make working pixels, center-crop unless given.

    Raises:
        UserError: there is no such way.
    """
    from xai.io.geometry import RESIZE_MODES

    if mode is not None and mode not in RESIZE_MODES:
        raise one_of("resize", mode, RESIZE_MODES)
    return mode or "center-crop"
