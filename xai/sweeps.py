"""Attack pictures with changes of growing size: how accuracy and confidence fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xai.attacks import LABELS, attack_of, check_method
from xai.compute import adversarial
from xai.compute.attribution import Progress
from xai.compute.trace import score_pixels
from xai.errors import UserError
from xai.io.images import load_image
from xai.model import Model
from xai.spec import RunSpec
from xai.tracing import Picture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SWEEP_END = 8 / 255
SHARES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)  # most networks give way long before the end


@dataclass(frozen=True, eq=False)
class AttackSweep:
    """What attacks of growing size do to pictures.

    Attributes:
        table: one row for each epsilon: epsilon, accuracy, confidence (of the label), success, all in [0, 1].
        labels, labelled: class of each picture; if not labelled, what the network says to the clean picture.
        spec: how to make it again.
    """

    table: pd.DataFrame
    labels: tuple[int, ...]
    labelled: bool
    spec: RunSpec

    @property
    def curves(self) -> dict[str, pd.Series]:
        """What is shown, by name, in [0, 1]."""
        right = "Classified as labelled" if self.labelled else "Still classified as without the change"
        curves = {right: self.table["accuracy"], "Mean probability of that class": self.table["confidence"]}
        return curves | ({"Target reached": self.table["success"]} if self.spec.target else {})

    def figure(self, **options: Any) -> Figure:
        """Draw the curves; options go to `figures.attacks.sweep_chart`."""
        from xai.figures.attacks import sweep_chart
        from xai.figures.style import count

        pictures = count(len(self.labels), "picture")
        options.setdefault("title", f"{LABELS[attack_of(self.spec)]} · {pictures} · {self.spec.title}")
        return sweep_chart(self.table["epsilon"].to_numpy(), self.curves, **options)


def attack_sweep(
    model: Model,
    images: Sequence[Picture],
    labels: Sequence[int | str] | None = None,
    epsilons: Sequence[float] | None = None,
    *,
    method: str = "fgsm",
    target: int | str | None = None,
    steps: int = 10,
    resize: str = "center-crop",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> AttackSweep:
    """Say how accuracy and confidence fall as the change grows.

    Args:
        model: from `load_model`.
        images: anything `load_image` takes; their working pixels are held together, at most 0.6 MB each for 224 x 224.
        labels: true class of each; without, what the model says to the clean picture, so that accuracy starts at 1.
        epsilons: sizes of the change; by default `sweep_epsilons()`.
        method, target, steps, resize, seed, on_progress: as for `attack`; one target for all.

    Raises:
        UserError: something named does not exist, an option is out of range, or labels and pictures differ in number.
    """
    import pandas as pd

    check_method(method)
    if not len(images):
        raise UserError("A sweep needs at least one picture.")
    sizes = sweep_epsilons() if epsilons is None else [float(each) for each in epsilons]
    pixels, names, digests = _read(model, images, resize)
    aim = None if target is None else model.find_class(target)
    true = _predicted(model, pixels) if labels is None else [model.find_class(label) for label in labels]
    aims = None if aim is None else [aim] * len(pixels)
    common: dict[str, Any] = {"targets": aims, "attack": method, "steps": steps, "output": model.output, "seed": seed}
    found = adversarial.sweep(model.classifier, pixels, true, sizes, on_progress=on_progress, **common)
    columns = {"epsilon": found.epsilons, "accuracy": found.accuracy, "confidence": found.confidence}
    table = pd.DataFrame({name: each.numpy() for name, each in (columns | {"success": found.success}).items()})
    params: dict[str, Any] = {"sweep": True, "epsilon": sizes} | ({"steps": steps} if method == "pgd" else {})
    spec = model.spec(
        "fgsm",
        resize=resize,
        target=() if aim is None else (aim,),
        params=params | ({} if labels is None else {"labels": true}),
        seed=seed,
    ).about(names, digests)
    return AttackSweep(table, tuple(true), labels is not None, spec)


def _predicted(model: Model, pixels: Tensor) -> list[int]:
    """Return what the model says to each picture."""
    scores = [score_pixels(model.classifier, part) for part in pixels.split(adversarial.CHUNK)]
    return torch.cat(scores).argmax(1).tolist()


def _read(model: Model, images: Sequence[Picture], resize: str) -> tuple[Tensor, list[str], list[str]]:
    """Read pictures one by one: their working pixels (N, 3, h, w), names and digests."""
    pixels, names, digests = [], [], []
    for each in images:
        image = load_image(each)
        pixels.append(model.prepare(image, resize).pixels)
        names.append(image.name)
        digests.append(image.digest)
    if len({each.shape for each in pixels}) > 1:
        raise UserError("A sweep needs working pixels of one size; use resize center-crop or squash.")
    return torch.cat(pixels), names, digests


def sweep_epsilons(end: float = SWEEP_END) -> list[float]:
    """List sizes from 0 to `end`, closer together at the beginning."""
    return [end * share for share in SHARES]
