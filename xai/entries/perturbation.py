"""The methods of the registry that hide parts of a picture and watch the score."""

from __future__ import annotations

from xai.compute.fills import FILLS
from xai.compute.kernel_shap import kernel_shap
from xai.compute.lime import ENGINES, lime
from xai.compute.lime_solve import DISTANCES, REGRESSORS, SELECTIONS
from xai.compute.masking import OUTPUTS
from xai.compute.perturbation import feature_ablation, occlusion
from xai.compute.rise import rise
from xai.compute.segments import SEGMENTERS
from xai.hohman import categories
from xai.method import Method, Param, any_model

FAMILY = "Perturbation"
_SEGMENT_PARAMS = (
    Param("segmenter", "quickshift", "how the picture is cut into superpixels", choices=tuple(SEGMENTERS)),
    Param("n_segments", 50, "about how many superpixels (slic, watershed, grid)", low=1, high=500, step=1),
    Param("kernel_size", 4.0, "quickshift: width of the density estimate, in pixels", low=1, high=20, step=0.5),
    Param("max_dist", 200.0, "quickshift: higher gives fewer superpixels", low=1, high=500, step=1),
    Param("ratio", 0.2, "quickshift: weight of colour against place", low=0, high=1, step=0.05),
    Param("scale", 100.0, "felzenszwalb: higher gives larger superpixels", low=1, high=1000, step=1),
    Param("min_size", 50, "felzenszwalb: smallest superpixel, in pixels", low=1, high=1000, step=1),
    Param("compactness", 10.0, "slic, watershed: higher gives squarer superpixels", low=0.01, high=100, step=0.01),
    Param("sigma", 0.0, "blur before cutting, in pixels (quickshift, slic, felzenszwalb)", low=0, high=10, step=0.1),
)
_FILL_PARAMS = (
    Param("fill", "mean", "what hides a part of the picture", choices=FILLS),
    Param("color", "#808080", "colour of the fill 'color'"),
)
_OUTPUT_PARAM = Param("output", "probability", "what is explained: softmax probability or raw score", choices=OUTPUTS)

_CATEGORIES = categories(
    why=("interpretability and explainability", "debugging and improving models", "comparing and selecting models"),
    who=("model developers and builders", "model users", "non-experts"),
    what=("aggregated information",),
    how=("instance-based analysis and exploration", "algorithms for attribution and feature visualization"),
    when=("after training",),
    where=("application domains and models", "a vibrant research community"),
)

ENTRIES = (
    Method(
        key="lime",
        aliases=("lime_image", "lime-image"),
        label="LIME",
        function=lime,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Ribeiro et al. 2016, arXiv 1602.04938",
        limits="It explains a linear model of masked pictures: superpixels, fill, kernel width and the draw of samples "
        "all change it.",
        hohman=_CATEGORIES,
        params=(
            *_SEGMENT_PARAMS,
            *_FILL_PARAMS,
            _OUTPUT_PARAM,
            Param("samples", "auto", "pictures scored: a number, or auto until the ranking of superpixels is stable"),
            Param("kernel_width", 0.25, "distance at which a sample counts less", low=0.01, high=10, step=0.01),
            Param("distance", "cosine", "between a sample and the picture", choices=DISTANCES),
            Param("regressor", "ridge", "the linear model", choices=REGRESSORS),
            Param("alpha", 1.0, "strength of ridge and lasso", low=0, high=100, step=0.001),
            Param("feature_selection", "auto", "how superpixels are chosen if not all are kept", choices=SELECTIONS),
            Param("num_features", 0, "superpixels with a coefficient; 0 for all", low=0, high=500, step=1),
            Param("smooth", True, "fill the gaps between samples (ridge over all superpixels)"),
            Param("positive_only", False, "leave out superpixels that speak against the class"),
            Param("top", 0, "superpixels shown, the strongest first; 0 for all", low=0, high=500, step=1),
            Param("engine", "torch", "this implementation, or the lime package", choices=ENGINES),
        ),
        random=True,
    ),
    Method(
        key="kernel_shap",
        aliases=("kernelshap", "kernel-shap", "shap"),
        label="KernelSHAP",
        function=kernel_shap,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Lundberg and Lee 2017, arXiv 1705.07874; Covert and Lee 2021, arXiv 2012.01536",
        limits="The values depend on the superpixels and on the fill, and most coalitions are pictures unlike any that "
        "the network was trained on.",
        hohman=_CATEGORIES,
        total="output for the picture less that with all superpixels hidden",
        params=(
            *_SEGMENT_PARAMS,
            *_FILL_PARAMS,
            _OUTPUT_PARAM,
            Param("samples", 1000, "coalitions scored; exact if all 2^superpixels fit in", low=4, high=20000, step=1),
        ),
        random=True,
    ),
    Method(
        key="occlusion",
        aliases=("occlusion_sensitivity", "occlusion-sensitivity"),
        label="Occlusion",
        function=occlusion,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Zeiler and Fergus 2014, arXiv 1311.2901",
        limits="Evidence that stands in two places hides itself: covering either alone changes little.",
        hohman=_CATEGORIES,
        params=(
            Param("window", 32, "side of the square, in pixels", low=1, high=256, step=1),
            Param("stride", 16, "between positions, in pixels; at most the window", low=1, high=256, step=1),
            *_FILL_PARAMS,
            _OUTPUT_PARAM,
        ),
        random=True,
    ),
    Method(
        key="rise",
        aliases=(),
        label="RISE",
        function=rise,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Petsiuk et al. 2018, arXiv 1806.07421",
        limits="Coarse masks blur what is small, zero depends on the masks, and too few masks leave speckle.",
        hohman=_CATEGORIES,
        params=(
            Param("masks", 2000, "random masks; the paper takes 4,000 to 8,000", low=10, high=20000, step=10),
            Param("cells", 7, "side of the coarse grid of a mask", low=2, high=32, step=1),
            Param("centered", True, "take off the mean over all masks, so that zero changes nothing"),
            Param("p", 0.5, "probability that a cell is shown", low=0.05, high=0.95, step=0.05),
            *_FILL_PARAMS,
        ),
        random=True,
    ),
    Method(
        key="feature_ablation",
        aliases=("ablation", "feature-ablation"),
        label="Feature ablation",
        function=feature_ablation,
        family=FAMILY,
        needs_layer=False,
        signed=True,
        speed="slow",
        supports=any_model,
        paper="Kokhlikyan et al. 2020, arXiv 2009.07896",
        limits="One superpixel is hidden at a time, so evidence that several share is missed.",
        hohman=_CATEGORIES,
        params=(*_SEGMENT_PARAMS, *_FILL_PARAMS, _OUTPUT_PARAM),
        random=True,
    ),
)
