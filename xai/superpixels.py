"""What LIME found beside its map: the linear model of each class, and every superpixel with weight and uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xai.compute.lime import LimeDetails
from xai.explanation import Explanation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 5  # superpixels that are cut out where `top` says all, as in the lime package


def lime_details(explanation: Explanation) -> LimeDetails | None:
    """Return the details of an explanation by LIME, None of any other."""
    return explanation.details if isinstance(explanation.details, LimeDetails) else None


def tabulate_models(explanation: Explanation) -> pd.DataFrame:
    """Say how good the linear model is, a row for each target.

    Columns: target, superpixels, samples, r2 (weighted), intercept, local_prediction (of the linear model, for the
    picture itself) and network (what the network says to it), both in the unit of the option `output`.
    """
    import pandas as pd

    found = _details(explanation)
    rows = [
        {
            "target": name,
            "superpixels": found.coefficients.shape[1],
            "samples": found.samples[k],
            "r2": float(found.r2[k]),
            "intercept": float(found.intercepts[k]),
            "local_prediction": float(found.predictions[k]),
            "network": float(found.outputs[k]),
        }
        for k, name in enumerate(explanation.target_names)
    ]
    return pd.DataFrame(rows)


def tabulate_superpixels(explanation: Explanation) -> pd.DataFrame:
    """List every superpixel of every target, the strongest first.

    Columns: target, superpixel (its label), weight, uncertainty (standard error of the weight over other samples; empty
    where it cannot be said) and area (share of the working pixels).
    """
    import pandas as pd

    found = _details(explanation)
    areas = np.bincount(found.segments.numpy().ravel(), minlength=found.coefficients.shape[1]) / found.segments.numel()
    tables = []
    for name, weights, errors in zip(
        explanation.target_names, found.coefficients.numpy(), found.standard_errors.numpy(), strict=True
    ):
        order = np.argsort(-np.abs(weights), kind="stable")
        tables.append(
            pd.DataFrame(
                {
                    "target": name,
                    "superpixel": order,
                    "weight": weights[order],
                    "uncertainty": errors[order],
                    "area": areas[order],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def strongest(weights: NDArray[np.floating], count: int, *, positive_only: bool) -> NDArray[np.intp]:
    """Return the superpixels of largest magnitude, or of largest value, that are not 0: at most `count`, best first."""
    ranked = np.where(weights > 0, weights, 0) if positive_only else weights
    order = np.argsort(-np.abs(ranked), kind="stable")
    return order[ranked[order] != 0][:count]


def weights_of(explanation: Explanation, target: int = 0) -> NDArray[np.float64]:
    """Return the weight of each superpixel (d,) for one of the targets, by place."""
    return _details(explanation).coefficients[target].numpy()


def draw_superpixels(explanation: Explanation, target: int = 0, **options: bool | int) -> Figure:
    """Draw the superpixels of one target: outlines, signed weights, the strongest ones, and these with the rest hidden.

    Args:
        explanation: by LIME.
        target: which of the targets, by place.
        options: positive_only and top (how many are kept), by default those of the explanation.
    """
    from xai.figures.superpixels import superpixel_panels

    params = {**explanation.params, **options}
    weights = weights_of(explanation, target)
    count = int(params["top"]) or SHOWN
    kept = strongest(weights, count, positive_only=bool(params["positive_only"]))
    summary = tabulate_models(explanation).iloc[target]
    title = f"LIME · {explanation.titles[target]} · {explanation.spec.title}"
    facts = f"R² {summary['r2']:.2f}, linear model {summary['local_prediction']:.3g}, network {summary['network']:.3g}"
    return superpixel_panels(
        explanation.image.pixels,
        _details(explanation).segments.numpy(),
        weights,
        kept,
        box=explanation.box,
        suptitle=f"{title} ({facts})",
    )


def _details(explanation: Explanation) -> LimeDetails:
    found = lime_details(explanation)
    if found is None:
        raise ValueError(f"{explanation.method.label} has no linear model of superpixels.")
    return found
