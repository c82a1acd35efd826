"""The methods of the registry that follow the gradient, or a rule in its place, back to the pixels."""

from __future__ import annotations

from collections.abc import Callable

from xai.compute.baselines import BASELINES, RANDOM_BASELINES
from xai.compute.gradient_rules import (
    LRP_RULES,
    deep_lift,
    deep_lift_problem,
    deep_lift_shap,
    guided_backprop,
    guided_backprop_problem,
    lrp,
    lrp_problem,
)
from xai.compute.gradients import gradient_shap, input_x_gradient, integrated_gradients, saliency, smooth_grad, var_grad
from xai.compute.trace import Classifier
from xai.hohman import categories
from xai.method import Method, Param, any_model
from xai.model import Model

FAMILY = "Gradients"
_WITHIN = 0.98
_CATEGORIES = categories(
    why=("interpretability and explainability", "debugging and improving models"),
    who=("model developers and builders", "model users"),
    what=("individual computational units",),
    how=("instance-based analysis and exploration", "algorithms for attribution and feature visualization"),
    when=("after training",),
    where=("application domains and models",),
)


def _channels(default: str) -> Param:
    return Param("channels", default, "how the three channels become one map", choices=("sum", "abs_max", "norm"))


def _samples(default: int, what: str) -> Param:
    return Param("samples", default, what, low=1, high=1000, step=1)


def _network(problem: Callable[[Classifier], str | None]) -> Callable[[Model], str | None]:
    """Turn a question about the network into one about the model."""
    return lambda model: problem(model.classifier)


_NOISE = Param(
    "noise", 0.15, "standard deviation of the noise, as a share of the picture's range", low=0.0, high=1.0, step=0.01
)
_BASELINE = Param("baseline", "black", "picture to compare with", choices=BASELINES)
_RANDOM_BASELINE = Param("baseline", "uniform", "kind of random pictures to compare with", choices=RANDOM_BASELINES)

ENTRIES = (
    Method(
        key="saliency",
        aliases=("gradient", "vanilla_gradient", "vanilla-gradient"),
        label="Saliency",
        function=saliency,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Simonyan et al. 2014, arXiv 1312.6034",
        limits="It shows what would change the score fastest, not what made it, and flickers from pixel to pixel.",
        hohman=_CATEGORIES,
        from_pixels=True,
        within=_WITHIN,
        params=(_channels("abs_max"),),
    ),
    Method(
        key="input_x_gradient",
        aliases=("inputxgradient", "gradient_x_input", "input-times-gradient"),
        label="Input × gradient",
        function=input_x_gradient,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="live",
        supports=any_model,
        paper="Shrikumar et al. 2016, arXiv 1605.01713",
        limits="Dark pixels get almost nothing whatever they mean, since black counts as absent.",
        hohman=_CATEGORIES,
        from_pixels=True,
        within=_WITHIN,
        params=(_channels("sum"),),
    ),
    Method(
        key="guided_backprop",
        aliases=("guidedbackprop", "guided_backpropagation", "guided-backpropagation"),
        label="Guided backpropagation",
        function=guided_backprop,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="live",
        supports=_network(guided_backprop_problem),
        paper="Springenberg et al. 2015, arXiv 1412.6806",
        limits="It largely redraws the edges of the picture and hardly depends on the class or on the upper layers.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        params=(_channels("abs_max"),),
    ),
    Method(
        key="smooth_grad",
        aliases=("smoothgrad",),
        label="SmoothGrad",
        function=smooth_grad,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="slow",
        supports=any_model,
        paper="Smilkov et al. 2017, arXiv 1706.03825",
        limits="It explains noisy copies, which the network was not trained on, and depends on the amount of noise.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        params=(_samples(32, "noisy copies"), _NOISE, _channels("abs_max")),
        random=True,
    ),
    Method(
        key="var_grad",
        aliases=("vargrad",),
        label="VarGrad",
        function=var_grad,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="slow",
        supports=any_model,
        paper="Adebayo et al. 2018, arXiv 1810.03307",
        limits="It shows where the gradient is unsteady, and not whether a place speaks for or against the class.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        params=(
            _samples(32, "noisy copies"),
            _NOISE,
            Param("channels", "abs_max", "how the three channels become one map", choices=("abs_max", "norm")),
        ),
        random=True,
    ),
    Method(
        key="integrated_gradients",
        aliases=("integratedgradients", "ig"),
        label="Integrated gradients",
        function=integrated_gradients,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Sundararajan et al. 2017, arXiv 1703.01365",
        limits="It explains the difference from a baseline, so pixels that look like the baseline get nothing.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        total="score of the picture less that of the baseline",
        params=(
            Param("steps", 32, "points on the line from the baseline", low=1, high=500, step=1),
            _BASELINE,
            _channels("sum"),
        ),
    ),
    Method(
        key="gradient_shap",
        aliases=("gradientshap", "expected_gradients"),
        label="GradientSHAP",
        function=gradient_shap,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Lundberg and Lee 2017, arXiv 1705.07874; Erion et al. 2021, arXiv 1906.10670",
        limits="It adds up to the score only on average over many samples, and its baselines are not photographs.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        total="score of the picture less the mean score of the baselines",
        params=(
            _samples(32, "random baselines"),
            _RANDOM_BASELINE,
            Param("gap", True, "score the baselines, too, to say how far the values add up (a third of the time)"),
            _channels("sum"),
        ),
        random=True,
    ),
    Method(
        key="deep_lift",
        aliases=("deeplift",),
        label="DeepLIFT",
        function=deep_lift,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="live",
        supports=_network(deep_lift_problem),
        paper="Shrikumar et al. 2017, arXiv 1704.02685",
        limits="It explains the difference from a baseline, and two networks that compute the same may get other maps.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        total="score of the picture less that of the baseline",
        params=(_BASELINE, _channels("sum")),
    ),
    Method(
        key="deep_lift_shap",
        aliases=("deepliftshap", "deep_shap"),
        label="DeepLIFT-SHAP",
        function=deep_lift_shap,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=_network(deep_lift_problem),
        paper="Lundberg and Lee 2017, arXiv 1705.07874",
        limits="It only comes near Shapley values, and its random baselines are not photographs.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        total="score of the picture less the mean score of the baselines",
        params=(_samples(8, "random baselines"), _RANDOM_BASELINE, _channels("sum")),
        random=True,
    ),
    Method(
        key="lrp",
        aliases=("layer_wise_relevance_propagation", "layerwise-relevance-propagation"),
        label="LRP",
        function=lrp,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="live",
        supports=_network(lrp_problem),
        paper="Bach et al. 2015, doi 10.1371/journal.pone.0130140",
        limits="With a small epsilon it is gradient times normalised input, and biases keep a part of the score.",
        hohman=_CATEGORIES,
        within=_WITHIN,
        total="score of the picture",
        params=(
            Param(
                "rule", "epsilon", "epsilon everywhere, or positive contributions in convolutions", choices=LRP_RULES
            ),
            Param("epsilon", 1e-9, "added to what relevance is divided by", low=1e-12, high=10.0),
            _channels("sum"),
        ),
    ),
)
