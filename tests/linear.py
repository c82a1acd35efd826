"""Networks whose explanation is known: scores that are weighted sums of pixels."""

import torch
from torch import nn

from xai.compute.trace import Classifier, trace_pixels


class LinearNet(nn.Module):
    """Scores (N, K) of pixels (N, 3, h, w): the sum of weights (K, 3, h, w) times pixels, plus a bias."""

    def __init__(self, weights, bias=0.0):
        super().__init__()
        self.weights = nn.Parameter(weights.clone())
        self.bias = bias

    def forward(self, x):
        return torch.einsum("kchw,nchw->nk", self.weights, x) + self.bias


def linear_trace(weights, pixels, bias=0.0):
    return trace_pixels(Classifier(LinearNet(weights, bias), [0.0] * 3, [1.0] * 3), pixels, [])


def random_weights(classes=3, size=16, seed=1):
    return torch.randn(classes, 3, size, size, generator=torch.Generator().manual_seed(seed)) / size


def shares(weights, pixels, fill, segments):
    """Sum weight times (pixel - fill) over each superpixel: float64 (K, d), the Shapley values and LIME's limit."""
    products = (weights.double() * (pixels - fill).double()).sum(1)  # (K, h, w)
    return torch.stack([products[:, segments == j].sum(1) for j in range(int(segments.max()) + 1)], 1)
