"""The photographs that a report looks at: what the network says to each, and whether that is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xai.attacks import attack
from xai.io.images import Image, load_image
from xai.io.samples import SAMPLES
from xai.model import Model
from xai.tracing import ImageTrace, Picture, predict, trace

# Names of classes that are right for a sample photograph, in any of the usual sets of classes. None at all: no set
# that networks are trained on has a class for what it shows.
TRUTH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cat": ("tabby", "tiger cat", "Egyptian cat", "cat"),
        "coffee": ("espresso", "cup", "coffee mug"),
        "rocket": ("missile", "projectile", "rocket"),
        "motorcycle": ("moped", "motor scooter", "motorcycle"),
        "china": ("palace", "stupa", "pagoda"),
        "flower": ("daisy", "flower"),
        "grace_hopper": ("military uniform",),
        "astronaut": ("space suit", "astronaut"),
    }
)
SAMPLES_SHOWN = tuple(TRUTH)
SIZES = tuple(step / 255 for step in (0.25, 0.5, 1, 2, 4, 8, 16))


@dataclass(frozen=True, eq=False)
class Subject:
    """A photograph and what the network says to it.

    Attributes:
        image: the photograph.
        traced: one forward pass of it.
        answer, probability, target: the class that the network says first; target is its index.
        truth: names of classes that would be right; empty where nobody said.
        known: whether the network has one of these classes.
        turned_at: smallest of `SIZES` at which one step of FGSM changes the answer; None if not asked, or at none.
    """

    image: Image
    traced: ImageTrace
    answer: str
    probability: float
    target: int
    truth: tuple[str, ...]
    known: bool
    turned_at: float | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is one of those that are right."""
        return self.answer.casefold() in {name.casefold() for name in self.truth}

    @property
    def verdict(self) -> str:
        """What the answer is worth: "correct", "wrong", or "not judged" where nobody said what is right."""
        return "not judged" if not self.truth else "correct" if self.right else "wrong"

    def describe(self) -> dict[str, Any]:
        """Say what the report's table says about it."""
        sample = SAMPLES.get(self.image.name)
        return {
            "name": self.image.name,
            "title": sample.title if sample else "own photograph",
            "licence": sample.licence if sample else "own",
            "width": self.image.width,
            "height": self.image.height,
            "answer": self.answer,
            "probability": round(self.probability, 4),
            "verdict": self.verdict,
            "known": self.known or not self.truth,
        }


def find_subjects(model: Model, pictures: Sequence[Picture]) -> list[Subject]:
    """Ask the network about photographs; a file's right class is its folder's name where the network knows that."""
    return [_subject(model, picture) for picture in pictures]


def choose_roles(subjects: Sequence[Subject]) -> dict[str, Subject]:
    """Choose the two that the report reads closely: the surest right and the surest wrong answer.

    Where there is no such answer, or nobody said what is right, the surest or the least sure of the others stands in.
    """
    roles = {}
    for role, wanted in (("right", "correct"), ("wrong", "wrong")):
        found = [subject for subject in subjects if subject.verdict == wanted]
        best = max(found, key=lambda subject: (subject.known, subject.probability), default=None)
        if best is not None:
            roles[role] = best
    for role, sign in (("right", 1), ("wrong", -1)):
        rest = [subject for subject in subjects if subject not in roles.values()]
        if role not in roles and rest:
            roles[role] = max(rest, key=lambda subject: sign * subject.probability)
    return {role: roles[role] for role in ("right", "wrong") if role in roles}


def find_turning_point(model: Model, subject: Subject) -> float | None:
    """Find the smallest of `SIZES` at which one step of FGSM changes the answer."""
    return next((size for size in SIZES if attack(model, subject.image, epsilon=size).success), None)


def _subject(model: Model, picture: Picture) -> Subject:
    image = load_image(picture)
    traced = trace(model, image)
    [(answer, probability, target)] = predict(traced, k=1)
    names = {name.casefold() for name in model.class_names}
    truth = TRUTH.get(image.name, ())
    if isinstance(picture, Path) and picture.parent.name.casefold() in names:
        truth = (picture.parent.name,)
    known = any(name.casefold() in names for name in truth)
    return Subject(image, traced, answer, probability, target, truth, known)
