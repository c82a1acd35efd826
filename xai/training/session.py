"""Start a training run in a folder, go on with one, and write down what came out of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision

from xai.io.datasets import LabelledPictures, find_labelled
from xai.io.geometry import InputFormat
from xai.io.model_files import write_model_file
from xai.io.models import MODELS
from xai.load import find_device, load_model
from xai.model import Model
from xai.training.batches import PictureStore, Progress, as_evaluated, shrunken
from xai.training.checkpoint import CHECKPOINT
from xai.training.distributed import Processes
from xai.training.evaluation import Evaluation, evaluate
from xai.training.network import trainable_network
from xai.training.recipe import Recipe
from xai.training.report import write_evaluation, write_skipped
from xai.training.run import Plan, check_same, prepare_folder, write_metrics
from xai.training.step import Teacher
from xai.training.trainer import Trainer


@dataclass(frozen=True)
class Outcome:
    """What a call of `start` or `resume` led to.

    Attributes:
        folder: of the run.
        finished: False when it was stopped before its end; `resume` goes on.
        evaluation: of the final weights on all validation pictures; None before the end.
        skipped: number of pictures that could not be read.
    """

    folder: Path
    finished: bool
    evaluation: Evaluation | None
    skipped: int


@dataclass(frozen=True)
class Measurement:
    """How good a trained classifier is on pictures.

    Attributes:
        model: the classifier.
        evaluation: over its own classes.
        skipped: number of pictures that could not be read.
        unknown: classes of the folder that the model does not know, left out.
    """

    model: Model
    evaluation: Evaluation
    skipped: int
    unknown: tuple[str, ...]


def start(
    data: Path,
    model: str,
    folder: Path,
    recipe: Recipe,
    *,
    weights: str | None = None,
    teacher: tuple[str, str] | None = None,
    classes: Sequence[str] | None = None,
    validation_share: float = 0.1,
    measured: int = 2000,
    half: bool = False,
    device: str = "auto",
    threads: int | None = None,
    memory: float = 4e9,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Progress | None = None,
) -> Outcome:
    """Train a network on the labelled pictures of a folder.

    Args:
        data: see `find_labelled`.
        model: a name in `MODELS`, or "package.module:function" that builds a network with the right number of scores.
        folder: gets run.json, checkpoint, metrics, figures and the model file; must not hold a run yet.
        recipe: how to train.
        weights: None for random ones, or what to start from; see `trainable_network`.
        teacher: (model, weights) to learn from, with `recipe.distill` above 0.
        classes: the ones to keep, by folder or by name; default: all.
        validation_share: held out of each class where the folder has no validation part.
        measured: validation pictures measured after each epoch; the end measures all.
        half: keep the final weights in 16 bits.
        device: "auto", "cpu", "cuda" or "mps".
        threads: of torch; default: as many as there are cores.
        memory: bytes of decoded pictures to hold.
        stop: asked after each step; True ends the call with a checkpoint.
        on_progress: called with (fraction of the run, sentence); may raise `Cancelled`.

    Raises:
        UserError: a name or value is wrong, the pictures cannot be used, or the folder holds a run.
    """
    found = find_labelled(data, classes=classes, validation_share=validation_share, seed=recipe.seed)
    plan = Plan(
        data=str(data.resolve()),
        model=model,
        weights=weights,
        teacher=teacher,
        classes=tuple(classes) if classes else None,
        validation_share=validation_share,
        digest=found.digest,
        threads=threads or torch.get_num_threads(),
        half=half,
        measured=measured,
        recipe=recipe,
    )
    processes = Processes()
    make = _Maker(plan, found, folder, processes, find_device(device), memory, on_progress)
    network = trainable_network(model, len(found.class_names), weights=weights, freeze=recipe.freeze)
    if processes.first:
        prepare_folder(folder)
    trainer = make.trainer(network)
    if processes.first:
        plan.write(folder)
    return make.go(trainer, stop)


def resume(
    folder: Path,
    *,
    device: str = "auto",
    memory: float = 4e9,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Progress | None = None,
) -> Outcome:
    """Go on with a run; on one CPU the final weights are those of a run that never stopped, bit for bit.

    Args:
        folder: of the run.
        device, memory, stop, on_progress: as for `start`.

    Raises:
        UserError: the folder holds no run, it is damaged, or the pictures have changed.
    """
    plan = Plan.read(folder)
    found = find_labelled(
        Path(plan.data), classes=plan.classes, validation_share=plan.validation_share, seed=plan.recipe.seed
    )
    check_same(plan, found)
    make = _Maker(plan, found, folder, Processes(), find_device(device), memory, on_progress)
    network = trainable_network(plan.model, len(found.class_names), weights=plan.weights, freeze=plan.recipe.freeze)
    trainer = make.trainer(network)
    if (folder / CHECKPOINT).exists():  # else it was stopped before the first one: from the beginning
        trainer.load()
    return make.go(trainer, stop)


def training_format(model: str, recipe: Recipe) -> InputFormat:
    """What a network trained by a recipe is given later: the architecture's normalisation, the recipe's size."""
    fmt = MODELS[model].preset(MODELS[model].default_weights).fmt if model in MODELS else InputFormat()
    shorter = recipe.resize or round(recipe.size * fmt.resize / max(fmt.size))
    return InputFormat(fmt.mean, fmt.std, (recipe.size, recipe.size), shorter, fmt.interpolation, fmt.channels)


@dataclass
class _Maker:
    """What starting and resuming share."""

    plan: Plan
    found: LabelledPictures
    folder: Path
    processes: Processes
    device: torch.device
    memory: float
    on_progress: Progress | None
    skipped: int = 0

    def trainer(self, network: torch.nn.Module) -> Trainer:
        """Read the pictures and set up the loop."""
        recipe = self.plan.recipe
        fmt = training_format(self.plan.model, recipe)
        torch.set_num_threads(self.plan.threads)
        train = self._store(self.found.train, shrunken(round(1.5 * recipe.last_size)))
        validation = self._store(self.found.validation, as_evaluated(fmt))
        bad = [*train.skipped, *validation.skipped]
        self.skipped = len(bad)
        if self.processes.first:
            write_skipped(self.folder, bad)
        return Trainer(
            network,
            recipe,
            fmt,
            self.folder,
            train,
            validation,
            classes=len(self.found.class_names),
            device=self.device,
            processes=self.processes,
            teacher=self._teacher(),
            measured=self.plan.measured,
        )

    def _store(self, split: Any, shape: Any) -> PictureStore:
        def tell(fraction: float, sentence: str) -> None:
            if self.on_progress:
                self.on_progress(0.0, sentence)

        return PictureStore(split, shape, memory=self.memory, on_progress=tell)

    def _teacher(self) -> Teacher | None:
        if self.plan.teacher is None or not self.plan.recipe.distill:
            return None
        name, weights = self.plan.teacher
        model = load_model(name, weights=weights, device=str(self.device))
        return Teacher(model, self.found.class_names, self.plan.recipe.teacher_size)

    def go(self, trainer: Trainer, stop: Callable[[], bool]) -> Outcome:
        """Train, and at the end measure everything and write the model file."""
        if not trainer.run(stop, self.on_progress):
            self.processes.close()
            return Outcome(self.folder, False, None, self.skipped)
        measured = trainer.measure(on_progress=self.on_progress)
        if self.processes.first:
            write_metrics(self.folder, trainer.history)
            self._write_model(trainer, measured)
            write_evaluation(self.folder, measured, self.found.class_names, trainer.history)
        self.processes.close()
        return Outcome(self.folder, True, measured, self.skipped)

    def _write_model(self, trainer: Trainer, measured: Evaluation) -> None:
        libraries = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        about = {
            "data": {"name": self.found.name, "digest": self.found.digest, "train": len(trainer.train)},
            "measured": {"pictures": measured.pictures, "top1": measured.top1, "top5": measured.top5},
            "started_from": self.plan.weights,
            "teacher": Path(self.plan.teacher[1]).name if self.plan.teacher else None,
            "recipe": self.plan.recipe.as_json(),
            "seconds": round(sum(row.seconds for row in trainer.history)),
            "threads": self.plan.threads,
            "versions": {"python": platform.python_version(), **libraries},
        }
        write_model_file(
            self.folder,
            trainer.average.state_dict(),
            architecture=self.plan.model,
            class_names=self.found.class_names,
            fmt=trainer.fmt,
            about=about,
            half=self.plan.half,
        )


def measure(
    source: str,
    data: Path,
    *,
    weights: str | Path | None = "default",
    classes: Sequence[str] | None = None,
    device: str = "auto",
    validation_share: float = 0.1,
    memory: float = 4e9,
    on_progress: Progress | None = None,
) -> Measurement:
    """Measure a trained classifier on the validation pictures of a folder.

    Args:
        source: anything `load_model` takes: a name, a model file, the folder of a run.
        data, validation_share: see `find_labelled`; without a split of its own the folder is split with seed 0, as
            training does.
        weights: for a name in `MODELS`.
        classes: the ones to measure, by folder or by name; default: those of the folder that the model knows.
        device, memory, on_progress: as for `start`.

    Raises:
        UserError: the model cannot be loaded, knows no class of the folder, or lacks one of `classes`.
    """
    model = load_model(source, weights=weights, device=device)
    found = find_labelled(data, classes=classes, validation_share=validation_share)
    known = {name.lower() for name in model.class_names}
    unknown = tuple(name for name in found.class_names if name.lower() not in known)
    if classes is None and 0 < len(unknown) < len(found.class_names) - 1:
        kept = [name for name in found.class_names if name.lower() in known]
        found = find_labelled(data, classes=kept, validation_share=validation_share)
    store = PictureStore(found.validation, as_evaluated(model.fmt), memory=memory, on_progress=on_progress)
    places = [model.find_class(name) for name in found.class_names]
    store.labels = torch.tensor([places[label] for label in store.labels.tolist()], dtype=torch.int64)
    measured = evaluate(
        model.network, store, model.fmt, model.device, classes=len(model.class_names), on_progress=on_progress
    )
    return Measurement(model, measured, len(store.skipped), unknown)
