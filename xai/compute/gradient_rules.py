"""Methods with rules of their own for what flows back: guided backpropagation, DeepLIFT, DeepLIFT-SHAP, LRP.

They run on the prepared copy of the network (see `prepare`), with nothing hooked, so threads do not meet. Arguments and
results are those of `gradients`. The `..._problem` functions say in one sentence why a method is not right for a
network, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.baselines import fixed_baseline, random_baseline, step_seeds
from xai.compute.operations import Kind, operations_of, with_rule
from xai.compute.pixel_gradients import attribution_of, pick_targets, sum_gradients, target_scores
from xai.compute.prepare import prepare, read_graph
from xai.compute.propagation import Relevance, guide, rescale
from xai.compute.scoring import merged_copy
from xai.compute.trace import Classifier, Trace

RELU_KINDS = (Kind.ROUTING, Kind.LINEAR, Kind.MAXIMUM, Kind.RECTIFIER)
RULE_COST = 2  # memory of a picture with rules, in pictures without
PAIR_COST = 4  # and of a picture with its baseline
LRP_RULES = ("epsilon", "epsilon-plus")


def guided_backprop_problem(classifier: Classifier) -> str | None:
    """Say why guided backpropagation is not right for a network."""
    graph = read_graph(classifier)
    if not isinstance(graph, str) and all(kind is not Kind.RECTIFIER for _, kind in operations_of(graph)):
        return "it is defined for ReLU as the only activation, and this network has none."
    return _problem(classifier, RELU_KINDS, "it is defined for ReLU as the only activation")


def deep_lift_problem(classifier: Classifier) -> str | None:
    """Say why DeepLIFT is not right for a network."""
    kinds = (*RELU_KINDS, Kind.ACTIVATION, Kind.PRODUCT)
    return _problem(classifier, kinds, "it has rules for sums, products, max pooling and functions of single values")


def lrp_problem(classifier: Classifier) -> str | None:
    """Say why layer-wise relevance propagation is not right for a network."""
    return _problem(classifier, RELU_KINDS, "its rules here are for sums, max pooling and ReLU")


def _problem(classifier: Classifier, kinds: Sequence[Kind], rule: str) -> str | None:
    graph = read_graph(classifier)
    if isinstance(graph, str):
        return f"it needs the network as a graph of operations: {graph}"
    others = [name for name, kind in operations_of(graph) if kind not in kinds]
    return f"{rule}, and this network also has {', '.join(others)}." if others else None


def guided_backprop(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    channels: str = "abs_max",
) -> Attribution:
    """Differentiate the target score by each pixel, and drop negative gradients at every ReLU on the way back.

    Source: Springenberg et al. 2015, arXiv 1412.6806.
    """
    ruled = with_rule(merged_copy(trace.classifier, trace.pixels.detach()), guide)
    return attribution_of(_ruled_gradient(trace, targets, ruled, on_progress), channels)


def deep_lift(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    baseline: str = "black",
    channels: str = "sum",
) -> Attribution:
    """Share the difference of the scores of picture and baseline among the pixels, by differences in place of slopes.

    The rescale rule (see `propagation.rescale`). The values add up to the score of the picture less that of the
    baseline, also behind max pooling and products; the gap in the details is rounding.

    Args:
        baseline: one of `BASELINES`; see `fixed_baseline`.

    Source: Shrikumar et al. 2017, arXiv 1704.02685.
    """
    start = fixed_baseline(trace.pixels.detach(), baseline)
    return _lift(trace, targets, lambda pictures, _taken: start[pictures], 1, channels, on_progress)


def deep_lift_shap(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    samples: int = 8,
    baseline: str = "uniform",
    channels: str = "sum",
) -> Attribution:
    """Average DeepLIFT over a seeded set of baselines.

    The values add up to the score of the picture less the mean score of the baselines. All pictures get the same draws.

    Args:
        samples: baselines drawn.
        baseline: one of `RANDOM_BASELINES`; see `random_baseline`. They stand in for training pictures.

    Source: Lundberg and Lee 2017, arXiv 1705.07874 (Deep SHAP).
    """
    pixels, seeds = trace.pixels.detach(), step_seeds(seed, samples)

    def baselines(pictures: Tensor, taken: Tensor) -> Tensor:
        return random_baseline(pixels[pictures], baseline, [seeds[step] for step in taken])

    return _lift(trace, targets, baselines, samples, channels, on_progress)


def _lift(
    trace: Trace,
    targets: Sequence[int],
    baselines: Callable[[Tensor, Tensor], Tensor],
    samples: int,
    channels: str,
    on_progress: Progress | None,
) -> Attribution:
    ruled = with_rule(merged_copy(trace.classifier, trace.pixels.detach()), rescale)
    pixels = trace.pixels.detach()
    own: list[Tensor] = []  # scores of the pictures (m, classes)
    starts: list[Tensor] = []  # of the baselines, `samples` for each picture

    def score(here: Tensor, pictures: Tensor, taken: Tensor) -> Tensor:
        scores, others = ruled(torch.cat([here, baselines(pictures, taken)])).chunk(2)  # twice (m, classes)
        own.append(scores.detach()[taken == 0])
        starts.append(others.detach())
        return scores

    values = sum_gradients(
        trace,
        targets,
        lambda pictures, _taken: pixels[pictures],
        steps=samples,
        weigh=lambda multiplier, pictures, taken: multiplier * (pixels[pictures] - baselines(pictures, taken)),
        score=score,
        cost=PAIR_COST,
        on_progress=on_progress,
    )
    trace.offer_scores(torch.cat(own))
    before = torch.cat(starts).cpu().double().view(len(pixels), samples, -1).mean(1)  # (N, classes)
    difference = trace.scores.detach().cpu().double() - before
    return attribution_of(values / samples, channels, pick_targets(difference, targets))


def _ruled_gradient(
    trace: Trace, targets: Sequence[int], ruled: Callable[[Tensor], Tensor], on_progress: Progress | None
) -> Tensor:
    """Differentiate the target scores at the pictures themselves, as the rules have it: float64 (K, 3, h, w)."""
    pixels = trace.pixels.detach()
    seen: list[Tensor] = []

    def score(here: Tensor, _pictures: Tensor, _taken: Tensor) -> Tensor:
        scores = ruled(here)
        seen.append(scores.detach())
        return scores

    gradient = sum_gradients(
        trace,
        targets,
        lambda pictures, _taken: pixels[pictures],
        score=score,
        cost=RULE_COST,
        on_progress=on_progress,
    )
    trace.offer_scores(torch.cat(seen))
    return gradient


def lrp(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    rule: str = "epsilon",
    epsilon: float = 1e-9,
    channels: str = "sum",
) -> Attribution:
    """Send the target score back through the network, each unit handing on its share to those that made it.

    What is explained are the normalised values the network is given, so a pixel of the mean colour gets nothing. The
    gap in the details is what biases (batch norms' too) and `epsilon` keep. With a small epsilon and only ReLUs the map
    is that of gradient times normalised input.

    Args:
        rule: "epsilon" everywhere, or "epsilon-plus": only positive contributions in convolutions.
        epsilon: added to the magnitude of what relevance is divided by; larger values drop what is contradictory. The
            default, captum's, only avoids dividing by zero.

    Source: Bach et al. 2015, doi 10.1371/journal.pone.0130140; composite: Kohlbrenner et al. 2020, arXiv 1910.09840.
    """
    if rule not in LRP_RULES:
        raise ValueError(f"rule {rule!r} is none of {LRP_RULES}")
    classifier = trace.classifier
    pixels = trace.pixels.detach()
    prepared = prepare(classifier, pixels)

    def ruled(here: Tensor) -> Tensor:
        return with_rule(prepared, Relevance(epsilon, plus=rule == "epsilon-plus"))(here)

    gradient = _ruled_gradient(trace, targets, ruled, on_progress)
    values = gradient * (pixels - classifier.mean).cpu().double()
    return attribution_of(values, channels, target_scores(trace, targets))
