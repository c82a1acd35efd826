"""Training: the recipe's rates and sizes, random views, steps against a plain re-derivation, stopping and going on."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xai
from xai.cli import main
from xai.errors import UserError
from xai.io.datasets import Split
from xai.io.geometry import InputFormat
from xai.io.images import load_image
from xai.training.augmentation import random_crop, training_view
from xai.training.batches import PictureStore, Share, as_evaluated, shrunken, training_batches
from xai.training.evaluation import Normalise, evaluate
from xai.training.network import trainable_network
from xai.training.recipe import Recipe
from xai.training.run import Plan
from xai.training.session import measure, resume, start
from xai.training.step import Step, Teacher, follow, make_optimizer

CPU = torch.device("cpu")
FMT = InputFormat(size=(16, 16), resize=16)
QUICK = Recipe(epochs=3, batch_size=8, learning_rate=0.05, size=16, resize=16, ema=0.9, crop_scale=0.5, mixup=0.2)


class Small(nn.Module):
    """Two convolutions, a norm and dropout: everything a resumed run could get wrong."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.drop(x.mean((2, 3))))


class Two(Small):
    """The same for two classes."""

    def __init__(self) -> None:
        super().__init__(2)


class Plain(nn.Module):
    """No norm and no dropout: the gradient of a batch is the mean over its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.conv1(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise, each with its own brightest channel, and one file that is no picture."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for number in range(24):
            pixels = generator.integers(0, 120, (20, 24, 3))
            pixels[..., label] += 110
            PIL.Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02}.png")
    (root / "red" / "broken.jpg").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def store(pictures: Path) -> PictureStore:
    files = sorted(pictures.rglob("*.png"))
    labels = [("red", "green", "blue").index(file.parent.name) for file in files]
    return PictureStore(Split(tuple(files), tuple(labels)), shrunken(24))


def test_one_cycle_rises_to_the_highest_rate_and_falls_to_nothing() -> None:
    recipe = Recipe(learning_rate=0.4, schedule="one-cycle", warmup=0.25)
    rates = [recipe.rate_at(step, 100) for step in range(100)]
    assert np.argmax(rates) == 25 and max(rates) == pytest.approx(0.4)
    assert (np.diff(rates[:26]) > 0).all() and (np.diff(rates[25:]) < 0).all()
    assert rates[25 + 37] == pytest.approx(0.2 * (1 + math.cos(math.pi * 37 / 75)))
    assert rates[-1] < 0.001


def test_sizes_grow_and_end_at_the_training_size() -> None:
    sizes = [Recipe(epochs=12, size=64, train_size=56, start_size=32).size_at(epoch) for epoch in range(12)]
    assert sizes[0] == 32 and sizes[8:] == [56] * 4 and sizes == sorted(sizes)
    assert all(size % 8 == 0 for size in sizes)
    assert Recipe(epochs=1, size=64, start_size=32).size_at(0) == 64


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"schedule": "step"}, "one-cycle, cosine, constant"),
        ({"optimizer": "lion"}, "sgd, adamw"),
        ({"label_smoothing": 1.5}, "between 0 and 0.99"),
        ({"size": 32, "start_size": 64}, "first size"),
        ({"size": 64, "resize": 32}, "resize"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Recipe(**wrong)


def test_recipe_survives_json() -> None:
    assert Recipe.from_json(json.loads(json.dumps(QUICK.as_json()))) == QUICK
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        Recipe.from_json({"epoch": 3})


def test_random_crops_have_the_promised_areas_and_stay_inside() -> None:
    generator = np.random.default_rng(0)
    boxes = np.array([random_crop(60, 40, 0.35, generator) for _ in range(2000)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0 and top.min() >= 0 and right.max() <= 60 and bottom.max() <= 40
    areas = (right - left) * (bottom - top) / 2400
    assert 0.35 <= areas.min() < 0.36 and 0.85 < areas.max() <= 1
    ratios = (right - left) / (bottom - top)
    assert ratios.min() >= 0.74 and ratios.max() <= 1.34
    assert abs((left + right).mean() / 2 - 30) < 0.5 and abs((top + bottom).mean() / 2 - 20) < 0.5  # no corner is liked


def test_a_view_mirrors_left_and_right_only() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8] = 255  # bright upper left
    recipe = Recipe(crop_scale=1.0)
    corners = set()
    for seed in range(20):
        view = training_view(picture, 8, recipe, np.random.default_rng(seed))
        assert view[-1].max() < 60  # never upside down
        corners.add(("left", "right")[int(view[0, 0, 0] < view[0, -1, 0])])
    assert corners == {"left", "right"}


def test_random_operations_keep_size_and_follow_the_seed() -> None:
    picture = load_image("cat").pixels[:64, :64]
    recipe = Recipe(randaugment=3, magnitude=1.0)
    views = [training_view(picture, 32, recipe, np.random.default_rng(seed)) for seed in range(40)]
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views)
    assert np.array_equal(views[3], training_view(picture, 32, recipe, np.random.default_rng(3)))
    assert len({view.tobytes() for view in views}) == 40


def test_every_picture_comes_once_per_epoch_in_another_order(store: PictureStore) -> None:
    recipe = Recipe(batch_size=9, size=8, crop_scale=1, flip=False, ema=0)
    orders = []
    for epoch in (0, 1):
        labels = torch.cat([batch.labels for batch in training_batches(store, recipe, epoch)])
        assert labels.bincount().tolist() == [24, 24, 24]
        orders.append(labels.tolist())
    assert orders[0] != orders[1]


def test_batches_are_the_same_from_any_step_and_over_any_number_of_processes(store: PictureStore) -> None:
    whole = list(training_batches(store, QUICK, 1))
    later = list(training_batches(store, QUICK, 1, first_step=5))
    for a, b in zip(whole[5:], later, strict=True):
        assert torch.equal(a.pixels, b.pixels) and a.share == b.share
    parts = [list(training_batches(store, QUICK, 1, share=Share(rank, 3))) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert torch.equal(batch.pixels, torch.cat([part[step].pixels for part in parts]))
        assert torch.equal(batch.partners, torch.cat([part[step].partners for part in parts]))


def test_mixing_weighs_both_pictures_and_both_labels(store: PictureStore) -> None:
    plain = next(training_batches(store, Recipe(batch_size=8, size=8), 0))
    mixed = next(training_batches(store, Recipe(batch_size=8, size=8, mixup=1.0), 0))
    pairs = [1, 0, 3, 2, 5, 4, 7, 6]
    wanted = mixed.share * plain.pixels.double() + (1 - mixed.share) * plain.pixels[pairs].double()
    assert (mixed.pixels.double() - wanted).abs().max() <= 0.51
    assert torch.equal(mixed.labels, plain.labels) and torch.equal(mixed.partners, plain.labels[pairs])


def test_pictures_over_the_memory_limit_are_read_again(pictures: Path) -> None:
    files = sorted((pictures / "blue").glob("*.png"))
    split = Split(tuple(files), (2,) * len(files))
    all_held, some_held = PictureStore(split, shrunken(10)), PictureStore(split, shrunken(10), memory=2000)
    assert sum(picture is None for picture in some_held._pictures) > 10
    for index in range(len(files)):
        assert all_held[index].shape == (10, 12, 3)
        assert np.array_equal(all_held[index], some_held[index])


def test_measured_pixels_are_those_of_the_library(pictures: Path) -> None:
    file = pictures / "red" / "00.png"
    model = xai.load_model(Small, input_size=16)
    kept = PictureStore(Split((file,), (0,)), as_evaluated(model.fmt))
    assert torch.equal(
        torch.from_numpy(kept[0].copy()).permute(2, 0, 1) / 255, model.prepare(load_image(file)).pixels[0]
    )


def smoothed(scores: torch.Tensor, label: int, smoothing: float) -> torch.Tensor:
    wanted = torch.full((3,), smoothing / 3)
    wanted[label] += 1 - smoothing
    return -(wanted * scores.log_softmax(0)).sum()


def test_a_step_is_sgd_on_the_mixed_smoothed_loss(store: PictureStore) -> None:
    recipe = Recipe(batch_size=6, size=8, momentum=0, weight_decay=0.01, label_smoothing=0.2, mixup=1.0)
    batch = next(training_batches(store, recipe, 0))
    network = Plain()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    loss, _ = Step(network, make_optimizer(network, recipe), recipe, FMT, CPU)(batch, 0.3)

    twin = Plain()
    twin.load_state_dict(before)
    scores = twin((batch.pixels / 255 - torch.tensor(FMT.mean).view(3, 1, 1)) / torch.tensor(FMT.std).view(3, 1, 1))
    losses = [
        batch.share * smoothed(row, int(a), 0.2) + (1 - batch.share) * smoothed(row, int(b), 0.2)
        for row, a, b in zip(scores, batch.labels, batch.partners, strict=True)
    ]
    assert loss == pytest.approx(sum(losses).item(), rel=1e-5)
    (sum(losses) / 6).backward()
    for name, parameter in twin.named_parameters():
        decay = 0.01 * before[name] if parameter.ndim > 1 else 0
        wanted = before[name] - 0.3 * (parameter.grad + decay)
        assert torch.allclose(network.get_parameter(name), wanted, atol=1e-6)


def test_the_teacher_pulls_the_student_towards_its_probabilities(store: PictureStore) -> None:
    recipe = Recipe(batch_size=24, size=16, distill=1.0, temperature=3.0, label_smoothing=0, momentum=0.9)
    master = xai.load_model(Plain, input_size=16, class_names=["blue", "red", "green"])
    teacher = Teacher(master, ("red", "green", "blue"), 16)
    batch = next(training_batches(store, recipe, 0))
    assert torch.allclose(teacher(batch.pixels), master.classifier(batch.pixels / 255)[:, [1, 2, 0]], atol=1e-6)

    torch.manual_seed(3)
    student = Plain()
    step = Step(student, make_optimizer(student, recipe), recipe, FMT, CPU, teacher=teacher)
    losses = [step(batch, 0.5)[0] for _ in range(150)]
    scores = student(Normalise(FMT, CPU)(batch.pixels)) / 3
    wanted = (teacher(batch.pixels) / 3).softmax(1)
    assert losses[-1] < 0.1 * losses[0]
    assert (scores.softmax(1) - wanted).abs().max() < 0.02


def test_a_teacher_that_lacks_a_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"lacks 1 of the 2 classes: eel"):
        Teacher(xai.load_model(Plain, input_size=16, class_names=["cat", "dog", "cow"]), ("cat", "eel"), 16)


def test_the_running_average_is_a_weighted_sum() -> None:
    network, average = Plain(), Plain()
    start_value = average.fc.bias.detach().clone()
    follow(average, network, 0.5, step=100)
    assert torch.allclose(average.fc.bias, 0.5 * start_value + 0.5 * network.fc.bias)


def test_evaluation_counts_as_a_loop_would(store: PictureStore) -> None:
    network = Small(7).train()
    wide = PictureStore(Split(tuple(store._files), tuple(store.labels.tolist())), as_evaluated(FMT))
    measured = evaluate(network, wide, FMT, CPU, classes=7)
    assert network.training  # as it was
    network.eval()
    confusion, five = np.zeros((7, 7), int), 0
    for index, label in enumerate(wide.labels.tolist()):
        pixels = torch.from_numpy(wide[index].copy()).permute(2, 0, 1)[None]
        order = network(Normalise(FMT, CPU)(pixels))[0].argsort(descending=True)
        confusion[label, order[0]] += 1  # rows are true classes
        five += label in order[:5]
    assert np.array_equal(measured.confusion, confusion)
    assert measured.top1 == pytest.approx(np.trace(confusion) / 72) and measured.top5 == pytest.approx(five / 72)
    assert measured.recall()[:3] == pytest.approx(np.diag(confusion)[:3] / 24) and np.isnan(measured.recall()[5])
    true, said, count = measured.confused()[0]
    assert true != said and confusion[true, said] == count


def test_fine_tuning_takes_all_but_a_head_of_another_size(tmp_path: Path) -> None:
    whole = xai.load_model("squeezenet1_1", weights=None).network
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    network = trainable_network("squeezenet1_1", 3, weights=tmp_path / "whole.pth", freeze=True)
    assert torch.equal(network.features[3].squeeze.weight, whole.features[3].squeeze.weight)
    assert network.classifier[1].weight.shape[0] == 3
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert trained == ["classifier.1.weight", "classifier.1.bias"]
    with pytest.raises(UserError, match="200 scores, but the pictures have 3"):
        trainable_network("xai.compute.small_resnet:SmallResNet", 3)


def test_a_network_learns_and_its_run_tells_everything(pictures: Path, tmp_path: Path) -> None:
    outcome = start(pictures, "test_training:Small", tmp_path / "run", QUICK, threads=1)
    assert outcome.finished and outcome.skipped == 1
    measured = outcome.evaluation
    assert measured is not None and measured.pictures == 6 and measured.top1 >= 0.66
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    with (tmp_path / "run" / "skipped.csv").open() as file:
        assert [Path(row["file"]).name for row in csv.DictReader(file)] == ["broken.jpg"]
    for name in ("curves.png", "confusion.png"):
        assert PIL.Image.open(tmp_path / "run" / name).size[0] > 300
    found = measure(str(tmp_path / "run"), pictures)
    model, again = found.model, found.evaluation
    assert model.class_names == ("blue", "green", "red") and model.fmt == FMT
    assert np.array_equal(again.confusion, measured.confusion)


def test_a_network_that_knows_some_classes_is_measured_on_those(pictures: Path, tmp_path: Path) -> None:
    kept = ("green", "red")
    run = tmp_path / "run"
    parts = iter([True])
    recipe = replace(QUICK, epochs=1)
    start(pictures, "test_training:Two", run, recipe, classes=kept, threads=1, stop=lambda: next(parts, False))
    outcome = resume(run)
    assert outcome.evaluation is not None and outcome.evaluation.pictures == 4
    found = measure(str(run), pictures)
    assert found.model.class_names == kept and found.unknown == ("blue",)
    assert np.array_equal(found.evaluation.confusion, outcome.evaluation.confusion)
    with pytest.raises(UserError, match="blue"):
        measure(str(run), pictures, classes=["blue", "red"])


def test_a_run_stopped_anywhere_ends_in_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    start(pictures, "test_training:Small", tmp_path / "whole", QUICK, threads=1)
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps in (1, 4, 9, 10)  # inside an epoch and at its end

    outcome = start(pictures, "test_training:Small", tmp_path / "parts", QUICK, threads=1, stop=stop)
    parts = 1
    while not outcome.finished:
        assert outcome.evaluation is None
        outcome, parts = resume(tmp_path / "parts", stop=stop), parts + 1
    assert parts == 5
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == other


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    """SIGKILL at a random moment, then `xai train --resume`, on the command line."""
    arguments = ["--data", str(pictures), "--model", "test_training:Small", "--epochs", "60", "--batch-size", "8"]
    arguments += ["--size", "16", "--lr", "0.05", "--threads", "1", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", "import sys; from xai.cli import main; sys.exit(main())", "train"]
    subprocess.run([*command, *arguments, "--output", str(tmp_path / "whole")], env=environment, check=True)
    killed = subprocess.Popen([*command, *arguments, "--output", str(tmp_path / "killed")], env=environment)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    subprocess.run([*command, "--resume", str(tmp_path / "killed"), "--quiet"], env=environment, check=True)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert one == other


def test_a_run_is_never_written_over_and_never_goes_on_with_other_pictures(pictures: Path, tmp_path: Path) -> None:
    start(pictures, "test_training:Small", tmp_path / "run", QUICK, stop=lambda: True)
    with pytest.raises(UserError, match="already holds a run; go on with --resume"):
        start(pictures, "test_training:Small", tmp_path / "run", QUICK)
    plan = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(plan | {"digest": "another"}))
    with pytest.raises(UserError, match="not those that the run began with"):
        resume(tmp_path / "run")


def test_damaged_files_of_a_run_give_one_sentence(pictures: Path, tmp_path: Path) -> None:
    start(pictures, "test_training:Small", tmp_path / "run", QUICK, stop=lambda: True)
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"\x10" * 100)
    with pytest.raises(UserError, match="is damaged"):
        resume(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        Plan.read(tmp_path / "run")
    with pytest.raises(UserError, match="holds no training run"):
        resume(tmp_path)


@pytest.mark.slow
def test_two_processes_train_as_one(pictures: Path, tmp_path: Path) -> None:
    """Gloo processes share each batch and average gradients: the same weights but for rounding."""
    arguments = ["--data", str(pictures), "--model", "test_training:Plain", "--epochs", "3", "--batch-size", "10"]
    arguments += ["--size", "16", "--lr", "0.05", "--mixup", "0.3", "--threads", "1", "--quiet", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    runner = tmp_path / "runner.py"
    runner.write_text("import sys; from xai.cli import main; sys.exit(main())\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    for count in ("1", "2"):
        run = [*launch, count, str(runner), "train", *arguments, "--output", str(tmp_path / count)]
        subprocess.run(run, env=environment, check=True, capture_output=True, timeout=300)
    one, two = (xai.load_model(str(tmp_path / count)).network.state_dict() for count in ("1", "2"))
    untrained = Plain()
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name
        assert not torch.allclose(value, untrained.state_dict()[name], atol=1e-3)
    first, second = ((tmp_path / count / "confusion.csv").read_text() for count in ("1", "2"))
    assert first == second


def test_command_line_trains_measures_and_refuses(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", "--data", str(pictures), "--model", "test_training:Small", "--size", "16", "--quiet", "--json"]
    assert main([*train, "--epochs", "1", "--output", "run", "--time-budget", "2h"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["finished"] and told["skipped"] == 1
    assert main(["train", "--evaluate", "run", "--data", str(pictures), "--quiet", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["top1"], again["pictures"]) == (told["top1"], told["pictures"])
    for arguments, sentence in (
        (["--data", str(pictures)], "Give one of --output"),
        (["--output", "new", "--model", "resnet18"], "--data is missing"),
        (
            ["--output", "new", "--data", str(pictures), "--model", "resnet18", "--classes", "none.txt"],
            "cannot be read",
        ),
        (["--output", "new", "--data", str(pictures)], "--model is missing"),
        (["--output", "new", "--data", str(pictures), "--model", "resnet19"], "did you mean 'resnet18'"),
        (["--output", "new", "--data", "nowhere", "--model", "resnet18"], "Unknown folder or data set 'nowhere'"),
        (["--resume", "run", "--time-budget", "soon"], "such as 90s, 45m or 2h"),
        (["--output", "new", "--data", str(pictures), "--model", "resnet18", "--distill", "0.5"], "--teacher"),
        (["--evaluate", "other/model.json", "--data", str(pictures)], "no model file"),
    ):
        code = main(["train", *arguments])
        said = capsys.readouterr().err
        assert code == 2 and said.count("\n") == 1, said
        assert sentence in said
    assert not (tmp_path / "new").exists()
