"""Several methods asked about one picture: their maps on one scale, how far they agree, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xai.compute.attribution import Progress, part_of
from xai.compute.trace import Trace
from xai.explanation import Explanation, explain
from xai.metrics.agreement import MEASURES, agreement_matrix
from xai.model import Model
from xai.registry import METHODS, find_method
from xai.tracing import ImageTrace, Picture, check_trace, trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SAME_AT_THE_END = ("grad_cam", "hires_cam")  # one formula wherever the gradient is the same at every place
_SAME = 1e-5  # relative spread of a gradient that counts as none


def compare(
    model: Model | ImageTrace,
    image: Picture = None,
    methods: Iterable[str] | None = None,
    *,
    on_progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Explain one picture by several methods and tabulate them.

    Args:
        model: a model or the trace of one picture.
        image: anything `load_image` takes; may be left out with a trace.
        methods: keys or aliases; by default all that support the model and are quick.
        on_progress: called with (fraction, None); may raise `Cancelled`.
        options: target, layer, resize and seed, as for `explain`.

    Returns:
        One row per method and target: method, layer (empty if it looks at none), target, probability, lowest, highest,
        seconds. In its `attrs`: "explanations" (list of Explanation), "agreement" (name of a measure to a table of
        methods by methods, for the first target) and "notes" (sentences on methods that must coincide here).
    """
    import pandas as pd

    if isinstance(model, ImageTrace):
        check_trace(model, image)
        source = model
    else:
        source = trace(model, image, resize=options.pop("resize", "center-crop"))
    explanations = _explain_all(source, methods, on_progress, options)
    rows = [
        {
            "method": e.method.key,
            "layer": " + ".join(e.spec.layers()),
            "target": name,
            "probability": probability,
            "lowest": float(values.min()),
            "highest": float(values.max()),
            "seconds": e.seconds,
        }
        for e in explanations
        for name, probability, values in zip(e.target_names, e.probabilities, e.map, strict=True)
    ]
    table = pd.DataFrame(rows)
    table.attrs["explanations"] = explanations
    table.attrs["agreement"] = agreement(explanations)
    table.attrs["notes"] = coincidences(source, explanations)
    return table


def quick_methods(model: Model) -> list[str]:
    """Keys of the methods that support a model and answer at once."""
    return [key for key, method in METHODS.items() if method.supports(model) is None and method.speed == "live"]


def agreement(explanations: Sequence[Explanation], target: int = 0) -> dict[str, pd.DataFrame]:
    """Measure how far the maps of one target agree, pair by pair.

    Args:
        explanations: of one picture, with the same targets.
        target: which of the targets, by place.

    Returns:
        Name of a measure to a table of keys by keys.
    """
    import pandas as pd

    keys = [e.method.key for e in explanations]
    maps = [np.asarray(e.map[target], dtype=np.float64) for e in explanations]
    return {
        name: pd.DataFrame(agreement_matrix(maps, measure), index=keys, columns=keys)
        for name, measure in MEASURES.items()
    }


def coincidences(source: ImageTrace, explanations: Sequence[Explanation]) -> tuple[str, ...]:
    """Say which of the methods give one map for reasons of arithmetic, so that their agreement is no evidence."""
    asked = {e.method.key: e for e in explanations if e.method.key in SAME_AT_THE_END and isinstance(e.layer, str)}
    if len(asked) < len(SAME_AT_THE_END):
        return ()
    first = asked[SAME_AT_THE_END[0]]
    assert isinstance(first.layer, str)
    if not gradient_is_flat(source, first.layer, first.target):
        return ()
    names = " and ".join(e.method.label for e in asked.values())
    return (
        f"{names} must coincide at {first.layer} where they are positive: behind it come only a mean over places and "
        "one linear layer, so each channel has the same gradient at every place, and to average it changes nothing. "
        "Their agreement here is no evidence; at an earlier layer they differ.",
    )


def gradient_is_flat(traced: Trace, layer: str, targets: Sequence[int]) -> bool:
    """Whether the gradient of every target is the same at all places of a layer, channel by channel."""
    gradients = traced.gradients(layer, targets)  # (K, C, h, w)
    spread = gradients.amax((2, 3)) - gradients.amin((2, 3))
    return bool(spread.max() <= _SAME * gradients.abs().max())


def draw_comparison(explanations: Sequence[Explanation], **options: Any) -> Figure:
    """Draw a row for each method and a column for each target, every method in shares of its own limit.

    Args:
        explanations: of one picture, with the same targets.
        options: alpha, colormap, threshold and suptitle, as for `figures.grids.overlay_grid`.
    """
    from xai.figures.grids import overlay_grid

    first = explanations[0]
    rows = [e.source_map() / (e.limit or 1.0) for e in explanations]
    labels = [f"{e.method.label}\n1 = {e.limit:.3g}" for e in explanations]
    of = f" · {first.titles[0]}" if len(first.titles) == 1 else ""
    options.setdefault("suptitle", f"{first.image.name}{of} · {first.spec.title}")
    return overlay_grid(
        first.image.pixels,
        rows,
        labels,
        first.titles,
        signed=any(e.signed for e in explanations),
        box=first.box,
        **options,
    )


def _explain_all(
    source: ImageTrace, methods: Iterable[str] | None, on_progress: Progress | None, options: dict[str, Any]
) -> list[Explanation]:
    if isinstance(methods, str):
        methods = (methods,)
    names = quick_methods(source.model) if methods is None else [find_method(name).key for name in methods]
    made = []
    for done, name in enumerate(names):
        asked = options if METHODS[name].needs_layer else {k: v for k, v in options.items() if k != "layer"}
        made.append(explain(source, method=name, on_progress=part_of(on_progress, done, len(names)), **asked))
    return made
