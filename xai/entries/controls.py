"""The controls of the registry: maps that know nothing of the model, to compare explanations with."""

from __future__ import annotations

from xai.compute import controls
from xai.hohman import categories
from xai.method import Method, Param, any_model

FAMILY = "Controls"
_CATEGORIES = categories(
    why=("debugging and improving models", "comparing and selecting models"),
    who=("model developers and builders",),
    what=("aggregated information",),
    how=("instance-based analysis and exploration",),
    when=("after training",),
    where=("a vibrant research community",),
)

ENTRIES = (
    Method(
        key="random",
        aliases=("random_map", "noise"),
        label="Random (control)",
        function=controls.random,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="live",
        supports=any_model,
        paper="control: uniform noise",
        limits="It knows nothing: an explanation that does no better has found nothing.",
        hohman=_CATEGORIES,
        random=True,
    ),
    Method(
        key="center",
        aliases=("centre", "gaussian"),
        label="Centre (control)",
        function=controls.center,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="live",
        supports=any_model,
        paper="control: Gaussian bump",
        limits="It knows neither picture nor model, only that photographers aim at the middle.",
        hohman=_CATEGORIES,
        reads_class=False,
        params=(Param("width", 0.25, "standard deviation, as a share of each side", low=0.01, high=2, step=0.01),),
    ),
    Method(
        key="edges",
        aliases=("sobel",),
        label="Edges (control)",
        function=controls.edges,
        family=FAMILY,
        needs_layer=False,
        signed=False,
        speed="live",
        supports=any_model,
        paper="Adebayo et al. 2018, arXiv 1810.03292; Sobel's operator",
        limits="It knows the picture but not the model: an explanation that looks like it may be an edge detector.",
        hohman=_CATEGORIES,
        reads_class=False,
    ),
)
