"""How good a classifier is on labelled pictures: top-1, top-5, and which classes it takes for which."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xai.io.geometry import InputFormat
from xai.training.batches import PictureStore, Progress, to_pixels

_BATCH = 100


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of all pictures, counted.

    Attributes:
        pictures: how many were measured.
        top1, top5: share whose class is first, or among the first five (fewer where there are fewer classes).
        loss: mean cross entropy, in nats.
        confusion: int64 (K, K), counts; rows are true classes, columns the predicted ones.
    """

    pictures: int
    top1: float
    top5: float
    loss: float
    confusion: np.ndarray

    def recall(self) -> np.ndarray:
        """Share of each class that was found, float64 (K,); NaN where there was none."""
        counts = self.confusion.sum(1)
        return np.divide(np.diag(self.confusion), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    def confused(self, count: int = 10) -> list[tuple[int, int, int]]:
        """The most frequent mistakes: (true class, predicted class, pictures), most frequent first."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        first = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = [divmod(int(place), len(wrong)) for place in first]
        return [(true, said, int(wrong[true, said])) for true, said in pairs if wrong[true, said]]


class Normalise:
    """From uint8 pixels to what a network wants, on its device."""

    def __init__(self, fmt: InputFormat, device: torch.device) -> None:
        self.device = device
        self.channels = fmt.channels
        self.mean = torch.tensor(fmt.mean, device=device).view(1, -1, 1, 1) * 255
        self.scale = 1 / (torch.tensor(fmt.std, device=device).view(1, -1, 1, 1) * 255)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise uint8 (N, 3, h, w); one-channel networks get the luma (ITU-R 601), as in `Classifier`."""
        values = pixels.to(self.device, non_blocking=True).float()
        if self.channels == 1:
            weights = torch.tensor([0.299, 0.587, 0.114], device=self.device).view(1, 3, 1, 1)
            values = (values * weights).sum(1, keepdim=True)
        return ((values - self.mean) * self.scale).contiguous(memory_format=torch.channels_last)


def evaluate(
    network: nn.Module,
    store: PictureStore,
    fmt: InputFormat,
    device: torch.device,
    *,
    classes: int,
    only: Sequence[int] | None = None,
    gather: Callable[[Tensor], Tensor] = lambda counts: counts,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Measure a network on pictures.

    Args:
        network: takes normalised pixels (N, C, h, w), gives scores (N, classes); its mode is put back afterwards.
        store: pictures of the network's input size.
        fmt: for the normalisation.
        device: where the network is.
        classes: number of classes.
        only: indices of the pictures to measure; default: all.
        gather: adds up counts, float64 (n,), over processes that measure different pictures.
        on_progress: called with (fraction, sentence); may raise `Cancelled`.
    """
    places = list(range(len(store)) if only is None else only)
    normalise = Normalise(fmt, device)
    confusion = torch.zeros(classes, classes, dtype=torch.float64)
    sums = torch.zeros(3, dtype=torch.float64)  # first, among five, loss
    was_training = network.training
    network.eval()
    begun = time.monotonic()
    try:
        with torch.inference_mode():
            for start in range(0, len(places), _BATCH):
                part = places[start : start + _BATCH]
                labels = store.labels[part]
                scores = network(normalise(to_pixels([store[i] for i in part]))).float().cpu()
                best = scores.topk(min(5, classes), 1).indices
                hits = best == labels[:, None]
                loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
                sums += torch.stack([hits[:, 0].sum(), hits.sum(), loss]).double()
                confusion.index_put_((labels, best[:, 0]), torch.ones(len(part), dtype=torch.float64), accumulate=True)
                if on_progress:
                    done = start + len(part)
                    left = (time.monotonic() - begun) / done * (len(places) - done)
                    on_progress(done / len(places), f"{done:,} of {len(places):,} pictures measured, {left:.0f} s left")
    finally:
        network.train(was_training)
    total = gather(torch.cat([sums, confusion.flatten()]))
    counted = total[3:].view(classes, classes)
    pictures = int(counted.sum())
    first, five, loss_sum = (total[:3] / max(1, pictures)).tolist()
    return Evaluation(pictures, first, five, loss_sum, counted.numpy().astype(np.int64))
