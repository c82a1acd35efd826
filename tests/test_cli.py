"""The command line: what each command does, how mistakes end, and that a figure can be made again from its record."""

from __future__ import annotations

import io
import json
import shlex
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

from xai import load_model
from xai.cli import app as commands
from xai.cli import main
from xai.cli.serving import app_environment
from xai.cli.text import progress
from xai.registry import METHODS
from xai.spec import RunSpec

NAMES = ["models", "layers", "methods", "predict", "feature-maps", "filters", "explain", "cam", "compare", "dff"]
NAMES += ["dream", "fgsm", "train", "app", "notebooks"]
# A stage of 8 and one of 16 channels; the grey one reads one channel; the dead one has nothing but zeros.
NETWORKS = """
from torch import nn

def net(channels=3):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )

def grey():
    return net(1)

def dead():
    network = net()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network

def broken():
    raise KeyError("weights")
"""
TINY = ["--model", "tiny_cli_networks:net"]
SMALL = ["--model", "resnet18", "--weights", "none", "--input-size", "64"]


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in an empty folder that holds tiny networks and the photograph photo.png, 60 x 40."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny_cli_networks.py").write_text(NETWORKS)
    sys.modules.pop("tiny_cli_networks", None)
    save_noise("photo.png", 60, 40)

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        return Done(code, *capsys.readouterr())

    return call


def save_noise(path: str | Path, width: int, height: int, seed: int = 0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def pixels_of(path: str | Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path).convert("RGB"))


def same_bytes(one: str | Path, other: str | Path) -> bool:
    return Path(one).read_bytes() == Path(other).read_bytes()


def assert_refused(done: Done, *words: str) -> None:
    """A user's mistake: exit code 2, one sentence on stderr, nothing on stdout."""
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("Error: ") and done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err


# Help and the ways a run can end


def test_help_of_every_command_works_without_torch() -> None:
    code = (
        "import sys\nfrom xai.cli import main\n"
        f"codes = [main([*words, '--help']) for words in ([], *([name] for name in {NAMES!r}))]\n"
        "codes += [main([]), main(['--version'])]\n"
        "slow = {'torch', 'streamlit', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'{codes} {slow}' if any(codes) or slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in NAMES)


def test_every_command_is_listed() -> None:
    names = [each.name or each.callback.__name__.replace("_", "-") for each in commands.registered_commands]
    assert names == NAMES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cam", "--img", "missing.jpg"], ["missing.jpg"]),
        (["cam", "--img", "folder"], ["folder", "no pictures"]),
        (["cam", "--img", "text.jpg"], ["text.jpg", "plain text"]),
        (["predict", "--nonsense"], ["--nonsense", "xai predict --help"]),
        (["cam", "--img"], ["--img"]),
    ],
)
def test_mistakes_end_a_real_process_with_2_and_one_line(
    tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.jpg").write_text("this is no picture\n")
    command = [sys.executable, "-c", "import sys; from xai.cli import main; sys.exit(main())", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert_refused(Done(done.returncode, done.stdout, done.stderr), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cam"], ["--img", "cat"]),
        (["cam", "photo.png"], ["photo.png", "--img"]),
        (["cam", "--img", "photo.png", "--method", "lucky_cam"], ["lucky_cam", "grad_cam, hires_cam"]),
        (["cam", "--img", "photo.png", "--layer", "9", *TINY], ["layer '9'", "0, 1, 2, 3"]),
        (["cam", "--img", "photo.png", "--target", "4", *TINY], ["class 4", "0 to 3"]),
        (["cam", "--img", "photo.png", "--target", "cat", *TINY], ["cat", "class 0"]),
        (["cam", "--img", "photo.png", "--resize", "twist"], ["twist", "center-crop, squash, keep"]),
        (["cam", "--img", "photo.png", "--relux"], ["--relux", "did you mean --relu?"]),
        (["cam", "--img", "photo.png", "--alpha", "2"], ["--alpha"]),
        (["cam", "--img", "photo.png", "--colormap", "jet", *TINY], ["jet", "RdBu_r"]),
        (["cam", "--img", "photo.png", "--output", "map.gif"], ["map.gif", ".png"]),
        (["cam", "--img", "photo.png", "--output", "nowhere/map.png"], ["nowhere/map.png"]),
        (["cam", "--img", "photo.png", "--save-raw", "map.txt"], ["--save-raw", ".npy"]),
        (["cam", "--img", "photo.png", "--output", "photo.png"], ["the picture itself"]),
        (["cam", "--img", "photo.png", "--model", "resnet51"], ["resnet51", "did you mean 'resnet50'"]),
        (["cam", "--img", "photo.png", "--model", "tiny_cli_networks:nothing"], ["tiny_cli_networks:nothing"]),
        (["cam", "--img", "photo.png", "--model", "tiny_cli_networks:broken"], ["KeyError"]),
        (["cam", "--img", "photo.png", "--weights", "none"], ["--model"]),
        (["cam", "--img", "photo.png", "--weights", "nix.pth", "--model", "resnet18"], ["nix.pth"]),
        (["cam", "--img", "photo.png", "--mean", "a,b,c", *TINY], ["--mean", "0.485"]),
        (["cam", "--img", "photo.png", "--input-size", "big", *TINY], ["--input-size", "240x320"]),
        (["cam", "--img", "photo.png", "--output-kind", "hardmax", *TINY], ["softmax, sigmoid"]),
        (["cam", "--img", "photo.png", "--class-names", "nix.txt", *TINY], ["nix.txt"]),
        (["cam", "--img", "photo.png", "--device", "abacus", *TINY], ["abacus", "cpu"]),
        (["explain", "--spec", "nix.json"], ["nix.json"]),
        (["explain", "--spec", "nix.json", "--layer", "0", "--relu"], ["leave out --layer, --relu"]),
        (["feature-maps", "--img", "photo.png", "--sort", "luck"], ["luck", "variance"]),
        (["feature-maps", "--img", "photo.png", "--count", "0"], ["--count"]),
        (["feature-maps", "--img", "photo.png", "--activation-map", "sum"], ["sum", "l2"]),
        (["feature-maps", "--img", "photo.png", "--output", "one.png", *TINY], ["one.png", "folder"]),
        (["filters", "--layer", "6", *TINY], ["'6'", "0, 2"]),
        (["filters", "--show", "dreams"], ["dreams", "components"]),
        (["filters", "--show", "colours", "--input-channel", "1"], ["--input-channel"]),
        (["methods", "lucky_cam"], ["lucky_cam"]),
        (["models", "--download", "resnet51"], ["resnet51"]),
        (["models", "--check", "tiny_cli_networks:broken"], ["KeyError"]),
        (["app", "--model", "tiny_cli_networks:net"], ["tiny_cli_networks:net", "does not run code"]),
        (["app", "--weights", "none"], ["--model"]),
        (["app", "--model", "resnet18", "--weights", "nix.pth"], ["nix.pth"]),
        (["frobnicate"], ["frobnicate"]),
    ],
    ids=lambda value: " ".join(value) if "--" in str(value) else None,
)
def test_mistakes_are_refused_in_one_sentence(run: Run, arguments: list[str], words: list[str]) -> None:
    assert_refused(run(*arguments), *words)


def test_ctrl_c_ends_with_130_and_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xai.cli.classify.load_network", stop)
    assert run("predict", "--img", "photo.png") == Done(130, "", "Stopped.\n")


def test_a_bug_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.cli.classify.load_network", lambda *a, **o: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("predict", "--img", "photo.png")


# What there is: models, layers, methods


def test_models_are_listed_as_table_and_as_json(run: Run) -> None:
    rows = run("models", "--json").json
    [row] = [row for row in rows if row["name"] == "mobilenet_v2" and row["weights"] == "IMAGENET1K_V1"]
    assert row["parameters"] == 3504872 and row["top1"] == 71.878
    table = run("models").out.splitlines()
    assert len(table) == len(rows) + 2
    assert max(map(len, table)) <= 80


def test_weights_are_downloaded_once_and_a_failure_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", fail)
    assert_refused(run("models", "--download", "resnet18"), "no route to host")
    assert_refused(run("cam", "--img", "photo.png", "--model", "resnet18"), "no route to host", "none")

    from xai.io.models import MODELS

    file = MODELS["resnet18"].preset("IMAGENET1K_V1").path
    file.write_bytes(b"")
    done = run("models", "--download", "resnet18")
    assert done.code == 0
    assert done.out.strip() == str(file)


def test_an_own_network_is_checked(run: Run) -> None:
    assert "4 classes" in run("models", "--check", "tiny_cli_networks:net").out
    facts = run("models", "--check", "tiny_cli_networks:grey", "--json").json
    assert facts["layers"] == ["0", "2"] or "2" in facts["layers"]
    assert facts["default_layer"] in facts["layers"]


def test_layers_are_listed_with_the_default_marked(run: Run) -> None:
    found = run("layers", *SMALL, "--json").json
    shapes = {layer["name"]: layer["shape"] for layer in found["layers"]}
    assert shapes["layer4"] == [512, 2, 2]
    assert [layer["name"] for layer in found["layers"] if layer["default"]] == ["layer4"]
    everything = run("layers", *SMALL, "--all", "--json").json["layers"]
    assert set(shapes) < {layer["name"] for layer in everything}
    assert "*  3 " in run("layers", *TINY).out


def test_methods_are_listed_and_described(run: Run) -> None:
    assert [row["key"] for row in run("methods", "--json").json] == list(METHODS)
    described = run("methods", "gradcam", "--json").json
    assert described["key"] == "grad_cam" and described["paper"] and described["categories"]["when"]
    text = run("methods", "grad_cam").out
    assert all(f"--{param.name.replace('_', '-')}" in text for param in METHODS["grad_cam"].params)


# Predictions


def test_predict_shows_classes_as_text_and_as_json(run: Run) -> None:
    done = run("predict", "--img", "photo.png", "--img", "cat", *TINY, "--k", "3", "--json")
    assert done.code == 0
    assert [entry["picture"] for entry in done.json["pictures"]] == ["photo.png", "cat"]
    classes = done.json["pictures"][1]["classes"]
    probabilities = [row["probability"] for row in classes]
    assert len(classes) == 3 and probabilities == sorted(probabilities, reverse=True)
    text = run("predict", "--img", "cat", *TINY, "--k", "3").out
    assert f"{classes[0]['name']} [{classes[0]['index']}]" in text


@pytest.mark.parametrize("content", ["cat\ndog, puppy\ncow\nhen\n", '["cat", "dog, puppy", "cow", "hen"]'])
def test_class_names_come_from_a_file(run: Run, content: str) -> None:
    Path("names.txt").write_text(content)
    options = [*TINY, "--class-names", "names.txt", "--output-kind", "sigmoid", "--json"]
    [entry] = run("predict", "--img", "photo.png", *options).json["pictures"]
    assert {row["name"] for row in entry["classes"]} == {"cat", "dog, puppy", "cow", "hen"}
    assert sum(row["probability"] for row in entry["classes"]) > 1.2  # each on its own, all near one half
    [result] = run("cam", "--img", "photo.png", "--target", "dog, puppy", *options).json["results"]
    [caption] = result["captions"]
    assert caption.startswith("dog:0.")


def test_without_a_model_the_choice_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.load.default_model", lambda: ("squeezenet1_1", None))
    done = run("predict", "--img", "photo.png", "--input-size", "64")
    assert done.code == 0
    assert "WARNING: squeezenet1_1 is untrained" in done.err and "no --model was given" in done.err
    assert done.err.count("\n") == 1


# Class activation maps


def test_cam_keeps_size_and_writes_the_record_beside_it(run: Run) -> None:
    done = run("cam", "--img", "photo.png", *SMALL)
    assert done.code == 0
    assert "WARNING: resnet18 is untrained" in done.err and done.err.count("\n") == 1
    assert pixels_of("output.png").shape == (40, 60, 3)
    spec = RunSpec.load("output.json")
    assert (spec.method, spec.layer, spec.weights) == ("hires_cam", "layer4", "untrained")
    assert spec.model_options == {"input_size": [64, 64]}
    assert "output.png" in done.out and "(untrained)" in done.out
    run("cam", "--img", "photo.png", *TINY, "--side-by-side", "--output", "pair.jpg")
    assert pixels_of("pair.jpg").shape == (40, 128, 3)


def test_a_zero_map_leaves_a_red_picture_red_and_warns(run: Run) -> None:
    PIL.Image.new("RGB", (50, 30), (255, 0, 0)).save("red.png")
    done = run("cam", "--img", "red.png", "--model", "tiny_cli_networks:dead", "--no-caption", "--resize", "squash")
    assert done.code == 0
    assert (pixels_of("output.png") == (255, 0, 0)).all()
    assert "WARNING" in done.err and "0 everywhere" in done.err


def test_colours_are_not_swapped(run: Run) -> None:
    """A sequential map is warm: where it is strong, red must exceed blue."""
    PIL.Image.new("RGB", (50, 30), (0, 0, 0)).save("black.png")
    options = ["--method", "gradcam", "--resize", "squash", "--no-caption", "--alpha", "1", "--no-relu"]
    run("cam", "--img", "black.png", *TINY, *options, "--colormap", "RdBu_r", "--save-raw", "map.npy", "--target", 1)
    picture, values = pixels_of("output.png").astype(int), np.load("map.npy")[0]
    strongest = np.unravel_index(np.abs(values).argmax(), values.shape)
    y, x = (int(place * size / 224) for place, size in zip(strongest, (30, 50), strict=True))
    redder = picture[y, x, 0] > picture[y, x, 2]
    assert redder == (values[strongest] > 0)


def test_two_runs_give_the_same_map(run: Run) -> None:
    for name in ("one", "two"):
        assert run("cam", "--img", "cat", *TINY, "--output", f"{name}.png", "--save-raw", f"{name}.npy").code == 0
    assert np.load("one.npy").dtype == np.float32
    assert np.array_equal(np.load("one.npy"), np.load("two.npy"))
    assert same_bytes("one.png", "two.png")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_pictures_of_every_kind_work(run: Run, mode: str) -> None:
    name = "kind.tif" if mode == "CMYK" else "kind.png"
    PIL.Image.open("photo.png").convert("L" if mode == "I;16" else mode).convert(mode).save(name)
    assert run("cam", "--img", name, *TINY).code == 0
    assert pixels_of("output.png").shape == (40, 60, 3)


def test_targets_make_a_row_or_a_file_each(run: Run) -> None:
    targets = ["--target", "1", "--target", "class 2"]
    run("cam", "--img", "photo.png", *TINY, *targets, "--output", "row.png")
    assert pixels_of("row.png").shape == (40, 128, 3)
    done = run("cam", "--img", "photo.png", *TINY, *targets, "--output", "each", "--json")
    assert [result["output"] for result in done.json["results"]] == [
        str(Path("each", f"photo_hires_cam_{index}.png")) for index in (1, 2)
    ]
    limits = {RunSpec.load(result["spec"]).drawing["limit"] for result in done.json["results"]}
    assert len(limits) == 1  # both on one scale


def test_how_far_the_values_add_up_is_printed(run: Run) -> None:
    lift = ["explain", "--img", "photo.png", *TINY, "--target", "1", "--method"]
    done = run(*lift, "deep_lift", "--json")
    told = done.json["results"][0]["adds_up"]
    assert told.startswith("The values add up to ")
    assert told in run(*lift, "deep_lift").out
    each = run(*lift, "deep_lift", "--target", "2", "--output", "each").out  # a file for each class
    assert all(f"deep_lift_{target}.png: The values add up to " in each for target in (1, 2))
    assert "add up" not in run(*lift, "saliency").out


def test_layers_are_fused(run: Run) -> None:
    run("explain", "--img", "photo.png", *TINY, "--layer", "0", "--layer", "2", "--save-raw", "map.npy")
    assert RunSpec.load("output.json").layer == ("0", "2")
    values = np.load("map.npy")
    assert values.min() == 0 and values.max() == 1


def test_every_option_of_every_method_is_a_flag(run: Run) -> None:
    for method in METHODS.values():
        for param in method.params:
            flag = param.name.replace("_", "-")
            if isinstance(param.default, bool):
                words = [f"--no-{flag}" if param.default else f"--{flag}"]
                value: object = not param.default
            else:
                words, value = [f"--{flag}", str(param.default)], param.default
            done = run("explain", "--img", "photo.png", *TINY, "--method", method.key, "--target", 1, *words)
            assert done.code == 0, done.err
            assert RunSpec.load("output.json").params[param.name] == value


# Records


CASES = {
    "explain": ["explain", "--img", "cat", "--method", "gradcam", "--no-relu", "--target", "1", "--target", "3"],
    "fused": ["explain", "--img", "photo.png", "--layer", "0", "--layer", "2", "--resize", "squash"],
    "cam": ["cam", "--img", "photo.png", "--alpha", "0.9", "--side-by-side", "--threshold", "0.1", "--no-caption"],
    "feature-maps": ["feature-maps", "--img", "cat", "--layer", "2", "--sort", "contribution", "--count", "5"],
    "activation-map": ["feature-maps", "--img", "cat", "--layer", "0", "--activation-map", "l2"],
    "filters": ["filters", "--show", "channel", "--input-channel", "2", "--layer", "0", "--colormap", "PuOr_r"],
}
FORMATS = ["--input-size", "48x64", "--mean", "0.4,0.4,0.5", "--std", "0.3,0.3,0.25", "--output-kind", "sigmoid"]


@pytest.mark.parametrize("case", CASES)
def test_a_figure_is_made_again_from_its_record(run: Run, case: str) -> None:
    assert run(*CASES[case], *TINY, *FORMATS, "--output", "first.png").code == 0
    raw = ["--save-raw", "map.npy"] if case in ("explain", "fused", "cam") else []
    done = run("explain", "--spec", "first.json", *TINY, "--output", "again.png", *raw)
    assert done.code == 0, done.err
    assert same_bytes("first.png", "again.png")
    assert same_bytes("first.json", "again.json")
    if raw:
        run(*CASES[case], *TINY, *FORMATS, "--output", "first.png", "--save-raw", "first.npy")
        assert np.array_equal(np.load("map.npy"), np.load("first.npy"))


@pytest.mark.parametrize("case", CASES)
def test_a_figure_is_made_again_by_the_command_of_its_record(run: Run, case: str) -> None:
    run(*CASES[case], *TINY, *FORMATS, "--output", "first.png")
    spec = RunSpec.load("first.json")
    program, *words = shlex.split(spec.to_command())
    assert program == "xai"
    done = run(*words, "--output", "again.png")
    assert done.code == 0, done.err
    assert same_bytes("first.png", "again.png")
    if spec.method in METHODS:  # also when options that have their default values are left out
        shorter = shlex.split(spec.to_command(METHODS[spec.method].defaults))[1:]
        assert run(*shorter, "--output", "third.png").code == 0
        assert same_bytes("first.json", "third.json")


def test_the_notebook_cell_of_a_record_gives_the_same_map(run: Run) -> None:
    run(*CASES["explain"], *TINY, *FORMATS, "--output", "first.png", "--save-raw", "first.npy")
    cell = RunSpec.load("first.json").to_cell()
    *lines, last = cell.splitlines()
    names: dict[str, object] = {}
    exec("\n".join([*lines, f"found = {last.removesuffix('.figure()')}"]), names)
    assert np.array_equal(names["found"].map, np.load("first.npy"))


def test_other_weights_or_another_picture_are_an_error(run: Run) -> None:
    run("cam", "--img", "photo.png", *TINY)
    spec = RunSpec.load("output.json")
    done = run("explain", "--spec", "output.json", "--model", "tiny_cli_networks:dead", "--output", "again.png")
    assert_refused(done, "weights", spec.weights_digest[:12])
    save_noise("other.png", 60, 40, seed=1)
    done = run("explain", "--spec", "output.json", *TINY, "--img", "other.png", "--output", "again.png")
    assert_refused(done, "picture", spec.image_digest[:12])
    save_noise("photo.png", 60, 40, seed=1)
    assert_refused(run("explain", "--spec", "output.json", *TINY), "picture")
    Path("photo.png").unlink()
    assert_refused(run("explain", "--spec", "output.json", *TINY), "photo.png", "--img")
    assert not Path("again.png").exists()


def test_weights_of_a_file_are_found_or_asked_for(run: Run) -> None:
    import safetensors.torch

    from xai.io.models import find_model

    Path("there").mkdir()
    safetensors.torch.save_file(find_model("squeezenet1_1").build().state_dict(), "there/own.safetensors")
    options = ["--model", "squeezenet1_1", "--weights", "there/own.safetensors", "--input-size", "64"]
    assert run("cam", "--img", "cat", *options).code == 0
    assert_refused(run("explain", "--spec", "output.json"), "own.safetensors", "--weights FILE")
    done = run("explain", "--spec", "output.json", "--weights", "there/own.safetensors", "--output", "again.png")
    assert done.code == 0
    assert same_bytes("output.png", "again.png")
    Path("output.json").rename("there/output.json")
    assert run("explain", "--spec", "there/output.json", "--output", "third.png").code == 0


def test_a_record_runs_no_code_unasked_and_bad_ones_are_refused(run: Run) -> None:
    run("cam", "--img", "photo.png", *TINY)
    assert_refused(run("explain", "--spec", "output.json"), "--model tiny_cli_networks:net")
    good = json.loads(Path("output.json").read_text())
    wrong: list[dict[str, object]] = [
        {"drawing": {"alpha": "much"}},
        {"drawing": {"alpha": 3}},
        {"params": {"image": "cat"}},
        {"target": [99]},
        {"layer": "99"},
        {"method": "lucky_cam"},
        {"resize": "twist"},
        {"model_options": {"mean": ["a"]}},
    ]
    for change in wrong:
        Path("wrong.json").write_text(json.dumps(good | change))
        assert_refused(run("explain", "--spec", "wrong.json", *TINY, "--output", "wrong.png"))
    Path("wrong.json").write_text(json.dumps(good | {"versions": {"torch": "1.0"}}))
    done = run("explain", "--spec", "wrong.json", *TINY, "--output", "again.png")
    assert done.code == 0 and "torch 1.0" in done.err


# Many pictures


def test_one_bad_file_is_skipped_and_told(run: Run) -> None:
    for number in range(3):
        save_noise(f"photos/{number}.png", 60, 40 + number, seed=number)
    Path("photos/broken.png").write_text("no picture")
    done = run("cam", "--img", "photos", *TINY, "--output", "maps/", "--save-raw", "maps")
    assert done.code == 1
    assert sorted(path.name for path in Path("maps").glob("*.png")) == [f"{n}_hires_cam.png" for n in range(3)]
    assert len(list(Path("maps").glob("*.npy"))) == 3
    assert "Skipped photos/broken.png" in done.err.replace("\\", "/") and "Traceback" not in done.err
    done = run("predict", "--img", "photos/*.png", *TINY, "--json")
    assert done.code == 1
    assert len(done.json["pictures"]) == 3 and len(done.json["skipped"]) == 1
    Path("photos/worse.png").write_text("no picture")
    done = run("cam", "--img", "photos/broken.png", "--img", "photos/worse.png", *TINY, "--output", "maps")
    assert done.code == 2 and done.err.splitlines()[-1] == "Error: None of the 2 pictures worked."


def test_a_batch_gives_what_single_runs_give(run: Run) -> None:
    for number in range(3):
        save_noise(f"photos/{number}.png", 60, 40 + number, seed=number)
    run("cam", "--img", "photos", *TINY, "--output", "maps", "--save-raw", "maps")
    run("cam", "--img", "photos/1.png", *TINY, "--save-raw", "alone.npy")
    np.testing.assert_allclose(np.load("maps/1_hires_cam.npy"), np.load("alone.npy"), rtol=1e-4, atol=1e-7)


def test_results_never_overwrite_those_of_another_picture(run: Run) -> None:
    save_noise("a/x.png", 60, 40, seed=1)
    save_noise("b/x.png", 60, 40, seed=2)
    run("cam", "--img", "a/x.png", "--img", "b/x.png", *TINY, "--output", "maps")
    names = ["x_hires_cam.png", "x_hires_cam_2.png"]
    assert sorted(path.name for path in Path("maps").glob("*.png")) == names
    first = Path("maps/x_hires_cam.png").read_bytes()
    run("cam", "--img", "b/x.png", *TINY, "--output", "maps")
    assert Path("maps/x_hires_cam.png").read_bytes() == first
    assert sorted(path.name for path in Path("maps").glob("*.png")) == names  # its own earlier result is replaced
    Path("data.json").write_text('{"precious": true}')
    assert_refused(run("cam", "--img", "a/x.png", *TINY, "--output", "data.png"), "data.json")
    assert json.loads(Path("data.json").read_text()) == {"precious": True}


def test_a_bar_with_the_time_left_is_shown_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, expected in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress("Maps") as tell:
            tell(0.5, "5 of 10")
            tell(1.0, "10 of 10")
        text = stream.getvalue()
        assert ("50%  5 of 10  0 s left" in text) is expected
        assert bool(text) is expected


# Inside a network


def test_feature_maps_of_all_stages_are_written_with_tables(run: Run) -> None:
    done = run("feature-maps", "--img", "cat", *SMALL, "--count", "4", "--json")
    assert done.code == 0
    channels = {result["layer"]: result["channels"] for result in done.json["results"]}
    assert channels == {"relu": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    for result in done.json["results"]:
        with PIL.Image.open(result["output"]) as figure:
            assert figure.width > 300
        lines = Path(result["table"]).read_text().splitlines()
        assert lines[0].startswith("channel,mean,") and len(lines) == result["channels"] + 1
        assert RunSpec.load(result["spec"]).drawing == {"count": "4"}


def test_feature_maps_are_sorted_for_a_class_and_laid_over_the_picture(run: Run) -> None:
    options = ["--img", "photo.png", *TINY, "--layer", "2"]
    done = run("feature-maps", *options, "--sort", "contribution", "--target", "3", "--output", "maps.png")
    assert "16 x " in done.out
    header, *rows = Path("maps.csv").read_text().splitlines()
    contributions = [float(row.split(",")[header.split(",").index("contribution")]) for row in rows]
    assert contributions == sorted(contributions, reverse=True)
    run("feature-maps", *options, "--activation-map", "mean", "--output", "mean.png", "--side-by-side")
    assert pixels_of("mean.png").shape == (40, 128, 3)


def test_filters_are_drawn_with_their_table(run: Run) -> None:
    done = run("filters", *SMALL)
    assert "64 filters 3 x 7 x 7 of conv1, shown as colours" in done.out
    assert len(Path("filters.csv").read_text().splitlines()) == 65
    facts = run("filters", *TINY, "--layer", "2", "--json", "--output", "kernels", "--count", "all").json
    assert (facts["shown"], facts["filters"], facts["input_channels"]) == ("components", 16, 8)
    assert Path(facts["output"]).is_file() and RunSpec.load(facts["spec"]).method == "filters"


# Slow methods


def test_slow_methods_show_how_far_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    asked = ["--method", "occlusion", "--window", "112", "--stride", "112", *TINY]
    save_noise("two/a.png", 30, 30)
    save_noise("two/b.png", 30, 30)
    done = run("explain", "--img", "two", "--output", "maps", *asked)
    assert done.code == 0 and "Occlusion  [" in done.err and "100%" in done.err and "1 of 2" in done.err
    assert len(list(Path("maps").glob("*.png"))) == 2
    done = run("explain", "--img", "two/a.png", "--output", "one.png", "--quiet", *asked)
    assert done.code == 0 and done.err == ""


# Comparison


def test_a_comparison_writes_figure_tables_and_a_record_that_makes_it_again(run: Run) -> None:
    asked = ["--img", "photo.png", "--methods", "gradcam,hires_cam", "--target", "1", "--target", "2", *TINY]
    made = run("compare", *asked, "--output", "two.png", "--json").json
    assert [(row["method"], row["target"]) for row in made["rows"]] == [
        (method, f"class {index}") for method in ("grad_cam", "hires_cam") for index in (1, 2)
    ]
    [pair] = made["agreement"]
    assert (pair["first"], pair["second"]) == ("grad_cam", "hires_cam") and -1 <= pair["rank correlation"] <= 1
    assert len(pd.read_csv("two.csv")) == 4 and len(pd.read_csv("two_agreement.csv")) == 1
    assert pixels_of("two.png").std() > 10
    spec = RunSpec.load("two.json")
    assert (spec.method, spec.params, spec.target) == ("compare", {"methods": "grad_cam,hires_cam"}, (1, 2))
    assert run("explain", "--spec", "two.json", *TINY, "--output", "again.png").code == 0
    assert same_bytes("two.png", "again.png")
    command = shlex.split(RunSpec.load("two.json").to_command())
    assert run(*command[1:], "--output", "third.png").code == 0 and same_bytes("two.png", "third.png")


def test_layers_and_networks_are_compared_and_the_spec_makes_it_again(run: Run) -> None:
    Path("tiny_cli_names.txt").write_text("ant\nbee\ncat\ndog\n")
    sys.path.insert(0, "")  # of a copy, see `run`
    state = load_model("tiny_cli_networks:net").network.state_dict()
    save_file({name: value.contiguous() + 0.1 for name, value in state.items()}, "other.safetensors")
    named = ["--model", "tiny_cli_networks:net", "--model", "tiny_cli_networks:net:other.safetensors"]
    asked = ["--img", "photo.png", "--methods", "gradcam,edges", "--layer", "1", "--layer", "3", "--target", "bee"]
    asked += ["--class-names", "tiny_cli_names.txt"]
    shown = run("compare", *named, *asked, "--output", "nets.png")
    assert shown.code == 0
    table = pd.read_csv("nets.csv", keep_default_na=False)
    assert [tuple(row) for row in table[["method", "layer", "target"]].to_numpy()] == [
        ("grad_cam", "1", "bee"), ("grad_cam", "3", "bee"), ("edges", "", "bee")
    ] * 2  # fmt: skip
    assert len(set(table["model"])) == 2 and table["model"][0] == table["model"][2] != table["model"][3]
    assert same_tables(shown.out, table, pd.read_csv("nets_agreement.csv"))
    made = run("compare", *named, *asked, "--output", "nets.png", "--json").json
    assert [list(row) for row in made["rows"]] == [list(table)] * 6 and len(made["agreement"]) == 15
    spec = RunSpec.load("nets.json")
    assert spec.other_networks() == ("tiny_cli_networks:net:other.safetensors",) and spec.layers() == ("1", "3")
    assert shlex.split(spec.to_command())[4:8] == [
        "--model", "tiny_cli_networks:net:default", "--model", "tiny_cli_networks:net:other.safetensors"
    ]  # fmt: skip
    again = ["explain", "--spec", "nets.json", *TINY, "--class-names", "tiny_cli_names.txt", "--output", "again.png"]
    assert_refused(run(*again), "runs the code tiny_cli_networks:net", "xai compare")
    assert_refused(run("compare", *named, *asked, "--weights", "none"), "--weights", "behind the name")


def test_a_comparison_of_known_networks_is_made_again_from_its_record(run: Run) -> None:
    Path("there").mkdir()
    state = load_model("squeezenet1_1", weights=None, input_size=64).network.state_dict()
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, "there/own.safetensors")
    asked = ["--img", "photo.png", "--methods", "gradcam,center", "--input-size", "64", "--target", "3"]
    named = ["--model", "resnet18:none", "--model", "squeezenet1_1:there/own.safetensors"]
    made = run("compare", *named, *asked, "--output", "there/two.png", "--json").json
    assert [row["target"] for row in made["rows"]] == ["tiger shark"] * 4
    assert {row["model"] for row in made["rows"]} == {"resnet18 (untrained)", "squeezenet1_1 · file own.safetensors"}
    command = ["explain", "--spec", "there/two.json", "--img", "photo.png", "--output", "again.png"]
    assert run(*command).code == 0
    assert same_bytes("there/two.png", "again.png")
    save_file(state | {"classifier.1.bias": torch.ones(1000)}, "there/own.safetensors")
    refused = run(*command)  # that the first network is untrained is said before
    assert (refused.code, refused.out) == (2, "")
    assert "The weights of squeezenet1_1:own.safetensors are not what the spec says" in refused.err


def same_tables(printed: str, *tables: pd.DataFrame) -> bool:
    """Whether what was printed holds every table: its headings, its rows, its numbers with three digits."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for table in tables:
        wanted = [" ".join(table)]
        for _, row in table.iterrows():
            cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row]
            wanted.append(" ".join(" ".join(cells).split()))
        if not all(line in lines for line in wanted):
            print([line for line in wanted if line not in lines])
            return False
    return True


def test_a_comparison_refuses_what_it_cannot_do(run: Run) -> None:
    save_noise("more/a.png", 20, 20)
    save_noise("more/b.png", 20, 20)
    assert_refused(run("compare", "--img", "more", *TINY), "One picture", "2")
    assert_refused(run("compare", "--img", "photo.png", "--methods", "gradcam,magic", *TINY), "magic", "grad_cam")
    assert_refused(run("compare", "--img", "photo.png", "--limit", "3", *TINY), "--limit")
    assert_refused(run("compare", "--img", "photo.png", "--layer", "9", *TINY), "Unknown layer '9'")


# App and notebooks


def test_the_app_is_told_what_to_open_with(run: Run, tmp_path: Path) -> None:
    Path("own.safetensors").write_bytes(b"")
    assert app_environment(None, None) == {}
    assert app_environment("resnet18", None) == {"XAI_MODEL": "resnet18"}
    assert app_environment("resnet18", "none") == {"XAI_MODEL": "resnet18", "XAI_WEIGHTS": "none"}
    found = app_environment("resnet18", "own.safetensors")
    assert found["XAI_WEIGHTS"] == str(tmp_path / "own.safetensors")
    assert app_environment("resnet50", "IMAGENET1K_V2")["XAI_WEIGHTS"] == "IMAGENET1K_V2"


def test_the_app_is_started_on_this_computer_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def serve(arguments: list[str], **options: object) -> int:
        calls.append(arguments)
        return 0

    monkeypatch.setitem(sys.modules, "streamlit.web.cli", SimpleNamespace(main=serve))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(run("app", "--port", port), str(port), "--port")
    assert run("app", "--port", port, "--no-browser").code == 0
    [arguments] = calls
    assert arguments[0] == "run" and Path(arguments[1]).name == "app.py"
    assert {"--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true"} <= set(arguments)


def test_ctrl_c_ends_the_app_like_every_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(arguments: list[str], **options: object) -> None:
        raise RuntimeError from KeyboardInterrupt()  # as click's Abort

    monkeypatch.setitem(sys.modules, "streamlit.web.cli", SimpleNamespace(main=serve))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run("app", "--port", port) == Done(130, "", "Stopped.\n")


def test_notebooks_are_executed_with_what_was_given(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def export(folder: Path, output: Path, **options: object) -> list[SimpleNamespace]:
        calls.append((folder.name, output, options))
        return [SimpleNamespace(page=output / "01.html", notebook=output / "01.ipynb")]

    monkeypatch.setitem(sys.modules, "xai.report.notebooks", SimpleNamespace(export_all=export))
    done = run("notebooks", "01", "--model", "resnet18", "--weights", "none", "--img", "cat", "--output", "pages")
    assert done.out.split() == [str(Path("pages/01.html")), str(Path("pages/index.html"))]
    [(folder, output, options)] = calls
    assert (folder, output) == ("notebooks", Path("pages"))
    assert (options["model"], options["weights"], options["images"]) == ("resnet18", "none", ["cat"])
    assert options["only"] == ["01"]
