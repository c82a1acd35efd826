"""Say whether an answer is right: what the sample photographs show, in the words of the networks' classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from xai.figures.overlays import draw_box
from xai.figures.panels import draw_panels
from xai.io.images import Image
from xai.model import Model
from xai.report.lessons.finding import Finding
from xai.tracing import predict

# Classes of ImageNet that name what a sample shows; none where ImageNet has no class for it (the flower is a dahlia).
SHOWN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cat": ("tabby", "tiger cat"),
        "coffee": ("espresso", "cup", "coffee mug"),
        "rocket": ("missile", "projectile"),
        "grace_hopper": ("military uniform",),
        "motorcycle": (),
        "flower": (),
    }
)
Said = tuple[str, float, int]  # class, probability, index


@dataclass(frozen=True, eq=False)
class Verdict:
    """A network's answer to a photograph, and whether it is right.

    Attributes:
        image: the photograph.
        answer: what the network says first.
        second: what it says next.
        known: whether somebody wrote down what the photograph shows.
        proper: the likeliest of the classes that name it; None where the network has none, or nobody knows.
        rank: of that class, from 1.
    """

    image: Image
    answer: Said
    second: Said
    known: bool
    proper: Said | None
    rank: int

    @property
    def right(self) -> bool:
        """Whether the answer names what the photograph shows."""
        return self.proper is not None and self.proper[2] == self.answer[2]

    @property
    def rival(self) -> Said:
        """The class to compare the answer with: the right one if the answer is wrong and it is there, else the next."""
        return self.second if self.right or self.proper is None else self.proper

    @property
    def words(self) -> str:
        """Say in a few words whether the answer is right."""
        if not self.known:
            return "not judged"
        if self.proper is None:
            return "wrong, as no class of the network names it"
        if self.right:
            return "right"
        name, share, _ = self.proper
        return f"wrong, {name} would be right, rank {self.rank} with {share:.1%}"

    @property
    def line(self) -> str:
        """Photograph, answer and verdict."""
        return f"{self.image.name}: {self.answer[0]} {self.answer[1]:.1%} ({self.words})"


def judge(model: Model, image: Image) -> Verdict:
    """Ask a network about a photograph and compare its answer with what the photograph shows."""
    answers = predict(model, image, k=len(model.class_names))
    known = image.hint == f"sample:{image.name}" and image.name in SHOWN
    names = SHOWN[image.name] if known else ()
    ranked = [(rank, said) for rank, said in enumerate(answers, start=1) if said[0] in names]
    rank, proper = ranked[0] if ranked else (0, None)
    return Verdict(image, answers[0], answers[min(1, len(answers) - 1)], known, proper, rank)


def choose_cases(model: Model, images: Sequence[Image]) -> tuple[Verdict, Verdict]:
    """Choose a right answer and a wrong one among photographs: the surest right one, a wrong one that could be right.

    Without a right answer the first place goes to the photograph whose right class ranks best, without a wrong one the
    second goes to the least certain answer: what they are is always said by their `words`.
    """
    verdicts = [judge(model, image) for image in images]
    right = max(verdicts, key=lambda each: (each.right, each.proper is not None, -each.rank, each.answer[1]))
    others = [each for each in verdicts if each is not right] or verdicts
    wrong = max(others, key=lambda each: (each.known and not each.right, each.proper is not None, -each.answer[1]))
    return right, wrong


def show_verdicts(model: Model, images: Sequence[Image]) -> Finding:
    """Show the photographs, the part of each that the network is given, its first answer, and whether that is right."""
    verdicts = [judge(model, image) for image in images]
    boxes = model.prepare(list(images)).boxes
    lines = [each.line for each in verdicts]
    figure = draw_panels(
        [draw_box(image.pixels, box) for image, box in zip(images, boxes, strict=True)],
        lines,
        alt=f"{len(images)} photographs with the network's first answer: {'; '.join(lines)}.",
        columns=min(len(images), 3),
        suptitle=f"What {model.name} answers",
        blocky=False,
    )
    judged = [each for each in verdicts if each.known]
    right = [each.image.name for each in judged if each.right]
    named = f": {', '.join(right)}" if right else ""
    return Finding(figure, f"{len(right)} of {len(judged)} answers that can be judged are right{named}.")
