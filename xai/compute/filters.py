"""What the convolutions of a network hold: kernels as colours, slices or components, likeness, dead filters.

A convolution has a weight (O, I, kh, kw): O filters, each with one kh x kw kernel per input channel; in a
grouped convolution I is the number of input channels per group. All results are copies, float32 on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from xai.errors import UserError, one_of

DEAD_NORM_SHARE = 0.01  # of the layer's median norm: a filter this weak is no longer told apart from none


@dataclass(frozen=True, eq=False)
class KernelComponents:
    """The principal kernels of each filter, over its input channels.

    Attributes:
        patterns: float32 (O, n, kh, kw); strongest first, each scaled by its strength (its singular value),
            so that all patterns of a filter together have its norm and filters can share one scale. The sign
            is the one that the pattern has when added up over the input channels.
        explained: float32 (O, n) in [0, 1]; share of the filter's squared norm that the pattern accounts for.
    """

    patterns: Tensor
    explained: Tensor


@dataclass(frozen=True, eq=False)
class FilterStatistics:
    """One number per filter of a convolution.

    Attributes:
        norm: float32 (O,); L2 norm of the filter's weights, without its bias.
        nearest: int64 (O,); the other filter of the most similar direction (a lone filter: itself).
        nearest_similarity: float32 (O,); cosine to it in [-1, 1]; near 1 is a duplicate (a lone filter: 0).
        dead: bool (O,); norm at most DEAD_NORM_SHARE of the layer's median norm. A batch norm behind the
            convolution can scale a weak filter up or a strong one down: this looks at the weights alone.
    """

    norm: Tensor
    nearest: Tensor
    nearest_similarity: Tensor
    dead: Tensor

    @property
    def dead_share(self) -> float:
        """Share of the filters that are dead, in [0, 1]."""
        return float(self.dead.float().mean())


def list_convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """List every 2-D convolution with its dotted name, in the order in which the network defines them.

    ResNet-50 has 53; 49 without those whose name contains "downsample", the short cuts of its four stages.
    """
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def convolution_weights(network: nn.Module, layer: str) -> Tensor:
    """Copy the weight of one convolution.

    Args:
        network: any module.
        layer: dotted name of a Conv2d in it.

    Returns:
        Float32 (O, I, kh, kw), any range.

    Raises:
        UserError: no convolution has that name; the sentence lists those that exist.
    """
    convolutions = dict(list_convolutions(network))
    if layer not in convolutions:
        raise one_of("convolution", layer, convolutions)
    return convolutions[layer].weight.detach().to("cpu", torch.float32, copy=True)


def kernel_colours(weight: Tensor) -> Tensor:
    """Show the kernels of a first layer as small RGB pictures.

    Args:
        weight: float (O, 3, kh, kw), input channels red, green, blue.

    Returns:
        Float32 (O, kh, kw, 3) in [0, 1]; zero is mid grey (0.5), and all filters share one scale: the largest
        |weight| of the layer reaches 0 or 1.

    Raises:
        UserError: the convolution does not read three channels.
    """
    if weight.shape[1] != 3:
        raise UserError(
            f"Kernels in colour need 3 input channels, this convolution has {weight.shape[1]}: "
            "choose an input channel or the principal components instead."
        )
    kernels = weight.detach().cpu().float()
    limit = float(kernels.abs().max()) or 1.0
    return (0.5 + kernels / (2 * limit)).permute(0, 2, 3, 1)  # (O, 3, kh, kw) -> (O, kh, kw, 3)


def kernel_slices(weight: Tensor, input_channel: int) -> Tensor:
    """Take what every filter does with one of its input channels.

    Args:
        weight: float (O, I, kh, kw).
        input_channel: 0 to I - 1; in a grouped convolution counted within each filter's own group.

    Returns:
        Float32 (O, kh, kw), raw and signed.

    Raises:
        UserError: there is no such input channel.
    """
    channels = weight.shape[1]
    if not 0 <= input_channel < channels:
        raise UserError(f"Unknown input channel {input_channel}. Choose 0 to {channels - 1}.")
    kernels = weight[:, input_channel]  # (O, I, kh, kw) -> (O, kh, kw)
    return kernels.detach().to("cpu", torch.float32, copy=True)


def kernel_components(weight: Tensor, n: int = 3) -> KernelComponents:
    """Sum up the many kernels of each filter in a few patterns: singular value decomposition, not centred.

    Args:
        weight: float (O, I, kh, kw).
        n: patterns per filter; those beyond min(I, kh * kw) cannot exist and are zero.

    Returns:
        KernelComponents of O filters. A filter that is all zero has zero patterns that explain nothing.
    """
    filters, _, height, width = weight.shape
    kernels = weight.detach().cpu().double().flatten(2)  # (O, I, kh, kw) -> (O, I, kh * kw)
    left, strength, right = torch.linalg.svd(kernels, full_matrices=False)
    # left (O, I, r), strength (O, r), right (O, r, kh * kw), with r = min(I, kh * kw)
    sign = torch.where(left.sum(dim=1) < 0, -1.0, 1.0)  # (O, I, r) -> (O, r)
    patterns = right * (sign * strength)[..., None]  # (O, r, kh * kw)
    power = strength.square()
    explained = power / power.sum(dim=1, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)  # (O, r)
    kept = min(n, strength.shape[1])
    all_patterns = torch.zeros(filters, n, height, width)
    all_patterns[:, :kept] = patterns[:, :kept].reshape(filters, kept, height, width).float()
    all_explained = torch.zeros(filters, n)
    all_explained[:, :kept] = explained[:, :kept].float()
    return KernelComponents(all_patterns, all_explained)


def filter_similarity(weight: Tensor) -> Tensor:
    """Compare the directions of all filters of a convolution.

    Args:
        weight: float (O, I, kh, kw).

    Returns:
        Float32 (O, O): cosine in [-1, 1], 1 on the diagonal; a filter that is all zero has 0 with every
        filter, itself included.
    """
    directions = nn.functional.normalize(weight.detach().cpu().double().flatten(1), dim=1)  # (O, I * kh * kw)
    return (directions @ directions.T).clamp(-1, 1).float()  # (O, O)


def similarity_order(similarity: Tensor) -> Tensor:
    """Order filters so that similar ones stand together: leaves of an average-linkage tree on 1 - cosine.

    Args:
        similarity: float (O, O), symmetric, as from `filter_similarity`.

    Returns:
        Int64 (O,): filter indices.
    """
    if similarity.shape[0] < 3:
        return torch.arange(similarity.shape[0])
    distance = (1 - similarity.double()).clamp_min(0).numpy()
    tree = hierarchy.linkage(squareform(distance, checks=False), method="average")
    return torch.as_tensor(hierarchy.leaves_list(tree), dtype=torch.int64)


def filter_statistics(weight: Tensor) -> FilterStatistics:
    """Find weak and duplicate filters of a convolution.

    Args:
        weight: float (O, I, kh, kw).

    Returns:
        FilterStatistics of O filters.
    """
    norm = torch.linalg.vector_norm(weight.detach().cpu().double(), dim=(1, 2, 3))  # (O, I, kh, kw) -> (O,)
    if len(norm) > 1:
        others = filter_similarity(weight).fill_diagonal_(-torch.inf)  # (O, O)
        nearest_similarity, nearest = others.max(dim=1)  # (O, O) -> (O,)
    else:
        nearest_similarity, nearest = torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    dead = norm <= DEAD_NORM_SHARE * norm.quantile(0.5)
    return FilterStatistics(norm.float(), nearest, nearest_similarity, dead)
