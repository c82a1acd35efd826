"""What LIME comes to with very many samples, found by the lime package itself and kept in a folder: it takes long."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import side_by_side  # noqa: F401  # first: it makes the next line find the package

# isort: split
import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from sklearn.metrics import pairwise_distances
from torch import Tensor

import xai
from xai.compute.fills import make_fill
from xai.compute.masking import MaskedPicture, read_output
from xai.compute.scoring import quick_scores
from xai.compute.segments import Segmenter, segment
from xai.io.files import write_atomic

CACHE = Path(__file__).resolve().parent / "cache"  # never committed
KEPT_EVERY = 500  # samples: so much work is lost at most


@dataclass(frozen=True, eq=False)
class Case:
    """One picture to explain.

    Attributes:
        name: of the picture.
        masked: picture, fill and class.
        segments: int64 (h, w), superpixels from 0 to d - 1.
        digest: tells the weights and the picture from others.
    """

    name: str
    masked: MaskedPicture
    segments: Tensor
    digest: str

    @property
    def features(self) -> int:
        """Number of superpixels."""
        return int(self.segments.max()) + 1

    @property
    def image(self) -> np.ndarray:
        """The picture as the package wants it: float32 (h, w, 3)."""
        return self.masked.pixels.permute(1, 2, 0).contiguous().numpy()


def make_case(model: xai.Model, picture: str, segmenter: Segmenter) -> Case:
    """Cut a picture up and ask about the class that the network predicts."""
    trace = xai.trace(model, picture, [])
    pixels, target = trace.pixels[0], int(trace.scores[0].argmax())
    segments = segment(pixels, segmenter)
    masked = MaskedPicture(trace, pixels, make_fill(pixels, "mean", segments=segments), (target,), "probability")
    return Case(Path(picture).stem, masked, segments, f"{model.weights_digest} {trace.images[0].digest}")


@dataclass(frozen=True, eq=False)
class Asked:
    """Samples and what the network said.

    Attributes:
        samples: (n, d), 1 where a superpixel is shown.
        outputs: (n, 1).
    """

    samples: np.ndarray
    outputs: np.ndarray

    def part(self, start: int, stop: int) -> Asked:
        """Return some of the samples."""
        return Asked(self.samples[start:stop], self.outputs[start:stop])


def new_explainer() -> LimeImageExplainer:
    """Return the package's explainer with its defaults; `ask_package` seeds it."""
    return LimeImageExplainer(random_state=np.random.RandomState(0))


Classify = Callable[[np.ndarray], np.ndarray]
"""Outputs (n, 1) for images (n, h, w, 3)."""


class KnownAnswers:
    """A classifier function for the package that remembers, in a file, what it said, so that a run can be taken up.

    The package asks about the same pictures in the same order whenever it has the same seed, also when it is told to
    take more samples.
    """

    def __init__(self, case: Case, seed: int, folder: Path) -> None:
        key = f"{case.digest} {case.masked.targets} {seed} {hashlib.sha256(case.segments.numpy()).hexdigest()}"
        self.path = folder / f"{case.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        self.known: list[float] = np.load(self.path).tolist() if self.path.exists() else []
        self.asked = 0
        self._case = case

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the output for images (n, h, w, 3): (n, 1)."""
        first, self.asked = self.asked, self.asked + len(images)
        if self.asked > len(self.known):
            batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w)
            masked = self._case.masked
            scores = quick_scores(masked.trace.classifier, batch)
            self.known[first:] = read_output(scores, masked.targets, masked.output)[:, 0].tolist()
            if len(self.known) // KEPT_EVERY > first // KEPT_EVERY:
                self.save()
        return np.array(self.known[first : self.asked])[:, None]

    def save(self) -> None:
        """Write what is known."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, np.array(self.known))
        write_atomic(self.path, buffer.getvalue())


def ask_package(case: Case, count: int, seed: int, classify: Classify, explainer: LimeImageExplainer) -> Asked:
    """Let the package draw, draw up and ask about `count` samples of a picture on the given superpixels."""
    explainer.random_state.seed(seed)
    fill = case.masked.fill.permute(1, 2, 0).contiguous().numpy()  # (3, h, w) -> (h, w, 3)
    with contextlib.redirect_stderr(io.StringIO()):  # its bar of progress
        samples, outputs = explainer.data_labels(case.image, fill, case.segments.numpy(), classify, count)
    return Asked(samples, outputs)


def fit_package(asked: Asked, explainer: LimeImageExplainer) -> np.ndarray:
    """Let the package fit its linear model with its defaults: coefficients (d,)."""
    distances = pairwise_distances(asked.samples, np.ones_like(asked.samples[:1]), metric="cosine").ravel()
    _, pairs, _, _ = explainer.base.explain_instance_with_data(asked.samples, asked.outputs, distances, 0, 100_000)
    coefficients = np.zeros(asked.samples.shape[1])
    for feature, value in pairs:
        coefficients[feature] = value
    return coefficients


def find_limit(case: Case, count: int, folder: Path = CACHE, seed: int = 1_000_003) -> tuple[np.ndarray, Asked]:
    """Return the coefficients (d,) that the package finds with `count` samples, and these samples.

    What it was told before is not asked again.
    """
    explainer = new_explainer()
    classify = KnownAnswers(case, seed, folder)
    asked = ask_package(case, count, seed, classify, explainer)
    classify.save()
    return fit_package(asked, explainer), asked
