"""Adversarial pictures: changes too small to see that change what the classifier says.

All sizes are in pixel units: epsilon 1/255 is one step of an 8-bit picture, whatever normalisation the network has
inside. A change below half such a step is lost when the picture is saved with 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.trace import Classifier, score_pixels, trace_pixels
from xai.errors import UserError, one_of

CHUNK = 16  # images with a graph at a time
ATTACKS = ("fgsm", "pgd")


@dataclass(frozen=True, eq=False)
class Adversarial:
    """Changed pictures and what the classifier says to them; all on the CPU.

    Attributes:
        pixels: float32 (N, 3, h, w) in [0, 1].
        before, after: float32 (N, K), scores of the original and of the changed pictures.
        success: bool (N,); whether the prediction is no longer the class to leave, or is the target. A picture that
            was misclassified before counts too: compare `before`.
    """

    pixels: Tensor
    before: Tensor
    after: Tensor
    success: Tensor


def fgsm(
    classifier: Classifier,
    pixels: Tensor,
    classes: Sequence[int],
    *,
    epsilon: float = 1 / 255,
    targeted: bool = False,
    output: str = "softmax",
    on_progress: Progress | None = None,
) -> Adversarial:
    """Change every value of a picture by epsilon, up or down, whichever raises the loss: one gradient, one step.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (N, 3, h, w) in [0, 1].
        classes: one per image: the one to leave (true or predicted), or with `targeted` the one to reach.
        epsilon: size of the change, in [0, 1]. Values whose gradient is exactly zero stay as they are.
        targeted: go towards the classes instead of away from them.
        output: "softmax" (cross-entropy) or "sigmoid" (binary cross-entropy of that class).
        on_progress: called after every chunk of images.

    Raises:
        UserError: epsilon is out of range, or there is not one class per image.

    Source: Goodfellow, Shlens and Szegedy 2015, arXiv 1412.6572, section 4; targeted: Kurakin et al. 2017, arXiv
    1607.02533. Unlike there, the result is clamped to valid pixels.
    """
    _check(pixels, classes, epsilon)
    pixels = pixels.detach().float().cpu()
    aim = _Aim(torch.as_tensor(classes), targeted, output)
    directions = _directions(classifier, pixels, aim, partial(_tell, on_progress))
    return _result(classifier, pixels, (pixels + epsilon * directions).clamp(0, 1), classes, targeted)


def pgd(
    classifier: Classifier,
    pixels: Tensor,
    classes: Sequence[int],
    *,
    epsilon: float = 1 / 255,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    targeted: bool = False,
    output: str = "softmax",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Adversarial:
    """Take many small sign steps and go back into the cube of side 2 epsilon around the picture after each.

    Args:
        classifier, pixels, classes, epsilon, targeted, output: as for `fgsm`.
        steps: at least 1; each costs a gradient.
        step_size: in pixel units; 2.5 * epsilon / steps unless given, which reaches the border from everywhere inside.
        random_start: begin at a uniformly random point of the cube, not at the picture.
        seed: of that point.
        on_progress: called after every step.

    Returns:
        The last step, as in the paper, not the best one seen.

    Raises:
        UserError: an option is out of range, or there is not one class per image.

    Source: Madry et al. 2018, arXiv 1706.06083, section 2.1 and their code for the step size.
    """
    _check(pixels, classes, epsilon)
    if steps < 1 or (step_size is not None and step_size < 0):
        raise UserError(f"An attack needs at least 1 step of size >= 0, not {steps} of {step_size}.")
    size = 2.5 * epsilon / steps if step_size is None else step_size
    pixels = pixels.detach().float().cpu()
    generator = torch.Generator().manual_seed(seed)
    changed: list[Tensor] = []
    for part, aim in _chunks(pixels, _Aim(torch.as_tensor(classes), targeted, output)):
        low, high = (part - epsilon).clamp_min(0), (part + epsilon).clamp_max(1)
        current = part
        if random_start:
            noise = torch.rand(part.shape, generator=generator) * 2 - 1
            current = torch.clamp(part + epsilon * noise, low, high)
        done = sum(map(len, changed))
        for step in range(1, steps + 1):
            current = torch.clamp(current + size * _direction(classifier, current, aim), low, high)
            _tell(on_progress, (done + len(part) * step / steps) / len(pixels))
        changed.append(current)
    return _result(classifier, pixels, torch.cat(changed), classes, targeted)


@dataclass(frozen=True, eq=False)
class Sweep:
    """What an attack does to N labelled pictures as it grows; all on the CPU.

    Attributes:
        epsilons: float64 (E,), as given.
        accuracy: float32 (E,), share of pictures still classified as labelled.
        confidence: float32 (E,), mean probability of the label.
        success: float32 (E,), share of pictures where the attack reached its goal, as in `Adversarial`.
        predictions: int64 (E, N).
        probabilities: float32 (E, N), of the label.
        target_probabilities: float32 (E, N), of the target; None without targets.
    """

    epsilons: Tensor
    accuracy: Tensor
    confidence: Tensor
    success: Tensor
    predictions: Tensor
    probabilities: Tensor
    target_probabilities: Tensor | None


def sweep(
    classifier: Classifier,
    pixels: Tensor,
    labels: Sequence[int],
    epsilons: Sequence[float],
    *,
    targets: Sequence[int] | None = None,
    attack: str = "fgsm",
    steps: int = 10,
    output: str = "softmax",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Sweep:
    """Say how accuracy and confidence fall as epsilon grows; epsilon 0 is the clean picture.

    Args:
        classifier, pixels, output, seed: as for `pgd`.
        labels: true class of each image.
        epsilons: sizes of the change, each in [0, 1].
        targets: class to reach for each image; without, the attack leaves the labels.
        attack: one of ATTACKS.
        steps: of "pgd".
        on_progress: called during every attack.

    Raises:
        UserError: an option is not valid.
    """
    if attack not in ATTACKS:
        raise one_of("attack", attack, ATTACKS)
    if not epsilons:
        raise UserError("A sweep needs at least one epsilon.")
    _check(pixels, labels, *epsilons)
    _check(pixels, labels if targets is None else targets)
    aim = _Aim(torch.as_tensor(labels if targets is None else targets), targets is not None, output)
    pixels = pixels.detach().float().cpu()
    told = partial(_tell, on_progress)
    if attack == "fgsm":
        found = _fgsm_scores(classifier, pixels, aim, epsilons, told)
    else:
        found = _pgd_scores(classifier, pixels, aim, epsilons, told, steps, seed)
    scores = torch.stack(list(found))  # (E, N, K)
    chances = scores.sigmoid() if output == "sigmoid" else scores.softmax(2)
    predictions = scores.argmax(2)  # (E, N)
    right = predictions == torch.as_tensor(labels)
    success = ~right if targets is None else predictions == torch.as_tensor(targets)
    of_label = _of_class(chances, labels)
    return Sweep(
        epsilons=torch.tensor(epsilons, dtype=torch.float64),
        accuracy=right.float().mean(1),
        confidence=of_label.mean(1),
        success=success.float().mean(1),
        predictions=predictions,
        probabilities=of_label,
        target_probabilities=None if targets is None else _of_class(chances, targets),
    )


@dataclass(frozen=True, eq=False)
class _Aim:
    """Where an attack goes: away from the classes (N,), or towards them; `output` says what the loss is."""

    classes: Tensor
    targeted: bool
    output: str


def _fgsm_scores(
    classifier: Classifier, pixels: Tensor, aim: _Aim, epsilons: Sequence[float], tell: Callable[[float], None]
) -> Iterator[Tensor]:
    """Yield scores (N, K) at each epsilon; one gradient serves them all."""
    parts = len(epsilons) + 1
    directions = _directions(classifier, pixels, aim, lambda share: tell(share / parts))
    for done, epsilon in enumerate(epsilons, start=2):
        yield _score(classifier, (pixels + epsilon * directions).clamp(0, 1))
        tell(done / parts)


def _pgd_scores(
    classifier: Classifier,
    pixels: Tensor,
    aim: _Aim,
    epsilons: Sequence[float],
    tell: Callable[[float], None],
    steps: int,
    seed: int,
) -> Iterator[Tensor]:
    """Yield scores (N, K) at each epsilon."""
    for i, epsilon in enumerate(epsilons):

        def told(share: float, _: Tensor | None, before: int = i) -> None:
            tell((before + share) / len(epsilons))

        yield pgd(
            classifier,
            pixels,
            aim.classes.tolist(),
            epsilon=epsilon,
            steps=steps,
            targeted=aim.targeted,
            output=aim.output,
            seed=seed,
            on_progress=told,
        ).after


def _of_class(chances: Tensor, classes: Sequence[int]) -> Tensor:
    """Pick one class per image: (E, N, K) -> (E, N)."""
    return chances[:, torch.arange(chances.shape[1]), torch.as_tensor(classes)]


def _directions(classifier: Classifier, pixels: Tensor, aim: _Aim, tell: Callable[[float], None]) -> Tensor:
    """Return the step of `_direction` for any number of images (N, 3, h, w)."""
    found: list[Tensor] = []
    for part, its_aim in _chunks(pixels, aim):
        found.append(_direction(classifier, part, its_aim))
        tell(sum(map(len, found)) / len(pixels))
    return torch.cat(found)


def _direction(classifier: Classifier, pixels: Tensor, aim: _Aim) -> Tensor:
    """Return the sign of d loss / d pixels (n, 3, h, w), turned round for a target; on the CPU."""
    trace = trace_pixels(classifier, pixels, [], input_gradient=True)
    slope = _loss_slope(trace.scores.detach().cpu().double(), aim).to(trace.scores)
    (gradient,) = torch.autograd.grad(trace.scores, trace.pixels, slope)
    return gradient.sign().cpu() * (-1 if aim.targeted else 1)


def _loss_slope(scores: Tensor, aim: _Aim) -> Tensor:
    """Return d loss / d scores (n, K), each row scaled to a largest value of 1, which leaves the sign behind it alone.

    Plain float32 gives zeros or noise here for a picture that the network is very sure of.
    """
    chosen = aim.classes[:, None]
    if aim.output == "sigmoid":
        return torch.zeros_like(scores).scatter(1, chosen, -1.0)
    others = scores.scatter(1, chosen, -torch.inf).softmax(1)  # chance of each other class, if it is one of them
    return others.scatter(1, chosen, -1.0)


def _chunks(pixels: Tensor, aim: _Aim) -> Iterator[tuple[Tensor, _Aim]]:
    for part, classes in zip(pixels.split(CHUNK), aim.classes.split(CHUNK), strict=True):
        yield part, replace(aim, classes=classes)


def _result(
    classifier: Classifier, pixels: Tensor, changed: Tensor, classes: Sequence[int], targeted: bool
) -> Adversarial:
    before, after = _score(classifier, pixels), _score(classifier, changed)
    hit = after.argmax(1) == torch.as_tensor(classes)
    return Adversarial(changed, before, after, hit if targeted else ~hit)


def _score(classifier: Classifier, pixels: Tensor) -> Tensor:
    return torch.cat([score_pixels(classifier, part).float().cpu() for part in pixels.split(CHUNK)])


def _check(pixels: Tensor, classes: Sequence[int], *epsilons: float) -> None:
    if len(classes) != len(pixels):
        raise UserError(f"An attack needs one class per image: {len(classes)} classes for {len(pixels)} images.")
    for epsilon in epsilons:
        if not 0 <= epsilon <= 1:
            raise UserError(f"Epsilon is a share of the range of pixels, from 0 to 1, not {epsilon}.")


def _tell(on_progress: Progress | None, fraction: float) -> None:
    if on_progress:
        on_progress(fraction, None)
