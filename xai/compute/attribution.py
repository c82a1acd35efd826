"""What every explanation method returns: raw maps, and details of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

Progress = Callable[[float, Tensor | None], None]
"""Called with (fraction done in [0, 1], partial maps or None); may raise `Cancelled`."""


@runtime_checkable
class AddsUp(Protocol):
    """Details of a method whose values may have to add up to something."""

    @property
    def score_difference(self) -> Tensor | None:
        """What they should add up to: (K,), or None where nothing is promised."""

    @property
    def completeness_gap(self) -> Tensor | None:
        """Sum of all values less that: (K,), or None."""


@runtime_checkable
class Divisible(Protocol):
    """Details of several pictures, with one target each, that can be told apart."""

    def of_picture(self, index: int) -> object:
        """Return the details of one picture, as its own attribution has them."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Maps of one method for K targets.

    Attributes:
        maps: float32 (K, h, w) on the CPU, detached, at working size; raw, never rescaled.
        details: a frozen dataclass with what else the method found, or None.
    """

    maps: Tensor
    details: object | None = None

    def of_picture(self, index: int) -> Attribution:
        """Return the part that one of N pictures, with one target each, has in the attribution of all."""
        details = self.details
        if len(self.maps) > 1:
            details = details.of_picture(index) if isinstance(details, Divisible) else None
        return Attribution(self.maps[index : index + 1], details)


def part_of(on_progress: Progress | None, done: int, count: int) -> Progress | None:
    """Turn the progress of one part of several into that of all; maps of a part are not passed on."""
    return on_progress and (lambda fraction, partial: on_progress((done + fraction) / count, None))
