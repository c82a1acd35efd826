"""A picture asked about by several methods, at several layers and of several networks, on one scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai.compute.attribution import Progress, part_of
from xai.errors import UserError
from xai.explanation import Explanation, explain
from xai.matching import Layers, check_layers, match_classes, match_layers
from xai.model import Model
from xai.registry import METHODS, Method, find_method
from xai.side_by_side import agreement, explain_agreement, name_rows, tabulate
from xai.tracing import ImageTrace, Picture, Target, check_trace, find_targets, trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Row", "agreement", "compare", "draw_comparison", "plan_rows", "quick_methods"]

MOST_COLUMNS = 6  # panels in a row that still show something


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a comparison: which trace is asked, by which method, at which layer, about which classes."""

    traced: ImageTrace
    method: Method
    layer: Layers
    target: tuple[int, ...]


def compare(
    model: Model | ImageTrace,
    image: Picture = None,
    methods: Iterable[str] | None = None,
    *,
    layers: Sequence[str] | None = None,
    models: Iterable[Model] = (),
    on_progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Explain one picture by several methods, at several layers and with several networks, and tabulate it.

    Args:
        model: a model or the trace of one picture.
        image: anything `load_image` takes; may be left out with a trace.
        methods: keys or aliases; by default all that are quick and support every model. Controls are methods too.
        layers: names; each method that looks at a layer is asked at each. A network is asked at those that it has, and
            at its default layer if it has none of them. With `layer` in place of `layers`, several names are fused.
        models: further models beside the first; classes are matched by name, see `match_classes`.
        on_progress: called with (fraction, None); may raise `Cancelled`.
        options: target, layer, resize and seed, as for `explain`; the predicted class is that of the first model.

    Returns:
        One row per model, method, layer and target: model (with its weights), method, layer (empty if it looks at
        none), target, probability, lowest, highest, seconds (measured, without the forward pass that rows share). In
        its `attrs`: "explanations" (list of Explanation, one per model, method and layer), "agreement" (name of a
        measure to a table of rows by rows, for the first target) and "notes" (sentences on rows that must coincide
        here, and on networks that lack a layer).

    Raises:
        UserError: something does not exist, a method is wrong for a model, or a class is not known to every model.
    """
    if layers is not None and options.get("layer") is not None:
        raise UserError("Give layers (side by side) or layer (one, or several that are fused), not both.")
    asked = _layers(options.pop("layer", None), layers)
    target = options.pop("target", None)
    sources = _trace_all(model, image, tuple(models), options.pop("resize", "center-crop"))
    absent = check_layers([each.model for each in sources], asked)
    rows = plan_rows(sources, methods, asked, target)
    made = [
        explain(
            row.traced,
            method=row.method.key,
            target=row.target,
            layer=row.layer,
            on_progress=part_of(on_progress, done, len(rows)),
            **options,
        )
        for done, row in enumerate(rows)
    ]
    table = tabulate(made)
    table.attrs["explanations"] = made
    table.attrs["agreement"] = agreement(made)
    table.attrs["notes"] = (*absent, *explain_agreement(sources, made))
    return table


def plan_rows(
    sources: Sequence[ImageTrace], methods: Iterable[str] | None, layers: Sequence[Layers] = (), target: Target = None
) -> list[Row]:
    """List what is asked: model by model, then method by method, then layer by layer.

    Args:
        sources: traces of one picture by different models; the first says what the targets mean.
        methods: keys or aliases, or None for the quick ones that support every model.
        layers: at which each method that looks at a layer is asked; none for each model's default.
        target: as for `explain`.

    Raises:
        UserError: a method or a class is unknown.
    """
    if isinstance(methods, str):
        methods = (methods,)
    if methods is None:
        keys = [key for key in METHODS if all(key in quick_methods(source.model) for source in sources)]
    else:
        keys = list(dict.fromkeys(find_method(name).key for name in methods))
    chosen = [METHODS[key] for key in keys]
    first = sources[0]
    wanted = find_targets(first, target)
    rows = []
    for source in sources:
        targets = match_classes(first.model, wanted, source.model)
        places = match_layers(source.model, layers)
        rows += [Row(source, m, at, targets) for m in chosen for at in (places if m.needs_layer else (None,))]
    return rows


def quick_methods(model: Model) -> list[str]:
    """Keys of the methods that support a model and answer at once."""
    return [key for key, method in METHODS.items() if method.supports(model) is None and method.speed == "live"]


def draw_comparison(explanations: Sequence[Explanation], **options: Any) -> Figure:
    """Draw a row for each method, layer and model and a column for each target, every row in shares of its own limit.

    Args:
        explanations: of one picture, with the same targets.
        options: alpha, colormap, threshold and suptitle, as for `figures.grids.overlay_grid`.
    """
    from xai.figures.grids import overlay_grid

    first = explanations[0]
    rows = [e.source_map() / (e.limit or 1.0) for e in explanations]
    names = name_rows(explanations, lambda method: method.label)
    several = len({e.spec.weights_digest for e in explanations}) > 1
    one = len(first.titles) == 1
    sure = [f" {e.probabilities[0]:.1%}" if several and one else "" for e in explanations]
    labels = [f"{name}{p}\n1 = {e.limit:.3g}" for name, p, e in zip(names, sure, explanations, strict=True)]
    headings = first.target_names if several else first.titles
    of = f" · {headings[0]}" if one else ""
    networks = " and ".join(dict.fromkeys(e.spec.title for e in explanations))
    options.setdefault("suptitle", f"{first.image.name}{of} · {networks}")
    return overlay_grid(
        first.image.pixels,
        rows,
        labels,
        headings,
        signed=any(e.signed for e in explanations),
        boxes=[e.box for e in explanations],
        columns=_columns(explanations) if one and several else None,
        **options,
    )


def _columns(explanations: Sequence[Explanation]) -> int | None:
    """Say how many panels stand in a row so that each model begins a new one; None where they are too many."""
    counts = Counter(e.spec.weights_digest for e in explanations)
    return max(counts.values()) if len(set(counts.values())) == 1 and max(counts.values()) <= MOST_COLUMNS else None


def _layers(layer: str | Sequence[str] | None, layers: Sequence[str] | None) -> tuple[Layers, ...]:
    if layers is not None:
        return tuple(dict.fromkeys((layers,) if isinstance(layers, str) else layers))
    if layer is None or isinstance(layer, str):
        return () if layer is None else (layer,)
    return (tuple(layer),)


def _trace_all(model: Model | ImageTrace, image: Picture, others: tuple[Model, ...], resize: str) -> list[ImageTrace]:
    """Trace the picture with every model, each at its own working size."""
    if isinstance(model, ImageTrace):
        check_trace(model, image)
        first = model
    else:
        first = trace(model, image, resize=resize)
    all_models = (first.model, *others)
    for place, each in enumerate(all_models):
        if any((each.name, each.weights_digest) == (m.name, m.weights_digest) for m in all_models[:place]):
            raise UserError(f"{each.title} is compared with itself; give each model once.")
    return [first, *(trace(each, first.images[0], resize=first.ready.resize) for each in others)]
