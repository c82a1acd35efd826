"""Explanations of one picture side by side: what each row is called, the table, and how far the rows agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xai.coincidences import coincidences
from xai.explanation import Explanation
from xai.method import Method
from xai.metrics.agreement import MEASURES, agreement_matrix
from xai.metrics.alignment import common_places
from xai.tracing import ImageTrace

if TYPE_CHECKING:
    import pandas as pd


def tabulate(explanations: Sequence[Explanation]) -> pd.DataFrame:
    """Write explanations as a table, a row for each of them and each of its targets; see `compare`."""
    import pandas as pd

    rows = [
        {
            "model": e.spec.title,
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
    return pd.DataFrame(rows)


def name_rows(
    explanations: Sequence[Explanation], name: Callable[[Method], str] = lambda method: method.key
) -> list[str]:
    """Name rows by what tells them apart: the method, and its layer and model where there are several."""
    several = len({e.spec.layers() for e in explanations if e.layer is not None}) > 1
    models = _name_models(explanations)
    return [
        " · ".join(
            (
                name(e.method),
                *([" + ".join(e.spec.layers())] if several and e.layer is not None else []),
                *([models[e.spec.weights_digest]] if len(models) > 1 else []),
            )
        )
        for e in explanations
    ]


def _name_models(explanations: Sequence[Explanation]) -> dict[str, str]:
    """Name models, by digest, as shortly as tells them apart: by architecture, else by weights, else by both."""
    specs = {e.spec.weights_digest: e.spec for e in explanations}
    ways = [{digest: spec.model for digest, spec in specs.items()}]
    ways.append({digest: spec.weights for digest, spec in specs.items()})
    titles = {digest: spec.title for digest, spec in specs.items()}
    return next((way for way in ways if len(set(way.values())) == len(specs)), titles)


def agreement(explanations: Sequence[Explanation], target: int = 0) -> dict[str, pd.DataFrame]:
    """Measure how far the maps of one target agree, pair by pair.

    Args:
        explanations: of one picture, with the same targets; where networks see other parts of it, or see it at another
            size, maps are compared on what they share (`common_places`).
        target: which of the targets, by place.

    Returns:
        Name of a measure to a table of rows by rows, named as `name_rows` has it: by the key of the method if no more
        is needed to tell them apart.
    """
    import pandas as pd

    names = name_rows(explanations)
    maps = common_places([np.asarray(e.map[target], np.float64) for e in explanations], [e.box for e in explanations])
    return {
        name: pd.DataFrame(agreement_matrix(maps, measure), index=names, columns=names)
        for name, measure in MEASURES.items()
    }


def explain_agreement(sources: Sequence[ImageTrace], explanations: Sequence[Explanation]) -> tuple[str, ...]:
    """Say which rows must coincide, network by network; a sentence names its network where there are several."""
    said = []
    for source in sources:
        own = [e for e in explanations if e.spec.weights_digest == source.model.weights_digest]
        of = f"{source.model.title}: " if len(sources) > 1 else ""
        said += [of + sentence for sentence in coincidences(source, own)]
    return tuple(said)
