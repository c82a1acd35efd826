"""The lime package itself, asked about the same network, superpixels and fill: for comparison."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.lime_sampling import Neighbours, Plan
from xai.compute.lime_solve import Fit, Surrogate, kernel_weights, scikit_learn_regressor
from xai.compute.masking import BATCH, MaskedPicture, read_output

PACKAGE_SAMPLES = 1000  # its default


def ask_with_package(
    masked: MaskedPicture, segments: Tensor, plan: Plan, how: Fit, on_progress: Progress | None
) -> tuple[Neighbours, list[Surrogate]]:
    """Let the package draw, score and fit; return its samples and its linear models, one for each target.

    It does what its `explain_instance` does, which however keeps R2 and prediction of one class only. It draws its
    own bar of progress on the standard error.
    """
    from lime.lime_image import LimeImageExplainer
    from sklearn.metrics import pairwise_distances

    count = PACKAGE_SAMPLES if plan.stop_early else plan.limit
    done = 0

    def classify(images: np.ndarray) -> np.ndarray:
        nonlocal done
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w)
        done += len(batch)
        if on_progress:
            on_progress(done / count, None)
        return read_output(masked.trace.score(batch), masked.targets, masked.output).numpy()

    explainer = LimeImageExplainer(
        kernel_width=plan.kernel_width,
        feature_selection=how.selection,
        random_state=np.random.RandomState(plan.seed),
    )
    image, fill = (each.permute(1, 2, 0).cpu().numpy() for each in (masked.pixels, masked.fill))  # -> (h, w, 3)
    data, labels = explainer.data_labels(image, fill, segments.numpy(), classify, count, batch_size=BATCH)
    distances = pairwise_distances(data, data[:1], metric=plan.distance).ravel()
    samples = torch.from_numpy(data).double()
    weights = kernel_weights(samples, plan.kernel_width, plan.distance)
    surrogates = []
    for k in range(len(masked.targets)):
        intercept, pairs, r2, prediction = explainer.base.explain_instance_with_data(
            data,
            labels,
            distances,
            k,
            how.num_features or data.shape[1],
            feature_selection=how.selection,
            model_regressor=scikit_learn_regressor(how, weights),
        )
        selected = torch.tensor([int(feature) for feature, _ in pairs])
        values = torch.tensor([float(value) for _, value in pairs], dtype=torch.float64)
        coefficients = torch.zeros(data.shape[1], dtype=torch.float64).index_copy(0, selected, values)
        rest = torch.from_numpy(labels[:, k]) - samples @ coefficients - float(intercept)
        told = (float(intercept), float(r2), float(prediction.item()))
        surrogates.append(Surrogate(coefficients, selected, *told, rest))
    return Neighbours(samples, torch.from_numpy(labels), weights, (count,) * len(masked.targets), plan), surrogates
