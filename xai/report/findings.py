"""One sentence with one number that each approach has to say about an answer of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xai.attacks import format_epsilon
from xai.compute.lime import LimeDetails
from xai.concepts import concepts
from xai.dreams import dream
from xai.explanation import explain
from xai.figures.charts import format_share
from xai.inspection import feature_maps, filters
from xai.metrics.agreement import rank_correlation
from xai.model import Model
from xai.report.lessons.grad_cam import show_answer
from xai.report.subjects import SIZES, Subject

STEPS = 96  # of feature visualisation, as in the figures
STRONGEST = 0.01  # of the pixels


def find_all(model: Model, subjects: Mapping[str, Subject]) -> dict[str, list[dict[str, str]]]:
    """Let every approach speak about the right and the wrong answer.

    Returns:
        For each approach a list of {"role": "right" or "wrong", "verdict": ..., "sentence": ...}.
    """
    return {
        key: [_say(model, role, subject, say) for role, subject in subjects.items()] for key, say in FINDINGS.items()
    }


def _say(model: Model, role: str, subject: Subject, say: Callable[[Model, Subject], str]) -> dict[str, str]:
    return {"role": role, "verdict": subject.verdict, "sentence": f"{_introduce(subject)}: {say(model, subject)}"}


def _introduce(subject: Subject) -> str:
    return f"{subject.image.name}, “{subject.answer}” at {format_share(subject.probability)}"


def _filters(model: Model, subject: Subject) -> str:
    found = filters(model)
    dead = int(found.statistics.dead.sum())
    maps = feature_maps(subject.traced, layer=_first_layer(model, found.layer_name), sort="max")
    count = len(found.weight)
    return (
        f"of {count} kernels in the first convolution {dead} are dead; number {int(maps.order[0])} answers this "
        f"photograph most strongly, up to {float(maps.statistics.maximum[int(maps.order[0])]):.2f}."
    )


def _first_layer(model: Model, convolution: str) -> str:
    """The layer that holds the maps of the first convolution."""
    return convolution if convolution in model.all_layers else next(iter(model.all_layers))


def _feature_maps(model: Model, subject: Subject) -> str:
    made = feature_maps(subject.traced, layer=model.default_layer, sort="contribution", target=subject.target)
    assert made.contributions is not None
    ordered = np.sort(np.clip(made.contributions, 0, None))[::-1]
    half = int(np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)) + 1
    silent = int(made.statistics.dead.sum())
    return (
        f"{half} of the {len(ordered)} channels of `{model.default_layer}` carry half of what speaks for the answer; "
        f"{silent} are silent on this photograph."
    )


def _dream(model: Model, subject: Subject) -> str:
    made = dream(model, target=subject.target, steps=STEPS)
    photograph = float(subject.traced.scores.detach()[0, subject.target])
    return (
        f"the made picture reaches a score of {float(made.after[0]):.1f} for this class, from "
        f"{float(made.before[0]):.1f} for noise; the photograph itself has {photograph:.1f}."
    )


def _cam(model: Model, subject: Subject) -> str:
    said = show_answer(explain(subject.traced, target=subject.target)).sentence
    return said.partition(": ")[2]


def _concepts(model: Model, subject: Subject) -> str:
    made = concepts(subject.traced, components=4, top_k=1)
    found = zip(made.factorization.shares.tolist(), made.names, strict=True)
    named = [f"“{names[0][0]}” ({format_share(share)} of the activation)" for share, names in found if names]
    error = f"four concepts leave {float(made.factorization.error):.0%} of the activations of `{made.layer.name}` over"
    return f"{error}, and the strongest is called {named[0]}." if named else f"{error}; this layer names no classes."


def _gradients(model: Model, subject: Subject) -> str:
    made = explain(subject.traced, method="integrated_gradients", target=subject.target)
    sizes = np.sort(np.abs(made.map[0]), axis=None)[::-1]
    strongest = float(sizes[: max(1, round(STRONGEST * sizes.size))].sum() / sizes.sum())
    plain = explain(subject.traced, method="saliency", target=subject.target)
    alike = rank_correlation(np.abs(made.map[0]), plain.map[0])
    return (
        f"the strongest hundredth of the pixels holds {strongest:.0%} of the integrated gradients; their sizes have "
        f"rank correlation {alike:.2f} with the plain gradient."
    )


def _perturbation(model: Model, subject: Subject) -> str:
    made = explain(subject.traced, method="lime", target=subject.target)
    assert isinstance(made.details, LimeDetails)
    weights = made.details.coefficients[0]
    best = int(weights.argmax())
    area = float((made.details.segments == best).float().mean())
    return (
        f"the strongest of {len(weights)} superpixels, {area:.0%} of the picture, raises the probability by "
        f"{100 * float(weights[best]):.1f} points; LIME's linear model explains {float(made.details.r2[0]):.0%} "
        "of the variance."
    )


def _adversarial(model: Model, subject: Subject) -> str:
    if subject.turned_at is None:
        return f"one step of FGSM does not change the answer, up to {format_epsilon(SIZES[-1])}."
    return f"one step of FGSM changes the answer at {format_epsilon(subject.turned_at)} of the range of a value."


def _agreement(model: Model, subject: Subject) -> str:
    maps = {
        key: explain(subject.traced, method=key, target=subject.target).map[0]
        for key in ("grad_cam", "saliency", "edges", "random")
    }
    with_ = {key: rank_correlation(maps["grad_cam"], values) for key, values in maps.items() if key != "grad_cam"}
    return (
        f"Grad-CAM has rank correlation {with_['saliency']:.2f} with saliency, {with_['edges']:.2f} with edges and "
        f"{with_['random']:.2f} with a random map."
    )


FINDINGS: Mapping[str, Callable[[Model, Subject], str]] = {
    "filters": _filters,
    "feature_maps": _feature_maps,
    "feature_visualization": _dream,
    "cam": _cam,
    "concepts": _concepts,
    "gradients": _gradients,
    "perturbation": _perturbation,
    "adversarial": _adversarial,
    "agreement": _agreement,
}
