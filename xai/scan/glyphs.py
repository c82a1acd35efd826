"""Small drawn pictures whose content is known: shape, fill and colours, with object masks and words for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SIDE = 32  # pixels
_FINE = 3  # samples per pixel and direction
VERSION = 1  # of the drawing; a run says which one it was trained on

FAMILIES = {
    "round": ("disc", "ring", "crescent"),
    "straight": ("triangle", "square", "bar"),
    "pointed": ("plus", "star"),
}
SHAPES = tuple(shape for shapes in FAMILIES.values() for shape in shapes)
FILLS = ("plain", "striped", "checked")
KINDS = tuple(f"{fill} {shape}" for shape in SHAPES for fill in FILLS)
COLOURS = {
    "red": (200, 40, 40),
    "orange": (235, 140, 40),
    "yellow": (240, 220, 70),
    "green": (60, 150, 60),
    "cyan": (90, 205, 210),
    "blue": (45, 70, 180),
    "purple": (120, 50, 140),
    "pink": (240, 160, 190),
    "black": (30, 30, 34),
    "white": (236, 236, 232),
}
_LUMA = np.array([0.299, 0.587, 0.114])
_SPLITS = {"train": 0, "validation": 1}

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]  # coordinates with the object's radius as unit -> inside?


@dataclass(frozen=True)
class Glyph:
    """Everything that decides one picture.

    Attributes:
        kind: index in `KINDS`.
        colour, background: names in `COLOURS`.
        centre: across and down from the middle, in pixels.
        radius: of the circle around the object, in pixels.
        angle: in radians.
        noise: standard deviation, on a scale of 255.
    """

    kind: int
    colour: str
    background: str
    centre: tuple[float, float]
    radius: float
    angle: float
    noise: float

    @property
    def shape(self) -> str:
        """Name of the shape."""
        return SHAPES[self.kind // len(FILLS)]

    @property
    def fill(self) -> str:
        """Name of the fill."""
        return FILLS[self.kind % len(FILLS)]

    @property
    def family(self) -> str:
        """Name of the family of shapes."""
        return next(family for family, shapes in FAMILIES.items() if self.shape in shapes)

    @property
    def words(self) -> tuple[str, ...]:
        """What a person would say about it."""
        size = "large" if self.radius > 12 else "small" if self.radius < 10.5 else "middle-sized"
        return (self.shape, self.fill, self.family, self.colour, f"{self.background} background", size)


class Glyphs:
    """A set of glyphs; the same seed gives the same pictures, and none of them is stored.

    Args of the constructor:
        count: how many.
        seed: of every choice.
        split: "train" or "validation": other pictures from the same seed.
    """

    def __init__(self, count: int, seed: int = 0, split: str = "train") -> None:
        self.count, self.seed, self.split = count, seed, split
        generator = np.random.default_rng((seed, _SPLITS[split]))
        self.kinds = generator.permutation(np.arange(count) % len(KINDS))  # as many of each as can be
        self._drawn = lru_cache(maxsize=2048)(self._draw)

    def __len__(self) -> int:
        return self.count

    def glyph(self, index: int) -> Glyph:
        """What picture number `index` shows."""
        return self._choose(index)[0]

    def picture(self, index: int) -> np.ndarray:
        """Draw a picture, uint8 (32, 32, 3)."""
        return self._drawn(index)[0]

    def mask(self, index: int) -> np.ndarray:
        """Where its object is, bool (32, 32): half of the pixel or more."""
        return self._drawn(index)[1]

    def _choose(self, index: int) -> tuple[Glyph, np.random.Generator]:
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} glyphs, not number {index}")
        generator = np.random.default_rng((self.seed, _SPLITS[self.split], index))
        names = list(COLOURS)
        colour = names[generator.integers(len(names))]
        apart = [name for name in names if abs(_light(name) - _light(colour)) > 55]
        glyph = Glyph(
            kind=int(self.kinds[index]),
            colour=colour,
            background=apart[generator.integers(len(apart))],
            centre=(float(generator.uniform(-3, 3)), float(generator.uniform(-3, 3))),
            radius=float(generator.uniform(9, 13)),
            angle=float(generator.uniform(0, 2 * math.pi)),
            noise=float(generator.uniform(3, 12)),
        )
        return glyph, generator

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        glyph, generator = self._choose(index)
        u, v = _object_coordinates(glyph)
        inside = FIELDS[glyph.shape](u, v)
        second = inside & _PATTERNS[glyph.fill](u, v)
        front, back = (
            np.clip(np.array(COLOURS[name]) + generator.normal(0, 12, 3), 0, 255)
            for name in (glyph.colour, glyph.background)
        )
        shares = np.stack([_per_pixel(inside & ~second), _per_pixel(second)])  # (2, h, w)
        light = 1 + 0.15 * generator.uniform(-1, 1) * np.linspace(-1, 1, SIDE)[:, None, None]
        half_way = 0.55 * front + 0.45 * back
        picture = (1 - shares.sum(0))[..., None] * back * light + shares[0, ..., None] * front
        picture = picture + shares[1, ..., None] * half_way + generator.normal(0, glyph.noise, (SIDE, SIDE, 3))
        drawn, mask = np.clip(picture.round(), 0, 255).astype(np.uint8), shares.sum(0) >= 0.5
        drawn.flags.writeable = mask.flags.writeable = False
        return drawn, mask


def _light(name: str) -> float:
    return float(_LUMA @ np.array(COLOURS[name]))


def _object_coordinates(glyph: Glyph) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the fine samples, turned with the object and measured in its radius, each (96, 96)."""
    places = (np.arange(SIDE * _FINE) + 0.5) / _FINE - SIDE / 2
    x, y = places[None, :] - glyph.centre[0], places[:, None] - glyph.centre[1]
    cosine, sine = math.cos(glyph.angle), math.sin(glyph.angle)
    return (cosine * x + sine * y) / glyph.radius, (cosine * y - sine * x) / glyph.radius


def _per_pixel(fine: np.ndarray) -> np.ndarray:
    """Share of each pixel that is covered: (96, 96) -> (32, 32)."""
    return fine.reshape(SIDE, _FINE, SIDE, _FINE).mean((1, 3))


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Five points on the unit circle, the notches between them at 0.4."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    turn = np.abs((angle + math.pi / 5) % (2 * math.pi / 5) - math.pi / 5)  # 0 at a point, pi / 5 at a notch
    x, y = radius * np.cos(turn), radius * np.sin(turn)
    notch = 0.4 * np.array([math.cos(math.pi / 5), math.sin(math.pi / 5)])
    return (x - 1) * notch[1] - y * (notch[0] - 1) <= 0


FIELDS: dict[str, Field] = {
    "disc": lambda u, v: u**2 + v**2 < 0.81,
    "ring": lambda u, v: (u**2 + v**2 < 0.95) & (u**2 + v**2 > 0.28),
    "crescent": lambda u, v: (u**2 + v**2 < 1) & ((u - 0.55) ** 2 + v**2 > 0.72),
    "triangle": lambda u, v: (v < 0.5) & (np.abs(u) * 1.732 < v + 1),
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.72,
    "bar": lambda u, v: (np.abs(u) < 0.98) & (np.abs(v) < 0.3),
    "plus": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.25) & (np.maximum(np.abs(u), np.abs(v)) < 0.95),
    "star": _star,
}
_PATTERNS: dict[str, Field] = {
    "plain": lambda u, v: np.zeros(u.shape, bool),
    "striped": lambda u, v: (u * 2.4) % 1 < 0.5,
    "checked": lambda u, v: ((u * 1.9) % 1 < 0.5) ^ ((v * 1.9) % 1 < 0.5),
}
