"""The figures of the report: for each approach what is made of the right and of the wrong answer, as RunSpecs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xai.io.images import Image
from xai.model import Model
from xai.report.keeping import keep_figure
from xai.report.results import make_result
from xai.report.subjects import Subject
from xai.spec import RunSpec

QUICK = "grad_cam,layer_cam,saliency,deep_lift,lrp,edges,random"
LARGEST = 16 / 255  # size of an attack in the figures, at most


@dataclass(frozen=True)
class Illustration:
    """One figure of the report.

    Attributes:
        name: of its files.
        approach: key in APPROACHES, or "data".
        method: as a RunSpec calls it.
        roles: which photographs it is about: "right", "wrong", both, "all", or none.
        caption: may name {right}, {wrong} (photograph, answer and verdict) and {layer}.
        params: of the RunSpec.
        at_class: whether it is about the class that the network says first.
    """

    name: str
    approach: str
    method: str
    roles: tuple[str, ...]
    caption: str
    params: Mapping[str, Any] = field(default_factory=dict)
    at_class: bool = False


def _pair(name: str, approach: str, method: str, caption: str, **rest: Any) -> tuple[Illustration, Illustration]:
    """The same figure of a right and of a wrong answer."""
    right = Illustration(f"{name}_right", approach, method, ("right",), f"{caption} Here: {{right}}.", **rest)
    return right, replace(right, name=f"{name}_wrong", roles=("wrong",), caption=f"{caption} Here: {{wrong}}.")


ILLUSTRATIONS: Sequence[Illustration] = (
    Illustration(
        "photographs", "data", "predict", ("all",),
        "What the network is given of each photograph of this report, with its first answer.",
    ),
    Illustration("filters", "filters", "filters", (), "Kernels of the first convolution, in colour, all on one scale."),
    *_pair(
        "feature_maps", "feature_maps", "feature_maps",
        "The 24 channels of {layer} that contribute most to the answer.",
        params={"sort": "contribution"}, at_class=True,
    ),
    *_pair(
        "dream", "feature_visualization", "dream", "What excites the class of the answer most, from noise in 96 steps.",
        params={"count": 1, "steps": 96, "diversity": 0.0}, at_class=True,
    ),
    *_pair("cam", "cam", "grad_cam", "Grad-CAM at {layer} for the answer.", at_class=True),
    Illustration(
        "concepts", "concepts", "dff", ("right", "wrong"),
        "Four concepts of {layer}, shared by {right} and {wrong}: one colour is one concept in both.",
        params={"components": 4, "top_k": 2},
    ),
    *_pair("gradients", "gradients", "integrated_gradients", "Integrated gradients for the answer.", at_class=True),
    *_pair("perturbation", "perturbation", "lime", "Weights of superpixels in LIME for the answer.", at_class=True),
    *_pair(
        "adversarial", "adversarial", "fgsm", "One step of FGSM away from the answer, and Grad-CAM before and after.",
        params={"explain_with": "grad_cam"},
    ),
    *_pair(
        "agreement", "agreement", "compare", "Seven maps for one answer, the last two being controls.",
        params={"methods": QUICK}, at_class=True,
    ),
)  # fmt: skip


def draw_all(
    folder: Path,
    model: Model,
    subjects: Mapping[str, Subject],
    images: Sequence[Image],
    *,
    on_progress: Callable[[float, str], None] | None = None,
) -> list[dict[str, str]]:
    """Make every figure of the report and keep it with its RunSpec.

    Args:
        folder: exists.
        model: the network of the report.
        subjects: the photographs by role, "right" and "wrong"; figures about a role that is missing are left out.
        images: all photographs.
        on_progress: called with (fraction, name of the figure).

    Returns:
        For each figure file, approach, caption and alternative text. Other figures in the folder are removed.
    """
    shown = [each for each in ILLUSTRATIONS if all(role in subjects or role == "all" for role in each.roles)]
    kept = []
    for done, each in enumerate(shown):
        if on_progress is not None:
            on_progress(done / len(shown), each.name)
        about = images if each.roles == ("all",) else [subjects[role].image for role in each.roles]
        result = make_result(model, _spec(model, each, subjects, about), about)
        keep_figure(folder / f"{each.name}.png", result)
        said = {role: f"{who.image.name}, “{who.answer}” ({who.verdict})" for role, who in subjects.items()}
        layer = ", ".join(result.spec.layers()) or model.default_layer
        alt = str(result.figure.get_label()).replace("[", "(").replace("]", ")").replace("\n", " ")
        caption = each.caption.format(layer=f"`{layer}`", **{"right": "none", "wrong": "none"} | said)
        kept.append({"file": f"{each.name}.png", "approach": each.approach, "caption": caption, "alt": alt})
    _remove_others(folder, {each.name for each in shown})
    return kept


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove figures of an earlier network that were not made again, with their records."""
    for path in folder.glob("*.json"):
        if path.stem not in names:
            path.with_suffix(".png").unlink(missing_ok=True)
            path.unlink()


def _spec(model: Model, each: Illustration, subjects: Mapping[str, Subject], about: Sequence[Image]) -> RunSpec:
    """Write down how a figure is to be made."""
    layer = model.default_layer if each.method in ("feature_maps", "grad_cam", "dff", "compare", "fgsm") else None
    params = dict(each.params)
    subject = subjects[each.roles[0]] if each.roles and each.roles[0] in subjects else None
    if each.method == "fgsm" and subject is not None:
        params["epsilon"] = min(subject.turned_at or LARGEST, LARGEST)
    spec = model.spec(each.method, layer=layer, params=params)
    if each.at_class and subject is not None:
        spec = replace(spec, target=(subject.target,))
    if each.method == "dream" or not about:
        return spec
    return spec.about([image.name for image in about], [image.digest for image in about])
