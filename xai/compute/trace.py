"""One forward pass, kept: the activations of chosen layers and the graph from them to the scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from xai.errors import UserError

GRADIENT_BYTES = 16 * 2**20  # several targets are taken in chunks of about this size: more no longer fits caches
PIXELS = ""  # stands for the pixels where a layer is named


class Classifier(nn.Module):
    """Map working pixels to scores: normalisation, then the network.

    The network must be the caller's own copy: its weights are frozen and capture hooks are attached once, here. Each
    hook does nothing unless the calling thread has a capture open, so several threads can share one classifier.

    Args:
        network: classifier in eval mode; maps normalised pixels (N, channels, h, w) to scores (N, K).
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divides what is left.
        channels: 3 for RGB; 1 for a grey network, which gets the luma (ITU-R BT.601) of the RGB pixels.
        reshape: turns the output of a token layer (N, T, D) into a map (N, D, h, w); None for convolutional networks.
    """

    mean: Tensor
    std: Tensor
    luma: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        channels: int = 3,
        reshape: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.channels = channels
        self.reshape = reshape
        self.rewritten: frozenset[str] = frozenset()  # layers whose output later code writes over
        self.sizes: set[tuple[int, ...]] = set()  # heights and widths of pictures that it is known to take
        # A layer that works in place or hands on its input (dropout) shares memory with code that it does not know:
        # the graph must start where that memory was made. Name -> those layers, or PIXELS.
        self.starts: Mapping[str, frozenset[str]] = {}
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.register_buffer("luma", torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1))
        for name, module in network.named_modules():
            if name:
                module.register_forward_hook(partial(_keep_output, name))
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return scores (N, K) for pixels (N, 3, h, w) in [0, 1]."""
        if self.channels == 1:
            pixels = (pixels * self.luma).sum(1, keepdim=True)  # (N, 3, h, w) -> (N, 1, h, w)
        normalised = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        output = self.network(normalised)
        output = getattr(output, "logits", output)
        return output[0] if isinstance(output, (tuple, list)) else output


@dataclass
class _Capture:
    """What one thread wants kept during one forward pass, and what was kept."""

    wanted: Collection[str] | None  # None: every module
    rewritten: Collection[str]
    outputs: dict[str, Tensor] = field(default_factory=dict)
    edges: dict[str, GradientEdge | None] = field(default_factory=dict)
    watched: list[tuple[str, Tensor, int]] = field(default_factory=list)  # name, value, its version
    calls: dict[str, int] = field(default_factory=dict)
    makers: dict[int, str] = field(default_factory=dict)  # address -> the layer that made it, if all are kept
    starts: dict[str, frozenset[str]] = field(default_factory=dict)
    storages: dict[int, int] = field(default_factory=dict)  # address -> bytes, of all that the graph holds

    def hold(self, output: Tensor) -> None:
        """Count the memory of an output."""
        storage = output.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()


_open_capture: ContextVar[_Capture | None] = ContextVar("open_capture", default=None)


def _keep_output(name: str, module: nn.Module, inputs: tuple[object, ...], output: object) -> Tensor | None:
    capture = _open_capture.get()
    if capture is None or not isinstance(output, Tensor):
        return None
    if capture.wanted is not None and name not in capture.wanted:
        if output.requires_grad:
            capture.hold(output)
        return None
    shares = any(isinstance(each, Tensor) and _address(each) == _address(output) for each in inputs)
    if capture.wanted is None:
        _note_maker(capture, name, shares, _address(output))
    value, replacement = output, None
    if torch.is_grad_enabled() and output.is_floating_point() and not output.requires_grad:
        if shares:
            capture.starts[name] = frozenset({PIXELS})
        value = output = output.detach().requires_grad_()  # the graph starts at the first kept layer,
        replacement = output.clone()  # and what follows may write in place
    elif name in capture.rewritten:
        value = output.detach().clone()  # the output itself goes on, to be written over
    capture.watched.append((name, value, value._version))
    capture.outputs[name] = value
    capture.edges[name] = get_gradient_edge(output) if output.requires_grad else None  # as it is before any writing
    capture.calls[name] = capture.calls.get(name, 0) + 1
    capture.hold(value)
    return replacement


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _note_maker(capture: _Capture, name: str, shares: bool, address: int) -> None:
    if shares:
        maker = capture.makers.get(address, PIXELS)
        capture.starts[name] = capture.starts.get(name, frozenset()) | {maker}
    else:
        capture.makers.setdefault(address, name)


def _run(classifier: Classifier, pixels: Tensor, capture: _Capture) -> Tensor:
    token = _open_capture.set(capture)
    try:
        return classifier(pixels)
    finally:
        _open_capture.reset(token)


def _learn(classifier: Classifier, capture: _Capture) -> bool:
    """Remember what a pass showed about shared memory; return whether it was news: then the pass must run again."""
    rewritten = {name for name, value, version in capture.watched if value._version != version}
    starts = {**classifier.starts, **capture.starts}
    news = not rewritten <= classifier.rewritten or starts != classifier.starts
    classifier.rewritten, classifier.starts = classifier.rewritten | rewritten, starts
    return news


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass that can be asked again: new layers are free, a new class costs one backward pass to its layer.

    Attributes:
        classifier: maps pixels to scores.
        pixels: float32 (N, 3, h, w) in [0, 1].
        known: float32 (N, K), the scores with graph; None for a trace that nobody has asked for them yet.
        outputs: what each kept layer produced, also where later code writes over it.
        edges: where gradients of each kept layer leave the graph; None for one that was computed without gradients.
        nbytes: memory held by the pass, in bytes (outputs of modules from where the graph starts).
    """

    classifier: Classifier
    pixels: Tensor
    known: Tensor | None
    outputs: Mapping[str, Tensor]
    edges: Mapping[str, GradientEdge | None]
    nbytes: int

    @cached_property
    def scores(self) -> Tensor:
        """Scores of the pictures, float32 (N, K); with graph, if a layer is kept or it starts at the pixels."""
        if self.known is not None:
            return self.known
        with torch.inference_mode(False), torch.no_grad():
            return self.classifier(self.pixels)

    def offer_scores(self, scores: Tensor) -> None:
        """Take over the scores (N, K) that a method came across, if they are not known yet; saves a pass."""
        if self.known is None:
            self.__dict__.setdefault("scores", scores.detach())

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the kept layers, in the order they were computed."""
        return tuple(self.outputs)

    @property
    def activations(self) -> dict[str, Tensor]:
        """What every kept layer produced, by name, as `activation` returns it."""
        return {name: self.activation(name) for name in self.outputs}

    def activation(self, layer: str) -> Tensor:
        """Return what a kept layer produced: float32 (N, C, h, w), detached, on the network's device."""
        return self._as_map(self.outputs[layer].detach())

    def gradients(self, layer: str, targets: Sequence[int]) -> Tensor:
        """Return d score / d activation of a kept layer: float32 (K, C, h, w), detached.

        One image: one gradient for each of K targets. N images: `targets` holds one class per image and K is N.
        """
        return torch.cat(list(self.gradient_chunks(layer, targets)))

    def gradient_chunks(self, layer: str, targets: Sequence[int]) -> Iterator[Tensor]:
        """Yield the gradients of `gradients` in chunks (k, C, h, w), bounded in memory."""
        output = self.outputs[layer]
        if len(self.pixels) > 1:
            yield self._as_map(self._backward(layer, self.one_hot(targets)))
            return
        size = max(1, GRADIENT_BYTES // (output.numel() * output.element_size()))
        for start in range(0, len(targets), size):
            rows = self.one_hot(targets[start : start + size])  # (k, classes)
            if len(rows) > 1:
                gradient = self._backward(layer, rows[:, None])  # (k, 1, C, h, w)
                yield self._as_map(gradient.flatten(0, 1))
            else:
                yield self._as_map(self._backward(layer, rows))

    def one_hot(self, targets: Sequence[int]) -> Tensor:
        """Return a row per target (K, classes), 1 at the target."""
        rows = self.scores.new_zeros(len(targets), self.scores.shape[1])
        rows[torch.arange(len(targets)), list(targets)] = 1.0
        return rows

    def _backward(self, layer: str, rows: Tensor) -> Tensor:
        """Propagate rows (N, classes), or k of them at once (k, N, classes), from the scores to a layer."""
        gradient, edge = None, self.edges[layer]
        if edge is not None and self.scores.requires_grad:
            (gradient,) = torch.autograd.grad(
                self.scores, edge, rows, retain_graph=True, is_grads_batched=rows.ndim == 3, allow_unused=True
            )
        if gradient is None:
            raise UserError(
                f"No gradient reaches layer '{layer}': the scores do not depend on it, or the network computes them "
                "without gradients (torch.no_grad or detach in its forward). Choose another layer."
            )
        return gradient

    def score(self, pixels: Tensor) -> Tensor:
        """Return scores (N, K) of other working pixels (N, 3, h, w), without graph and with nothing kept."""
        return score_pixels(self.classifier, pixels)

    def _as_map(self, output: Tensor) -> Tensor:
        reshape = self.classifier.reshape
        return output if reshape is None or output.ndim == 4 else reshape(output)


def trace_pixels(
    classifier: Classifier, pixels: Tensor, layers: Collection[str], *, input_gradient: bool = False
) -> Trace:
    """Run the classifier once and keep the outputs of `layers`, with the graph from there to the scores.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (N, 3, h, w) in [0, 1].
        layers: names of modules of `classifier.network`. A module called more than once keeps its last output.
        input_gradient: let the graph start at the pixels; else it starts at the first kept layer, which is cheaper.

    With neither layers nor input gradient, pictures of a size that the classifier is known to take wait for the first
    that asks for their scores.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pixels = pixels.detach().to(classifier.mean.device)
        if not layers and not input_gradient and tuple(pixels.shape[2:]) in classifier.sizes:
            return Trace(classifier, pixels, None, {}, {}, 0)
        while True:
            starts = {PIXELS} if input_gradient else set().union(*(classifier.starts.get(name, ()) for name in layers))
            if PIXELS in starts and not pixels.requires_grad:
                pixels = pixels.clone().requires_grad_()
            capture = _Capture({*layers, *starts}, classifier.rewritten)
            scores = _run(classifier, pixels, capture)
            if not _learn(classifier, capture):
                break
    classifier.sizes.add(tuple(pixels.shape[2:]))
    outputs = {name: output for name, output in capture.outputs.items() if name in layers}
    return Trace(classifier, pixels, scores, outputs, capture.edges, sum(capture.storages.values()))


def score_pixels(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return scores (N, K) of pixels (N, 3, h, w) in [0, 1], without graph and with nothing kept."""
    with torch.inference_mode():
        return classifier(pixels.to(classifier.mean.device))


@dataclass(frozen=True)
class ModuleOutput:
    """What one module produced in one forward pass: its shape, how often it ran, and whether it was kept whole."""

    name: str
    shape: tuple[int, ...]
    calls: int
    written_over: bool


def record_outputs(classifier: Classifier, pixels: Tensor) -> tuple[Tensor, list[ModuleOutput]]:
    """Run every module once; return the scores (N, K) and each module's output shape, in the order of computation.

    Layers whose output is written over by later code are remembered on the classifier, so that traces keep a copy.
    """
    with torch.inference_mode(False), torch.no_grad():
        capture = _Capture(None, frozenset())
        scores = _run(classifier, pixels.to(classifier.mean.device), capture)
    _learn(classifier, capture)
    records = []
    for name, output in capture.outputs.items():
        shown = output if classifier.reshape is None or output.ndim != 3 else classifier.reshape(output)
        records.append(ModuleOutput(name, tuple(shown.shape), capture.calls[name], name in classifier.rewritten))
    return scores, records
