"""The same explanations by other libraries: captum, pytorch-grad-cam, torch-cam and lime, one call each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from side_by_side import normalised
from torch import Tensor, nn

import xai
from xai.compute.fills import make_fill
from xai.compute.prepare import prepare
from xai.compute.segments import Segmenter, segment

TARGET = 3
WITH_GAP = ", with its completeness gap"  # as ours says it, too
BATCH = 16  # pictures that a peer takes at once, where it can be told


@dataclass(frozen=True, eq=False)
class Setting:
    """What ours and theirs are given alike.

    Attributes:
        model: the network.
        pixels: one picture (1, 3, h, w).
        layer: of the class activation maps.
        early: layer of Score-CAM and Ablation-CAM, which try its channels one by one.
        samples: steps or copies of the gradient methods.
        masks: pictures scored by LIME, KernelSHAP and RISE.
        window: side of the square of occlusion, in pixels; it moves by half of that.
    """

    model: xai.Model
    pixels: Tensor
    layer: str
    early: str
    samples: int
    masks: int
    window: int

    @cached_property
    def network(self) -> nn.Module:
        """The network without our hooks."""
        network = copy.deepcopy(self.model.network)
        for module in network.modules():
            module._forward_hooks.clear()
        return network

    @cached_property
    def prepared(self) -> nn.Module:
        """The same with a ReLU module of its own for each call: captum's rules fail without."""
        return prepare(self.model.classifier, self.pixels).network

    @property
    def given(self) -> Tensor:
        """What the network is given, a leaf that gradients can be asked of."""
        return normalised(self.model, self.pixels).requires_grad_()

    def cut(self) -> Tensor:
        """Cut the picture into superpixels (h, w); not kept, for ours does so in each call, too."""
        return segment(self.pixels[0], Segmenter())

    def fill(self, segments: Tensor) -> Tensor:
        """Return what hides superpixels (1, 3, h, w)."""
        return make_fill(self.pixels[0], "mean", segments=segments)[None]

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Return the probabilities (n, K) of pixels (n, 3, h, w) as somebody without this project would."""
        with torch.no_grad():
            return self.network(normalised(self.model, pixels)).softmax(1)


Peer = Callable[[Setting], object]


def _grad_cam(name: str, **options: Any) -> Peer:
    def call(here: Setting) -> object:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        tries = name in ("ScoreCAM", "AblationCAM")
        layer = here.network.get_submodule(here.early if tries else here.layer)
        with getattr(pytorch_grad_cam, name)(here.network, [layer], **options) as extractor:
            extractor.batch_size = BATCH
            return extractor(here.given, [ClassifierOutputTarget(TARGET)])

    return call


def _torch_cam(name: str) -> Peer:
    def call(here: Setting) -> object:
        import torchcam.methods

        layer = here.early if name == "ScoreCAM" else here.layer
        options = {"batch_size": BATCH} if name == "ScoreCAM" else {}
        with getattr(torchcam.methods, name)(here.network, here.network.get_submodule(layer), **options) as extractor:
            return extractor(TARGET, here.network(here.given))

    return call


def _layer_grad_cam(here: Setting) -> object:
    from captum.attr import LayerGradCam

    made = LayerGradCam(here.network, here.network.get_submodule(here.layer))
    return made.attribute(here.given, target=TARGET, relu_attributions=True)


def _captum(name: str, **options: Callable[[Setting], Any]) -> Peer:
    """Ask a captum method; options are made from the setting."""

    def call(here: Setting) -> object:
        import captum.attr

        ruled = name in ("GuidedBackprop", "DeepLift", "DeepLiftShap", "LRP")
        method = getattr(captum.attr, name)(here.prepared if ruled else here.network)
        made = {key: make(here) for key, make in options.items()}
        return method.attribute(here.given, target=TARGET, **made)

    return call


def _tunnel(kind: str) -> Peer:
    def call(here: Setting) -> object:
        from captum.attr import NoiseTunnel, Saliency

        return NoiseTunnel(Saliency(here.network)).attribute(
            here.given,
            nt_type=kind,
            nt_samples=here.samples,
            nt_samples_batch_size=4,
            stdevs=0.15,
            target=TARGET,
            abs=False,
        )

    return call


def _captum_hiding(name: str, **options: Callable[[Setting], Any]) -> Peer:
    def call(here: Setting) -> object:
        import captum.attr

        made = {key: make(here) for key, make in options.items()}
        method = getattr(captum.attr, name)(here.probabilities)
        return method.attribute(here.pixels, target=TARGET, perturbations_per_eval=BATCH, **made)

    return call


def _captum_superpixels(name: str, **options: Callable[[Setting], Any]) -> Peer:
    """Ask a captum method that hides superpixels; it cuts the picture up first, as ours does."""

    def call(here: Setting) -> object:
        segments = here.cut()
        return _captum_hiding(
            name,
            baselines=lambda here: here.fill(segments),
            feature_mask=lambda _here: segments[None, None],
            **options,
        )(here)

    return call


def _lime(here: Setting) -> object:
    from lime.lime_image import LimeImageExplainer

    return LimeImageExplainer(random_state=0).explain_instance(
        here.pixels[0].permute(1, 2, 0).contiguous().numpy(),
        lambda images: here.probabilities(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy(),
        labels=(TARGET,),
        top_labels=None,
        num_samples=here.masks,
        segmentation_fn=lambda _image: np.asarray(here.cut()),
    )


def _black(here: Setting) -> Tensor:
    return normalised(here.model, torch.zeros_like(here.pixels))


def _colours(here: Setting) -> Tensor:
    colours = torch.rand(here.samples, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return normalised(here.model, colours.expand(-1, -1, *here.pixels.shape[2:]))


PEERS: dict[str, dict[str, Peer]] = {
    "grad_cam": {
        "captum LayerGradCam": _layer_grad_cam,
        "torch-cam GradCAM": _torch_cam("GradCAM"),
        "pytorch-grad-cam GradCAM": _grad_cam("GradCAM"),
    },
    "hires_cam": {"pytorch-grad-cam HiResCAM": _grad_cam("HiResCAM")},
    "grad_cam_plus_plus": {
        "torch-cam GradCAMpp": _torch_cam("GradCAMpp"),
        "pytorch-grad-cam GradCAMPlusPlus": _grad_cam("GradCAMPlusPlus"),
    },
    "x_grad_cam": {
        "torch-cam XGradCAM": _torch_cam("XGradCAM"),
        "pytorch-grad-cam XGradCAM": _grad_cam("XGradCAM"),
    },
    "layer_cam": {
        "torch-cam LayerCAM": _torch_cam("LayerCAM"),
        "pytorch-grad-cam LayerCAM": _grad_cam("LayerCAM"),
    },
    "eigen_cam": {"pytorch-grad-cam EigenCAM": _grad_cam("EigenCAM")},
    "score_cam": {
        "torch-cam ScoreCAM": _torch_cam("ScoreCAM"),
        "pytorch-grad-cam ScoreCAM": _grad_cam("ScoreCAM"),
    },
    "ablation_cam": {"pytorch-grad-cam AblationCAM": _grad_cam("AblationCAM")},
    "saliency": {"captum Saliency": _captum("Saliency")},
    "input_x_gradient": {"captum InputXGradient": _captum("InputXGradient")},
    "guided_backprop": {"captum GuidedBackprop": _captum("GuidedBackprop")},
    "smooth_grad": {"captum NoiseTunnel": _tunnel("smoothgrad")},
    "var_grad": {"captum NoiseTunnel": _tunnel("vargrad")},
    "integrated_gradients": {
        "captum IntegratedGradients": _captum(
            "IntegratedGradients",
            baselines=_black,
            n_steps=lambda here: here.samples,
            internal_batch_size=lambda _: 4,
        )
    },
    "gradient_shap": {
        "captum GradientShap": _captum("GradientShap", baselines=_colours, n_samples=lambda here: here.samples),
        "captum GradientShap" + WITH_GAP: _captum(
            "GradientShap",
            baselines=_colours,
            n_samples=lambda here: here.samples,
            return_convergence_delta=lambda _: True,
        ),
    },
    "deep_lift": {
        "captum DeepLift": _captum("DeepLift", baselines=_black),
        "captum DeepLift" + WITH_GAP: _captum("DeepLift", baselines=_black, return_convergence_delta=lambda _: True),
    },
    "deep_lift_shap": {"captum DeepLiftShap": _captum("DeepLiftShap", baselines=_colours)},
    "lrp": {"captum LRP": _captum("LRP")},
    "occlusion": {
        "captum Occlusion": _captum_hiding(
            "Occlusion",
            baselines=lambda here: here.pixels.mean((2, 3), keepdim=True).expand_as(here.pixels),
            sliding_window_shapes=lambda here: (3, here.window, here.window),
            strides=lambda here: (3, here.window // 2, here.window // 2),
        )
    },
    "lime": {"lime": _lime},
    "kernel_shap": {"captum KernelShap": _captum_superpixels("KernelShap", n_samples=lambda here: here.masks)},
    "feature_ablation": {"captum FeatureAblation": _captum_superpixels("FeatureAblation")},
}
