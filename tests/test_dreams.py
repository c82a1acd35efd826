"""Dreams end to end: the library, the figure, the command and the page."""

from __future__ import annotations

import io
import json
import shlex
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import networks
import numpy as np
import PIL.Image
import pytest
import torch
from matplotlib.text import Text
from streamlit.testing.v1 import AppTest

import xai
from xai.cli import main
from xai.compute.feature_visualization import Goal, goal_value
from xai.compute.trace import trace_pixels
from xai.dreams import read_options, to_rgb
from xai.errors import Cancelled, UserError
from xai.figures.dreams import dream_figure
from xai.figures.style import render_png
from xai.spec import RunSpec
from xai.ui import downloads
from xai.ui.panels import dreams as panel

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"steps": 12, "size": 24}


@pytest.fixture(scope="module")
def model():
    return xai.load_model(networks.seeded(networks.ResidualNet), input_size=32)


def texts_of(figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


# Library


@pytest.mark.parametrize(
    ("goal", "words", "label"),
    [
        ({"layer": "down", "channel": 3}, "down, channel 3", "Mean activation of the channel"),
        ({"layer": "down"}, "down, the whole layer", "Mean squared activation"),
        ({"target": "class 2"}, "Class class 2", "Score of the class"),
    ],
)
def test_pictures_excite_the_goal_and_the_spec_makes_them_again(model, goal, words, label):
    made = xai.dream(model, **goal, count=2, **QUICK)
    assert (made.goal, made.value_label) == (words, label)
    assert made.pictures.shape == made.start.shape == (2, 24, 24, 3) and made.pictures.dtype == np.uint8
    assert made.objective.shape == (12, 2)
    assert (made.after > made.before).all()
    aim = Goal(goal.get("layer"), goal.get("channel", 2 if "target" in goal else None))
    pixels = torch.from_numpy(made.pictures.astype(np.float32) / 255).permute(0, 3, 1, 2)
    assert np.allclose(goal_value(model.classifier, pixels, aim), made.after, rtol=0.1), "of the pictures as shown"
    again = xai.dream(model, **read_options(RunSpec.from_json(made.spec.to_json())))
    assert (again.pictures == made.pictures).all() and (again.objective == made.objective).all()
    assert (xai.dream(model, **goal, count=2, seed=1, **QUICK).pictures != made.pictures).any()


def test_size_is_the_models_unless_given_and_diversity_drives_pictures_apart(model):
    assert xai.dream(model, "down", 0, steps=1).pictures.shape == (1, 32, 32, 3)
    assert "size" not in xai.dream(model, "down", 0, steps=1).spec.params
    grams = {weight: likeness(model, xai.dream(model, "down", count=3, diversity=weight, **QUICK)) for weight in (0, 9)}
    assert grams[9] < grams[0]


def likeness(model, made) -> float:
    """Mean cosine between the Gram matrices of different pictures at a layer."""
    pixels = torch.from_numpy(made.pictures.astype(np.float32) / 255).permute(0, 3, 1, 2)
    flat = trace_pixels(model.classifier, pixels, ["down"]).activation("down").detach().flatten(2)
    grams = torch.nn.functional.normalize((flat @ flat.mT).flatten(1))
    return float((grams @ grams.T).triu(1).sum())


def test_a_network_of_one_size_says_so():
    layers = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(4 * 16 * 16, 3)
    model = xai.load_model(torch.nn.Sequential(*layers), input_size=16)
    assert xai.dream(model, target=1, steps=1).pictures.shape == (1, 16, 16, 3)
    with pytest.raises(UserError, match="16 x 16"):
        xai.dream(model, target=1, steps=1, size=32)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Choose what to excite"),
        ({"layer": "down", "target": 1}, "Choose what to excite"),
        ({"target": 1, "channel": 2}, "Choose what to excite"),
        ({"layer": "nix"}, "Unknown layer 'nix'"),
        ({"layer": "down", "channel": 8}, "Choose 0 to 7"),
        ({"layer": "down", "channel": -1}, "Choose 0 to 7"),
        ({"target": 9}, "classes 0 to 4"),
        ({"layer": "down", "size": 4}, "16 to 1024"),
        ({"layer": "down", "count": 17}, "1 to 16"),
        ({"layer": "down", "steps": 0}, "at least 1"),
        ({"layer": "down", "diversity": -1.0}, "Diversity"),
        ({"target": 1, "diversity": 1.0}, "Diversity"),
    ],
)
def test_mistakes_are_one_sentence(model, options, said):
    with pytest.raises(UserError, match=said):
        xai.dream(model, **options)


def test_progress_gives_pictures_and_stops_when_asked(model):
    told: list[tuple[float, tuple[int, ...]]] = []
    xai.dream(model, "down", 1, steps=4, size=16, on_progress=lambda part, so_far: told.append((part, so_far.shape)))
    assert told == [(step / 4, (1, 3, 16, 16)) for step in (1, 2, 3, 4)]

    def stop(part: float, so_far: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        xai.dream(model, "down", 1, steps=4, size=16, on_progress=stop)


def test_strongest_photographs_are_found_and_cut_out(model, tmp_path):
    """Against one forward pass of each, and a patch of a lone bright square that must be where the square is."""
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(5)]
    PIL.Image.fromarray(pictures[0]).save(tmp_path / "first.png")
    (tmp_path / "no.png").write_text("no picture")
    told: list[float] = []
    images = [tmp_path / "first.png", tmp_path / "no.png", *pictures[1:]]
    found = xai.strongest(model, images, "down", 3, 3, on_progress=lambda part, _: told.append(part))
    peaks = [float(xai.trace(model, each, ["down"]).activation("down")[0, 3].max()) for each in pictures]
    assert [each.value for each in found.patches] == pytest.approx(sorted(peaks, reverse=True)[:3])
    assert found.searched == 5 and len(found.skipped) == 1 and "no.png" in found.skipped[0] and told
    best = xai.load_image(pictures[int(np.argmax(peaks))])
    patch = found.patches[0]
    assert patch.digest == best.digest
    left, top, right, bottom = patch.box
    rows, columns = slice(int(top), int(np.ceil(bottom))), slice(int(left), int(np.ceil(right)))
    assert (patch.crop == best.pixels[rows, columns]).all() and patch.crop.shape[0] < 40


def test_a_patch_lies_where_the_unit_looks(model):
    picture = np.full((64, 64, 3), 20, np.uint8)
    picture[40:48, 16:24] = 255
    weight = model.network.stem[0].weight.sum((1, 2, 3))
    channel = int(weight.argmax())
    [patch] = xai.strongest(model, [picture], "stem.0", channel, 1).patches
    left, top, right, bottom = patch.box
    assert left >= 10 and right <= 30 and top >= 34 and bottom <= 54, "the square is the only thing to see"


def test_nothing_to_look_at_is_one_sentence(model, tmp_path):
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(UserError, match=r"no\.png"):
        xai.strongest(model, [tmp_path / "no.png"], "down", 0)
    with pytest.raises(UserError, match="no photograph"):
        xai.strongest(model, [], "down", 0)
    with pytest.raises(UserError, match="Choose 0 to 7"):
        xai.strongest(model, ["cat"], "down", 8)


# Figure


@pytest.mark.parametrize("count", [1, 3, 5])
def test_figure_shows_start_results_curve_and_patches(model, count):
    made = xai.dream(model, "down", 3, count=count, **QUICK)
    patches = xai.strongest(model, ["cat", "coffee"], "down", 3).patches
    figure = made.figure(patches)
    pictures = [axes for axes in figure.axes if axes.get_label() == "pictures"]
    shown = [axes.images[0].get_array() for axes in pictures]
    assert len(shown) == count + 1 and (shown[0] == made.start[0]).all() and (shown[-1] == made.pictures[-1]).all()
    [curve] = [axes for axes in figure.axes if axes.get_label() == "curve"]
    assert np.allclose([line.get_ydata() for line in curve.lines], made.objective.T)
    assert curve.get_xlabel() == "Step" and "Mean activation" in curve.get_ylabel()
    text = texts_of(figure)
    for words in ("down, channel 3", f"Start: {made.before[0]:.3g}", f"Picture {count}: {made.after[-1]:.3g}", "cat:"):
        assert words in text
    assert "2 photographs" in figure.get_label()
    assert np.asarray(PIL.Image.open(io.BytesIO(render_png(figure)))).std() > 10


def test_a_single_step_is_a_visible_point():
    blank = np.zeros((1, 16, 16, 3), np.uint8)
    one, values = np.ones((1, 1), np.float32), np.ones(1, np.float32)
    figure = dream_figure(blank, blank[0], one, before=values, after=values, value_label="Value", suptitle="$x")
    [curve] = [axes for axes in figure.axes if axes.get_label() == "curve"]
    assert len(curve.collections) == 1


# Command


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder that holds a tiny network and two photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny_dream_network.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))\n"
    )
    sys.modules.pop("tiny_dream_network", None)
    (tmp_path / "photos").mkdir()
    for name, seed in (("a.png", 0), ("b.png", 1), ("c.png", 2)):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "photos" / name)

    def call(*arguments: object):
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return call


TINY = ["--model", "tiny_dream_network:net", "--input-size", "32"]
FAST = ["--steps", "5", "--size", "32"]


def test_a_dream_is_written_with_its_record_and_made_again(run):
    goal = ["--layer", "2", "--channel", "4", "--count", "2", "--seed", "3", "--diversity", "0.5"]
    code, out, _ = run("dream", *goal, *FAST, *TINY, "--img", "photos")
    assert code == 0 and "dream.png: 2, channel 4" in out and "Strongest photographs" in out
    spec = RunSpec.load("dream.json")
    assert (spec.method, spec.layer, spec.seed) == ("dream", "2", 3)
    own = {name: spec.params[name] for name in ("channel", "count", "steps", "diversity", "size")}
    assert own == {"channel": 4, "count": 2, "steps": 5, "diversity": 0.5, "size": 32}
    assert len(spec.pictures) == 3
    before = Path("dream.png").read_bytes()
    assert run("explain", "--spec", "dream.json", *TINY, "--img", "photos", "--output", "again.png")[0] == 0
    assert Path("again.png").read_bytes() == before
    code, out, error = run("explain", "--spec", "dream.json", *TINY, "--output", "again.png")
    assert code == 2 and "--img" in error, "the pictures are not in this folder"


def test_a_class_by_name_as_json_and_its_command(run):
    code, out, _ = run("dream", "--class", "class 1", *FAST, *TINY, "--output", "one.png", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["goal"] == "Class class 1" and facts["after"][0] > facts["before"][0]
    words = shlex.split(RunSpec.load("one.json").to_command())
    assert run(*words[1:], "--output", "two.png")[0] == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


def test_the_cell_makes_it_again(model):
    made = xai.dream(model, "down", 3, **QUICK)
    call = made.spec.to_cell().splitlines()[-1]
    figure = eval(call, {"xai": xai, "model": model})
    assert "down, channel 3" in texts_of(figure)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--layer", "--class"]),
        (["--layer", "2", "--class", "1"], ["--layer", "--class"]),
        (["--class", "1", "--channel", "2"], ["--channel"]),
        (["--layer", "9"], ["Unknown layer '9'", "0, 1, 2"]),
        (["--layer", "2", "--channel", "6"], ["Unknown channel 6", "0 to 5"]),
        (["--class", "7"], ["Unknown class 7"]),
        (["--layer", "2", "--count", "99"], ["1 to 16"]),
        (["--layer", "2", "--size", "3"], ["16 to 1024"]),
        (["--layer", "2", "--steps", "0"], ["steps"]),
        (["--layer", "2", "--img", "photos"], ["--channel"]),
        (["--layer", "2", "--channel", "1", "--img", "nowhere"], ["nowhere"]),
        (["--layer", "2", "--output", "x.gif"], ["x.gif", ".png"]),
    ],
    ids=" ".join,
)
def test_mistakes_on_the_command_line(run, arguments, words):
    code, out, error = run("dream", *arguments, *TINY)
    assert code == 2 and out == "" and error.startswith("Error: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error


def test_a_bad_record_is_one_sentence(run):
    run("dream", "--layer", "2", *FAST, *TINY)
    for name, value in (("steps", "many"), ("size", True), ("others", 3)):
        spec = json.loads(Path("dream.json").read_text())
        spec["params"][name] = value
        Path("bad.json").write_text(json.dumps(spec))
        code, _, error = run("explain", "--spec", "bad.json", *TINY, "--output", "bad.png")
        assert code == 2 and name in error and error.count("Error:") == 1
    code, _, error = run("explain", "--spec", "dream.json", *TINY, "--alpha", "0.5")
    assert code == 2 and "--alpha" in error


# Page


@pytest.fixture
def open_page(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_MODEL", "resnet18")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def call(**query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "pages" / "feature_visualization.py"), default_timeout=120)
        for name, text in query.items():
            at.query_params[name] = text
        return at.run()

    return call


def press_start(at: AppTest) -> AppTest:
    [button] = [each for each in at.button if each.label.startswith("Start")]
    button.click().run()
    for _ in range(600):
        if not at.session_state["_slow_job"].running:
            break
        threading.Event().wait(0.1)
    return at.run()


def test_page_dreams_and_shows_photographs_beside(open_page):
    at = open_page(layer="layer1", channel="5", steps="3", size="32", count="2")
    assert not at.exception and not at.error
    assert at.slider(key="channel").value == 5 and at.slider(key="channel").max == 63
    at = press_start(at)
    assert not at.exception and not at.error
    assert {each.value for each in at.subheader} == {"layer1, channel 5", "Photographs that excite the channel most"}
    at.button(key=downloads.BUTTON).click().run()
    assert "steps=3" in at.code[0].value and "channel=5" in at.code[0].value
    assert at.code[1].value.startswith("xai dream --model resnet18") and "xai.dream(model" in at.code[2].value


def test_page_keeps_the_channel_valid_and_knows_other_goals(open_page):
    at = open_page(layer="layer4", channel="500", steps="2", size="32")
    at.select_slider(key="layer").set_value("layer1").run()
    assert not at.exception and at.slider(key="channel").value == 63
    at.button_group(key="goal").set_value("class").run()
    assert not at.exception and at.slider(key="rank").value == 1
    at.button_group(key="goal").set_value("layer").run()
    at = press_start(at)
    assert not at.exception and [each.value for each in at.subheader] == ["layer1, the whole layer"]
    at.button(key=downloads.BUTTON).click().run()
    again = open_page(**dict(parse_qsl(urlsplit(at.code[0].value).query)))
    assert [each.value for each in again.subheader] == ["layer1, the whole layer"], "made already, by this link"
    at = open_page(layer="layer2", steps="3")
    at.button(key=downloads.BUTTON).click().run()
    assert "has not been made" in at.warning[-1].value


def test_preview_takes_what_the_job_reports(monkeypatch):
    seen: list[bytes] = []
    monkeypatch.setattr(panel.st, "image", lambda data, **options: seen.append(data))
    panel._peek(np.random.default_rng(0).random((6, 3, 16, 16), dtype=np.float32))
    assert PIL.Image.open(io.BytesIO(seen[0])).size == (4 * 16 + 3 * 8, 16)
    assert (to_rgb(np.ones((1, 3, 2, 2))) == 255).all()
