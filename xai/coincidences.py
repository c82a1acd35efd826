"""Rows of a comparison that must be equal by arithmetic, so that their agreement is no evidence, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from xai.compute.trace import Trace
from xai.explanation import Explanation
from xai.tracing import ImageTrace

_SAME = 1e-5  # relative spread of a gradient that counts as none


def coincidences(source: ImageTrace, explanations: Sequence[Explanation]) -> tuple[str, ...]:
    """Say which of the explanations by one network give one map for reasons of arithmetic.

    Three reasons are looked for, each in the numbers of this picture, so that nothing is said which does not hold:

    - Two layers hand on one output (a stage and its last block): each method says the same at both.
    - At a layer each channel has the same gradient g_k at every place. Then Grad-CAM's mean of the gradient is g_k, so
      its map is the sum of g_k A_k, as HiResCAM's; XGrad-CAM's mean, weighted by activations >= 0, is g_k too.
    - If, besides, no g_k is negative, LayerCAM drops nothing and is that sum as well.

    Grad-CAM++ and Ablation-CAM are not among them: there, their weights of a channel also hold its sum of activations.

    Args:
        source: the trace that they were made from.
        explanations: by the model of the trace; those at fused layers and at layers not kept are passed over.
    """
    at: dict[str, dict[str, Explanation]] = {}
    for each in explanations:
        if isinstance(each.layer, str) and each.layer in source.outputs:
            at.setdefault(each.layer, {})[each.method.key] = each
    return (
        *_one_output(source, at),
        *(sentence for layer, made in at.items() if (sentence := _one_formula(source, layer, made))),
    )


def _one_output(source: Trace, at: dict[str, dict[str, Explanation]]) -> Iterator[str]:
    for first, second in combinations(at, 2):
        shared = [made.method.label for key, made in at[first].items() if key in at[second]]
        if shared and share_output(source, first, second):
            yield (
                f"{_list(shared)} must coincide at {first} and {second}: the two layers hand on one and the same "
                "output. Agreement between these rows is no evidence."
            )


def _one_formula(source: Trace, layer: str, made: dict[str, Explanation]) -> str:
    asked = [key for key in ("grad_cam", "hires_cam", "x_grad_cam", "layer_cam") if key in made]
    if len(asked) < 2:
        return ""
    targets = made[asked[0]].target
    if not gradient_is_flat(source, layer, targets):
        return ""
    if (source.activation(layer) < 0).any():
        asked = [key for key in asked if key != "x_grad_cam"]
    if (source.gradients(layer, targets) < 0).any():
        asked = [key for key in asked if key != "layer_cam"]
    if len(asked) < 2:
        return ""
    return (
        f"{_list([made[key].method.label for key in asked])} must coincide at {layer} where they are positive: each "
        "channel has the same gradient at every place there, as where only a mean over places and one linear layer "
        f"follow, so each of them is the same weighted sum of channels{_why(asked)}. Their agreement here "
        "is no evidence; at an earlier layer they differ."
    )


def _why(asked: Sequence[str]) -> str:
    reasons = {
        "x_grad_cam": "no activation is negative, so XGrad-CAM's weighted mean is the plain one",
        "layer_cam": "no gradient is negative, so LayerCAM drops nothing",
    }
    said = [reason for key, reason in reasons.items() if key in asked]
    return f" ({'; '.join(said)})" if said else ""


def gradient_is_flat(traced: Trace, layer: str, targets: Sequence[int]) -> bool:
    """Whether the gradient of every target is the same at all places of a layer, channel by channel."""
    gradients = traced.gradients(layer, targets)  # (K, C, h, w)
    spread = gradients.amax((2, 3)) - gradients.amin((2, 3))
    return bool(spread.max() <= _SAME * gradients.abs().max())


def share_output(traced: Trace, first: str, second: str) -> bool:
    """Whether two layers hand on one tensor: the same node of the graph made both, so values and gradients are one."""
    edge = traced.edges.get(first)
    return edge is not None and edge == traced.edges.get(second)


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
