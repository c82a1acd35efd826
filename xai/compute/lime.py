"""LIME for pictures: a linear model of how the network answers when superpixels are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.fills import make_fill
from xai.compute.lime_package import ask_with_package
from xai.compute.lime_sampling import Neighbours, Plan, ask_neighbours, read_samples
from xai.compute.lime_smooth import ROUGH
from xai.compute.lime_solve import Fit, Surrogate, standard_errors
from xai.compute.masking import MaskedPicture, each_picture, paint
from xai.compute.segments import Segmenter, segment
from xai.compute.trace import Trace
from xai.errors import one_of

ENGINES = ("torch", "lime")


@dataclass(frozen=True, eq=False)
class LimeDetails:
    """The linear models behind the maps, all on the CPU.

    Attributes:
        segments: int64 (h, w), the superpixel of each pixel, from 0 to d - 1.
        coefficients: float64 (K, d), by how much the output rises when a superpixel is shown; 0 where not selected.
        standard_errors: float64 (K, d), by how much other samples would change them; see `lime_solve`.
        intercepts: float64 (K,), what the linear model predicts with all superpixels hidden.
        r2: float64 (K,), weighted share of the variance of the samples that it explains.
        predictions: float64 (K,), what it predicts for the picture itself.
        outputs: float64 (K,), what the network says to the picture itself.
        samples: for each target, how many pictures were scored for it.
    """

    segments: Tensor
    coefficients: Tensor
    standard_errors: Tensor
    intercepts: Tensor
    r2: Tensor
    predictions: Tensor
    outputs: Tensor
    samples: tuple[int, ...]


def lime(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    segmenter: str = "quickshift",
    n_segments: int = 50,
    kernel_size: float = 4.0,
    max_dist: float = 200.0,
    ratio: float = 0.2,
    scale: float = 100.0,
    min_size: int = 50,
    compactness: float = 10.0,
    sigma: float = 0.0,
    fill: str = "mean",
    color: str = "#808080",
    output: str = "probability",
    samples: int | str = "auto",
    kernel_width: float = 0.25,
    distance: str = "cosine",
    regressor: str = "ridge",
    alpha: float = 1.0,
    feature_selection: str = "auto",
    num_features: int = 0,
    smooth: bool = True,
    positive_only: bool = False,
    top: int = 0,
    engine: str = "torch",
) -> Attribution:
    """Hide superpixels at random and fit a linear model to what the network then says.

    Args:
        trace: of one image (K targets, which share the samples) or of N images (one target each, K = N).
        targets: class indices.
        layer: not used.
        seed: of the samples and of the fill "noise"; the superpixels do not depend on it.
        segmenter, n_segments, kernel_size, max_dist, ratio, scale, min_size, compactness, sigma: see `Segmenter`.
        fill, color: what hides a superpixel, see `make_fill`; "mean" is the lime package's hide_color None.
        output: "probability" (softmax) or "score".
        samples: how many pictures are scored, or "auto": until the ranking of the superpixels is stable.
        kernel_width, distance: how the weight of a sample falls with its distance, see `kernel_weights`.
        regressor, alpha, feature_selection, num_features: of the linear model, see `Fit`.
        smooth: let a Gaussian process fill the gaps between the samples, which other samples would fill differently,
            see `lime_smooth`; for ridge over all superpixels. Without, it is the fit of the lime package.
        positive_only: leave superpixels with a negative coefficient out of the map.
        top: keep only so many superpixels in the map, those of largest magnitude; 0 for all.
        engine: "torch", or "lime" for the lime package itself on the same superpixels ("auto" is then 1,000 samples).

    Returns:
        Maps float32 (K, h, w): the coefficient of the superpixel of each pixel, signed; details `LimeDetails`.

    Source: Ribeiro et al. 2016, arXiv 1602.04938; defaults of the lime package 0.2.0.1, whose `slic` leaves the last
    superpixel out, unlike here.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    how = Fit(regressor, alpha, feature_selection, num_features)
    plan = Plan(*read_samples(samples), kernel_width, distance, seed, smooth)
    cut = Segmenter(segmenter, n_segments, kernel_size, max_dist, ratio, scale, min_size, compactness, sigma)

    def explain_one(pixels: Tensor, targets: tuple[int, ...], on_progress: Progress | None) -> Attribution:
        segments = segment(pixels, cut)
        shown = make_fill(pixels, fill, segments=segments, color=color, seed=seed)
        masked = MaskedPicture(trace, pixels, shown, targets, output)

        def draw_map(surrogates: list[Surrogate]) -> Tensor:
            values = torch.stack([each.coefficients for each in surrogates])
            return paint(keep_strongest(values, top, positive_only), segments)

        def on_check(fraction: float, known: Neighbours) -> None:
            if on_progress:
                on_progress(fraction, draw_map(known.fit(how, ROUGH)))

        if engine == "lime":
            known, surrogates = ask_with_package(masked, segments, plan, how, on_progress)
        else:
            known = ask_neighbours(masked, segments, plan, on_check=on_progress and on_check, on_progress=on_progress)
            surrogates = known.fit(how)
        maps = draw_map(surrogates)
        if on_progress:
            on_progress(1.0, maps)
        return Attribution(maps, _describe(segments, known, surrogates, how))

    return each_picture(trace, targets, explain_one, on_progress)


def keep_strongest(values: Tensor, top: int, positive_only: bool) -> Tensor:
    """Keep in each row (K, d) the `top` values of largest magnitude, all for 0, and if asked only positive ones."""
    kept = values.clamp_min(0) if positive_only else values
    if not 0 < top < values.shape[1]:
        return kept
    strongest = kept.abs().argsort(dim=1, descending=True, stable=True)[:, :top]
    return torch.zeros_like(kept).scatter(1, strongest, kept.gather(1, strongest))


def _describe(segments: Tensor, known: Neighbours, surrogates: list[Surrogate], how: Fit) -> LimeDetails:
    errors = [standard_errors(*known.of_target(k), fitted, how) for k, fitted in enumerate(surrogates)]
    return LimeDetails(
        segments=segments,
        coefficients=torch.stack([each.coefficients for each in surrogates]),
        standard_errors=torch.stack(errors),
        intercepts=torch.tensor([each.intercept for each in surrogates], dtype=torch.float64),
        r2=torch.tensor([each.r2 for each in surrogates], dtype=torch.float64),
        predictions=torch.tensor([each.prediction for each in surrogates], dtype=torch.float64),
        outputs=known.outputs[0],
        samples=known.used,
    )
