"""The class activation maps of the registry."""

from __future__ import annotations

from xai.compute.cam import grad_cam, hires_cam
from xai.compute.cam_scores import ablation_cam, score_cam
from xai.compute.cam_variants import eigen_cam, grad_cam_plus_plus, layer_cam, x_grad_cam
from xai.hohman import categories
from xai.method import Method, Param, any_model

FAMILY = "Class activation maps"


def _params(relu: bool) -> tuple[Param, ...]:
    return (
        Param("relu", relu, "drop negative values"),
        Param("augment_smooth", False, "mean over mirrored and brightened copies (6 passes)"),
        Param("eigen_smooth", False, "first principal component of the weighted channels"),
    )


_CATEGORIES = categories(
    why=("interpretability and explainability", "debugging and improving models"),
    who=("model developers and builders", "model users", "non-experts"),
    what=("individual computational units", "aggregated information"),
    how=("instance-based analysis and exploration", "algorithms for attribution and feature visualization"),
    when=("after training",),
    where=("application domains and models",),
)

_RELU = (Param("relu", True, "drop negative values"),)
_TURNED = (*_RELU, Param("turned", False, "mean over turned and mirrored copies (8 passes)"))

ENTRIES = (
    Method(
        key="grad_cam",
        aliases=("gradcam", "grad-cam"),
        label="Grad-CAM",
        function=grad_cam,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Selvaraju et al. 2017, arXiv 1610.02391",
        limits="Averaging the gradient over places can light up places that the score does not use.",
        hohman=_CATEGORIES,
        params=_params(relu=True),
    ),
    Method(
        key="hires_cam",
        aliases=("hirescam", "hires-cam"),
        label="HiResCAM",
        function=hires_cam,
        family=FAMILY,
        needs_layer=True,
        signed=True,
        speed="live",
        supports=any_model,
        paper="Draelos and Carin 2020, arXiv 2011.08891",
        limits="Only at a last stage with pooling and one linear layer do the values add up to the score.",
        hohman=_CATEGORIES,
        params=_params(relu=False),
    ),
    Method(
        key="grad_cam_plus_plus",
        aliases=("gradcamplusplus", "gradcam++", "grad-cam++", "grad_cam++", "gradcampp"),
        label="Grad-CAM++",
        function=grad_cam_plus_plus,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Chattopadhay et al. 2018, arXiv 1710.11063",
        limits="Only evidence for the class counts, and where a layer has negative values single places can take over.",
        hohman=_CATEGORIES,
        params=_TURNED,
    ),
    Method(
        key="x_grad_cam",
        aliases=("xgradcam", "xgrad-cam", "x-gradcam"),
        label="XGrad-CAM",
        function=x_grad_cam,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Fu et al. 2020, arXiv 2008.02312",
        limits="Its values add up to the score only where biases behind the layer play no part, and a channel whose "
        "activations almost cancel weighs too much.",
        hohman=_CATEGORIES,
        params=_TURNED,
    ),
    Method(
        key="layer_cam",
        aliases=("layercam",),
        label="LayerCAM",
        function=layer_cam,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Jiang et al. 2021, IEEE TIP 30, doi 10.1109/TIP.2021.3089943",
        limits="Negative gradients are dropped place by place, so what speaks against the class never shows.",
        hohman=_CATEGORIES,
        params=_TURNED,
    ),
    Method(
        key="eigen_cam",
        aliases=("eigencam",),
        label="Eigen-CAM",
        function=eigen_cam,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Muhammad and Yeasin 2020, arXiv 2008.00299",
        limits="It shows where activations vary most, the same for every class, and says nothing about the score.",
        hohman=_CATEGORIES,
        params=_RELU,
        reads_class=False,
    ),
    Method(
        key="score_cam",
        aliases=("scorecam",),
        label="Score-CAM",
        function=score_cam,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="slow",
        supports=any_model,
        paper="Wang et al. 2020, arXiv 1910.01279",
        limits="The softmax over channels can give nearly all weight to a few, and masked pictures are unlike any the "
        "network was trained on.",
        hohman=_CATEGORIES,
        params=_RELU,
    ),
    Method(
        key="ablation_cam",
        aliases=("ablationcam",),
        label="Ablation-CAM",
        function=ablation_cam,
        family=FAMILY,
        needs_layer=True,
        signed=False,
        speed="slow",
        supports=any_model,
        paper="Desai and Ramaswamy 2020, WACV, doi 10.1109/WACV45572.2020.9093360",
        limits="Channels are left out one at a time, so evidence that several of them carry together is missed.",
        hohman=_CATEGORIES,
        params=_RELU,
    ),
)
