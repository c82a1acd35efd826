"""Ask what a classifier would have scored, had one of its layers produced something else."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from xai.compute.trace import Classifier

Change = Callable[[Tensor], Tensor]
"""Makes variants (rows, ...) of one output of the layer (1, ...): a new tensor, which later code may write over."""


class Replay:
    """Run a classifier again and again on one picture, with the output of one layer changed.

    It works on a copy of the modules, which shares the weights: the classifier stays as it is, and other threads may
    use it meanwhile. A replay itself belongs to one thread.

    What leads to the layer runs once per pass, and only what follows runs on all variants (`narrow`). That needs a
    network in which values from before and from behind the layer meet by broadcasting, as in a ResNet. Where that does
    not hold (concatenation inside a DenseNet; a layer that works in place, while others read the same memory), the
    whole network runs on all variants. A trial at the start finds out.

    Attributes:
        narrow: whether only the part behind the layer runs on all variants.

    Args:
        classifier: maps pixels to scores.
        layer: name of a module of its network that returns a tensor; if it runs more than once, the last is changed.
        pixels: of one picture, float32 (1, 3, h, w), for the trial.
    """

    def __init__(self, classifier: Classifier, layer: str, pixels: Tensor) -> None:
        shared = {id(tensor): tensor for tensor in (*classifier.parameters(), *classifier.buffers())}
        self._copy = copy.deepcopy(classifier, shared)
        self._copy.network.get_submodule(layer).register_forward_hook(self._replace)
        self._change: Change | None = None
        self._calls = 0
        self._run(pixels, None)
        self._last = self._calls
        self.narrow = self._try_narrow(pixels)

    def score(self, pixels: Tensor, change: Change, rows: int) -> Tensor:
        """Return the scores of all variants (rows, K), without graph.

        Args:
            pixels: of one picture, float32 (1, 3, h, w).
            change: makes the variants from what the layer produces.
            rows: how many it makes.
        """
        return self._run(pixels if self.narrow else pixels.expand(rows, -1, -1, -1), change)

    def _run(self, pixels: Tensor, change: Change | None) -> Tensor:
        self._change, self._calls = change, 0
        with torch.inference_mode():
            return self._copy(pixels)

    def _replace(self, module: nn.Module, inputs: tuple[object, ...], output: Tensor) -> Tensor | None:
        self._calls += 1
        if self._change is None or self._calls != self._last:
            return None
        changed = self._change(output[:1])
        address = output.untyped_storage().data_ptr()
        shares = any(isinstance(each, Tensor) and each.untyped_storage().data_ptr() == address for each in inputs)
        if shares and len(changed) == len(output):
            output.copy_(changed)  # whoever else reads this memory gets the change, too
            return None
        return changed

    def _try_narrow(self, pixels: Tensor) -> bool:
        def halve(output: Tensor) -> Tensor:
            return torch.cat([output, output / 2])

        expected = self._run(pixels.expand(2, -1, -1, -1), halve)
        try:
            found = self._run(pixels, halve)
        except (RuntimeError, ValueError, IndexError, AssertionError):  # rows that do not fit together
            return False
        return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-3 * expected.abs().max())
