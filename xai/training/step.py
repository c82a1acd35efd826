"""One training step: pixels through the network, the loss against labels and teacher, and the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.errors import UserError
from xai.io.geometry import InputFormat
from xai.model import Model
from xai.training.batches import Batch
from xai.training.evaluation import Normalise
from xai.training.recipe import Recipe

SeenByTeacher = Callable[[Tensor], Tensor]


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimizer over the weights that train; biases and norms do not decay."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


class Teacher:
    """A classifier whose probabilities a student learns; its classes are found by name.

    Attributes:
        columns: index of each of the student's classes among the teacher's.
    """

    def __init__(self, model: Model, class_names: Sequence[str], size: int) -> None:
        places = {name.lower(): index for index, name in enumerate(model.class_names)}
        missing = [name for name in class_names if name.lower() not in places]
        if missing:
            raise UserError(
                f"The teacher {model.name} lacks {len(missing)} of the {len(class_names)} classes: "
                f"{', '.join(missing[:5])}; it must know them all, by the same names."
            )
        self.model = model
        self.size = size
        self.columns = torch.tensor([places[name.lower()] for name in class_names])

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Scores (N, K) of the student's classes for uint8 pixels (N, 3, h, w)."""
        seen = pixels.to(self.model.device).float() / 255
        seen = F.interpolate(seen, size=(self.size, self.size), mode="bilinear", antialias=True)
        return self.model.classifier(seen)[:, self.columns.to(seen.device)]


class Step:
    """Make one update from a batch; holds what every step needs.

    Args of the constructor:
        network: takes normalised pixels, gives scores; the one to call, wrapped or compiled.
        optimizer: over its weights.
        recipe: loss and rates.
        fmt: normalisation.
        device: where the network is; on a GPU the forward pass runs in bfloat16.
        world: number of processes whose gradients are averaged.
        teacher: whose probabilities are learned too.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        fmt: InputFormat,
        device: torch.device,
        *,
        world: int = 1,
        teacher: Teacher | None = None,
    ) -> None:
        self.network, self.optimizer, self.recipe = network, optimizer, recipe
        self.normalise, self.device, self.world, self.teacher = Normalise(fmt, device), device, world, teacher

    def __call__(self, batch: Batch, rate: float) -> tuple[float, int]:
        """Update the weights; return the loss summed over the own pictures and how many were right."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        half = torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()
        with half:
            scores = self.network(self.normalise(batch.pixels)).float()
        losses = self._losses(scores, batch)
        self.optimizer.zero_grad(set_to_none=True)
        # Processes average their gradients: weighted so, the average is the gradient of the whole batch.
        (losses.sum() * (self.world / batch.total)).backward()
        self.optimizer.step()
        right = (scores.detach().argmax(1).cpu() == batch.labels).sum()
        return float(losses.detach().sum()), int(right)

    def _losses(self, scores: Tensor, batch: Batch) -> Tensor:
        smoothing = self.recipe.label_smoothing

        def against(labels: Tensor) -> Tensor:
            return F.cross_entropy(scores, labels.to(scores.device), label_smoothing=smoothing, reduction="none")

        losses = against(batch.labels)
        if batch.share < 1:
            losses = batch.share * losses + (1 - batch.share) * against(batch.partners)
        if self.teacher is None or not self.recipe.distill:
            return losses
        heat = self.recipe.temperature
        wanted = (self.teacher(batch.pixels).to(scores.device) / heat).softmax(1)
        distance = F.kl_div((scores / heat).log_softmax(1), wanted, reduction="none").sum(1) * heat**2
        return (1 - self.recipe.distill) * losses + self.recipe.distill * distance


def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move a running average of all weights and buffers one step; it starts fast: min(decay, (1 + n) / (10 + n))."""
    move_average(average, network, min(decay, (1 + step) / (10 + step)))


def move_average(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Take 1 - keep of all weights and buffers of a network into a running average of them."""
    with torch.no_grad():
        pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
        floats = []
        for mean, value in pairs:
            if mean.is_floating_point():
                floats.append((mean, value))
            else:
                mean.copy_(value)
        torch._foreach_lerp_([mean for mean, _ in floats], [value for _, value in floats], 1 - keep)
