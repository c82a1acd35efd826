"""Deep Feature Factorization: the concepts that a layer sees in pictures, where, and what the classifier calls them.

The ReLU of a layer's activations (N, C, h', w') is read as a matrix of N * h' * w' places by C channels and factorised
into k parts, all numbers >= 0. All pictures share one factorisation, so concept 1 means the same in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from xai.compute.attribution import Progress
from xai.compute.cam import enlarge
from xai.compute.nmf import Factors, check_components, nmf
from xai.compute.trace import Trace
from xai.errors import UserError

HEAD_AGREEMENT = 1e-3  # of the largest |score|: above float32 rounding, below what another head would give
_HEAD_PARTS = (
    nn.Linear,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.BatchNorm1d,
    nn.LayerNorm,
    nn.ReLU,
    nn.Hardswish,
    nn.SiLU,
    nn.GELU,
    nn.Tanh,
)


@dataclass(frozen=True, eq=False)
class ConceptLabels:
    """What the classifier would say to each concept alone.

    Attributes:
        head: name of the module that follows global average pooling.
        classes: int64 (k, n), best first.
        probabilities: float32 (k, n) in [0, 1].
    """

    head: str
    classes: Tensor
    probabilities: Tensor


@dataclass(frozen=True, eq=False)
class Factorization:
    """The concepts of one layer in N pictures, the most active first; all on the CPU.

    Attributes:
        cells: float32 (N, k, h', w'), >= 0: how much of each concept is at each place. The largest value of a concept
            over all pictures is 1, so that pictures can be compared.
        maps: float32 (N, k, h, w), the cells enlarged to working size, bilinear.
        vectors: float32 (k, C), >= 0, in units of the activation: what a concept adds where its cell is 1.
        shares: float32 (k,), share of each concept in what they make up together; they add up to 1.
        error: Frobenius norm of what the concepts leave over, as a share of that of the activations.
        steps, converged: of the factorisation.
        labels: the classes of each concept, or None.
        unlabelled: why there are no labels, in one sentence, or None.
    """

    cells: Tensor
    maps: Tensor
    vectors: Tensor
    shares: Tensor
    error: float
    steps: int
    converged: bool
    labels: ConceptLabels | None
    unlabelled: str | None


def factorize(
    trace: Trace,
    *,
    layer: str,
    components: int = 5,
    top_k: int = 2,
    output: str = "softmax",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Factorization:
    """Find k concepts that together make up what a layer did for all pictures of a trace.

    Args:
        trace: of N images; they are factorised together.
        layer: name of a kept layer with output (N, C, h', w').
        components: k, from 1 to min(C, N * h' * w').
        top_k: classes per concept, at most all.
        output: "softmax" or "sigmoid", how the network's scores become probabilities.
        seed: of the factorisation's start.
        on_progress: called during the factorisation; the end may come much earlier than it says.

    Raises:
        UserError: the number of components is not valid.

    Source: Collins, Achanta and Susstrunk 2018, arXiv 1806.10206. It leaves the scale of the factors open; here each
    concept is scaled by its strongest place. Labels follow pytorch-grad-cam, which subtracts each channel's minimum
    instead of taking the ReLU and labels vectors of arbitrary scale.
    """
    matrix = _places(trace, layer)
    factors = nmf(matrix, components, seed=seed, on_progress=on_progress)
    images, _, height, width = trace.activation(layer).shape
    peak = factors.left.amax(0)  # (P, k) -> (k,)
    vectors = factors.right * peak[:, None]  # (k, C)
    left = factors.left / torch.where(peak > 0, peak, 1.0)  # (P, k)
    parts = left.sum(0) * vectors.sum(1)  # (k,)
    shares = parts / parts.sum().clamp_min(1e-30)
    order = shares.argsort(descending=True, stable=True)
    cells = left[:, order].float().unflatten(0, (images, height, width)).permute(0, 3, 1, 2)  # (P, k) -> (N, k, h', w')
    size = (trace.pixels.shape[2], trace.pixels.shape[3])
    maps = enlarge(cells.flatten(0, 1), size).unflatten(0, (images, components))  # (N, k, h, w)
    vectors = vectors[order].float()
    head, reason = find_head(trace, layer)
    return Factorization(
        cells=cells.contiguous().cpu(),
        maps=maps.cpu(),
        vectors=vectors.cpu(),
        shares=shares[order].float().cpu(),
        error=factors.error,
        steps=factors.steps,
        converged=factors.converged,
        labels=_label(trace, head, vectors, top_k, output) if head else None,
        unlabelled=reason,
    )


def _places(trace: Trace, layer: str) -> Tensor:
    """Lay out the ReLU of a layer as one row per place: (N, C, h', w') -> (N * h' * w', C), in float64 if possible."""
    activation = trace.activation(layer).relu()
    precise = activation if activation.device.type == "mps" else activation.double()
    return precise.permute(0, 2, 3, 1).flatten(0, 2)


def find_head(trace: Trace, layer: str) -> tuple[str | None, str | None]:
    """Find the module that turns the average of a layer over places into the scores, or say why there is none.

    It is looked for by its form (fully connected layers and what stands between them) and then proved on the images
    of the trace: applied to the average, of the activations or of their ReLU, it must give the scores.

    Returns:
        Name of the module and None, or None and the reason in one sentence.
    """
    activation = trace.activation(layer)
    scores = trace.scores.detach()
    limit = HEAD_AGREEMENT * float(scores.abs().max())
    for name, module in trace.classifier.network.named_modules():
        if _is_head(module, activation.shape[1], scores.shape[1]):
            for values in (activation, activation.relu()):
                with torch.no_grad():
                    given = module(values.mean((2, 3)))  # (N, C, h', w') -> (N, K)
                if float((given - scores).abs().max()) <= limit:
                    return name, None
    return None, (
        f"Concepts of layer '{layer}' have no class labels: the scores are not fully connected layers applied to the "
        "layer's average over places. The last stage of a network that ends in global average pooling has them."
    )


def _is_head(module: nn.Module, channels: int, classes: int) -> bool:
    """Whether a module is made of fully connected layers, from so many channels to so many classes."""
    parts = list(module) if isinstance(module, nn.Sequential) else [module]
    linear = [part for part in parts if isinstance(part, nn.Linear)]
    fits = bool(linear) and linear[0].in_features == channels and linear[-1].out_features == classes
    return fits and all(isinstance(part, _HEAD_PARTS) for part in parts)


def _label(trace: Trace, head: str, vectors: Tensor, top_k: int, output: str) -> ConceptLabels:
    with torch.no_grad():
        scores = trace.classifier.network.get_submodule(head)(vectors.clone())  # may write in place, (k, C) -> (k, K)
    probabilities = scores.sigmoid() if output == "sigmoid" else scores.softmax(1)
    best = probabilities.topk(min(top_k, scores.shape[1]), dim=1)
    return ConceptLabels(head, best.indices.cpu(), best.values.float().cpu())


@dataclass(frozen=True)
class ComponentChoice:
    """How well each number of concepts describes a layer, and whether it does so reliably.

    Attributes:
        counts: the numbers tried, ascending.
        errors: what is left over, as in `Factorization`; the lowest of all starts.
        stabilities: mean similarity in [0, 1] of matched concepts between random starts; 1 is the same every time.
        chosen: the number proposed.
    """

    counts: tuple[int, ...]
    errors: tuple[float, ...]
    stabilities: tuple[float, ...]
    chosen: int


def choose_components(
    trace: Trace,
    *,
    layer: str,
    counts: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    seeds: Sequence[int] = (0, 1, 2),
    stable: float = 0.9,
    gain: float = 0.01,
    on_progress: Progress | None = None,
) -> ComponentChoice:
    """Propose a number of concepts: as many as come out alike from different starts and still explain more.

    From few to many, a number replaces the one chosen before if its stability reaches `stable` and it lowers the error
    by at least `gain`. If none is stable, the most stable one is proposed.

    Args:
        trace: of N images.
        layer: name of a kept layer.
        counts: numbers to try; those that the layer cannot have are left out.
        seeds: of the random starts, two or more.
        stable, gain: see above; 0 to 1.
        on_progress: called after every factorisation.

    Raises:
        UserError: there are fewer than two seeds, or no number can be had.

    Source: in the spirit of Brunet et al. 2004, who compare clusterings; here parts are matched one to one.
    """
    if len(seeds) < 2:
        raise UserError("Stability needs at least two seeds.")
    matrix = _places(trace, layer)
    kept = sorted({count for count in counts if 1 <= count <= min(matrix.shape)})
    if not kept:
        check_components(max(counts, default=0), matrix.shape)
    errors, stabilities = [], []
    for position, count in enumerate(kept):
        found = []
        for done, seed in enumerate(seeds, start=position * len(seeds) + 1):
            found.append(nmf(matrix, count, start="random", seed=seed))
            if on_progress:
                on_progress(done / (len(kept) * len(seeds)), None)
        errors.append(min(each.error for each in found))
        pairs = [concept_similarity(one, other) for one, other in combinations(found, 2)]
        stabilities.append(sum(pairs) / len(pairs))
    best = None
    for i, stability in enumerate(stabilities):
        if stability >= stable and (best is None or errors[best] - errors[i] >= gain):
            best = i
    chosen = stabilities.index(max(stabilities)) if best is None else best
    return ComponentChoice(tuple(kept), tuple(errors), tuple(stabilities), kept[chosen])


def concept_similarity(one: Factors, other: Factors) -> float:
    """Return the mean cosine of matched parts of two factorisations, in [0, 1].

    A part is a whole matrix, column times row; the cosine of two parts is that of their columns times that of their
    rows. Parts are matched one to one such that the sum is largest.
    """
    left = nn.functional.normalize(one.left, dim=0).T @ nn.functional.normalize(other.left, dim=0)  # (k, k)
    right = nn.functional.normalize(one.right, dim=1) @ nn.functional.normalize(other.right, dim=1).T  # (k, k)
    similarity = (left * right).cpu().numpy()
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return float(similarity[rows, columns].mean())
