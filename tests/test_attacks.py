"""Attacks end to end: the library, the figures, the command and the page."""

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
import pandas as pd
import PIL.Image
import pytest
import torch
from matplotlib.text import Text
from streamlit.testing.v1 import AppTest

import xai
from xai.attacks import EPSILON, format_epsilon, read_options
from xai.cli import main
from xai.cli.attacking import read_epsilon
from xai.compute import adversarial
from xai.errors import Cancelled, UserError
from xai.figures.attacks import amplification, change_picture, sweep_chart
from xai.figures.curves import curves_plot
from xai.figures.style import render_png
from xai.spec import RunSpec
from xai.sweeps import SWEEP_END, sweep_epsilons
from xai.ui import downloads

ROOT = Path(__file__).resolve().parent.parent
WIDE = 40 / 255


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(picture):
    """A network that is almost undecided about the picture, so that a small change moves it."""
    network = networks.seeded(networks.ResidualNet)
    first = xai.load_model(network, input_size=32)
    scores = first.classifier(first.prepare(xai.load_image(picture)).pixels)[0].detach()
    with torch.no_grad():
        network.head.fc.bias -= 0.99 * scores
    return xai.load_model(network, input_size=32)


def texts_of(figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


# Library


def test_attack_is_the_computation_on_working_pixels_explained(model, picture):
    made = xai.attack(model, picture, epsilon=WIDE, layer="stage1")
    pixels = model.prepare(xai.load_image(picture)).pixels
    first = xai.predict(model, picture)[0]
    reference = adversarial.fgsm(model.classifier, pixels, [first[2]], epsilon=WIDE)
    assert (made.changed == reference.pixels[0].numpy()).all() and (made.original == pixels[0].numpy()).all()
    assert np.abs(made.changed - made.original).max() <= WIDE + 1e-6
    assert made.success and bool(reference.success[0]) and made.after[0][2] != made.before[0][2]
    assert made.before[0] == first
    scores = model.probabilities(reference.after)[0]
    assert made.after[0][1] == pytest.approx(float(scores.max()), abs=1e-6)
    known = xai.explain(model, picture, target=list(made.classes), layer="stage1")
    assert np.allclose(made.map_before, known.map, atol=1e-6)
    assert made.map_after.shape == known.map.shape and not np.allclose(made.map_after, known.map, atol=1e-4)
    assert made.classes == tuple(dict.fromkeys((made.before[0][2], made.after[0][2])))
    assert made.verdict == "The prediction changed at epsilon 40/255."


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_a_target_is_reached_or_not_and_the_spec_makes_it_again(model, picture, method):
    last = xai.predict(model, picture, 5)[1][2]
    made = xai.attack(model, picture, method, epsilon=0.5, target=last, steps=8, seed=2, explain_with="saliency")
    assert made.success == (made.after[0][2] == last) and made.target == last
    probability = dict((index, p) for _, p, index in made.after)
    assert probability[last] > dict((index, p) for _, p, index in made.before)[last], "it goes towards the target"
    assert (made.method, made.explained_by.key, made.spec.layer) == (method, "saliency", None)
    spec = RunSpec.from_json(made.spec.to_json())
    assert spec.params == {"epsilon": 0.5, "explain_with": "saliency"} | ({"steps": 8} if method == "pgd" else {})
    again = xai.attack(model, picture, **read_options(spec))
    assert (again.changed == made.changed).all() and (again.map_after == made.map_after).all()


def test_a_trace_saves_work_and_gives_the_same(model, picture):
    traced = xai.trace(model, picture)
    one, other = xai.attack(traced, epsilon=WIDE), xai.attack(model, picture, epsilon=WIDE)
    assert (one.changed == other.changed).all() and np.allclose(one.map_after, other.map_after, atol=1e-6)
    assert one.spec == other.spec and one.spec.layer == model.default_layer


def test_no_change_changes_nothing(model, picture):
    made = xai.attack(model, picture, epsilon=0.0)
    assert (made.changed == made.original).all() and not made.success and len(made.classes) == 1
    assert np.allclose(made.map_before, made.map_after, atol=1e-6)
    assert "did not change" in made.verdict
    assert "not reached" in xai.attack(model, picture, epsilon=0.0, target=(made.classes[0] + 1) % 5).verdict


def test_attacks_refuse_in_one_sentence(model, picture):
    for options, said in (
        ({"method": "magic"}, "fgsm, pgd"),
        ({"epsilon": 2.0}, "from 0 to 1"),
        ({"target": 7}, "classes 0 to 4"),
        ({"layer": "nix"}, "Unknown layer"),
        ({"explain_with": "nix"}, "grad_cam"),
        ({"explain_with": "saliency", "layer": "stage1"}, "leave out the layer"),
        ({"method": "pgd", "steps": 0}, "at least 1"),
    ):
        with pytest.raises(UserError, match=said):
            xai.attack(model, picture, **options)


def test_progress_rises_to_the_end_and_stops_when_asked(model, picture):
    told: list[float] = []
    xai.attack(model, picture, "pgd", steps=3, on_progress=lambda part, _: told.append(part))
    assert told == sorted(told) and told[-1] == 1.0 and len(told) >= 4

    def stop(part: float, _: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        xai.attack(model, picture, "pgd", steps=3, on_progress=stop)


def test_sweep_counts_what_single_attacks_do(model):
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(4)]
    sizes = [0.0, 0.05, 0.2]
    made = xai.attack_sweep(model, images, epsilons=sizes)
    assert made.table["epsilon"].tolist() == sizes and made.table["accuracy"][0] == 1.0
    for size, accuracy in zip(sizes, made.table["accuracy"], strict=True):
        assert accuracy == pytest.approx(
            np.mean([not xai.attack(model, each, epsilon=size).success for each in images])
        )
    assert made.table["accuracy"].min() < 1
    assert made.labels == tuple(xai.predict(model, each)[0][2] for each in images)
    wrong = [(label + 1) % 5 for label in made.labels]
    labelled = xai.attack_sweep(model, images, wrong, sizes)
    assert labelled.labelled and labelled.table["accuracy"][0] == 0 and labelled.spec.params["labels"] == wrong
    assert "Classified as labelled" in labelled.curves and "Target reached" not in labelled.curves
    aimed = xai.attack_sweep(model, images, epsilons=sizes, target=2, method="pgd", steps=2)
    assert "Target reached" in aimed.curves and aimed.spec.params["steps"] == 2
    again = xai.attack_sweep(model, images, **read_options(RunSpec.from_json(aimed.spec.to_json())))
    assert again.table.equals(aimed.table)


def test_sweep_refuses_in_one_sentence(model, picture):
    for images, options, said in (
        ([], {}, "at least one picture"),
        ([picture], {"labels": [1, 2]}, "2 classes for 1"),
        ([picture], {"epsilons": [3.0]}, "from 0 to 1"),
        ([picture], {"epsilons": []}, "at least one epsilon"),
        ([picture, picture[:30]], {"resize": "keep"}, "one size"),
    ):
        with pytest.raises(UserError, match=said):
            xai.attack_sweep(model, images, **options)


def test_sizes_are_written_and_read_as_steps_of_a_picture():
    assert format_epsilon(EPSILON) == "2/255" and read_epsilon("2/255") == EPSILON
    assert read_epsilon("0.008") == 0.008 and read_epsilon("0") == 0
    assert (
        sweep_epsilons()[0] == 0 and sweep_epsilons()[-1] == SWEEP_END and sweep_epsilons() == sorted(sweep_epsilons())
    )
    for text in ("2", "-1/255", "a", "1/0", "nan", "", "1/2/3"):
        with pytest.raises(UserError, match="--epsilon"):
            read_epsilon(text)


# Figures


def test_change_is_mid_grey_where_there_is_none():
    change = np.zeros((2, 2, 3), np.float32)
    change[0, 0, 0], change[1, 1] = 2 / 255, -2 / 255
    times = amplification(change)
    assert times == 63 and amplification(np.zeros(3)) == 1 and amplification(np.array([0.9])) == 1
    assert amplification(np.array([1e-6])) == 127
    shown = change_picture(change, times)
    assert (shown[0, 1] == 128).all() and shown[0, 0].tolist() == [254, 128, 128] and (shown[1, 1] == 2).all()


def test_figure_shows_pictures_change_and_maps_on_one_scale(model, picture):
    made = xai.attack(model, picture, "pgd", epsilon=0.4, steps=5)
    assert made.success, "else this test shows one class only"
    figure = made.figure()
    panels, scale = figure.axes
    shown = [image.get_array() for image in panels.images]
    assert len(shown) == 3 + 3 * 2 and (shown[4] == 255).all() and (shown[7] == 255).all()
    assert (shown[0] == np.rint(made.original.transpose(1, 2, 0) * 255)).all()
    assert (shown[2] == np.rint(made.changed.transpose(1, 2, 0) * 255)).all()
    limit = max(made.map_before.max(), made.map_after.max())
    assert scale.get_ylim()[1] == pytest.approx(limit, rel=1e-5)
    text = texts_of(figure)
    first, last = made.before[0][0], made.after[0][0]
    for words in (f"Before: {first}", f"After: {last}", "mid grey is none", f"After, map of {first}", "PGD, epsilon"):
        assert words in text
    assert "Grad-CAM, all maps" in text and first in figure.get_label()
    assert np.asarray(PIL.Image.open(io.BytesIO(render_png(figure)))).std() > 10


def test_sweep_curves_are_the_numbers_in_percent(model, picture):
    made = xai.attack_sweep(model, [picture], epsilons=[0, 0.1, 0.4], target=1)
    figure = made.figure()
    [axes] = figure.axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 25.5, 102.0]] * 3
    assert np.allclose(axes.lines[1].get_ydata(), 100 * made.table["confidence"])
    assert "1/255" in axes.get_xlabel() and axes.get_ylabel() == "Share (%)" and axes.get_ylim() == (0, 100)
    assert "1 picture ·" in texts_of(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(made.curves)
    assert "to 8/255" in sweep_chart([0, 8 / 255], {"A": [1, 0.5]}).get_label()
    plot = curves_plot([0, 1], {"A": [1, 2], "B": [3, 4]}, x_label="x", y_label="y")
    assert [trace.y.tolist() for trace in plot.data] == [[1, 2], [3, 4]] and plot.layout.xaxis.title.text == "x"


# Command


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder that holds a tiny network and three photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny_attack_network.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))\n"
    )
    sys.modules.pop("tiny_attack_network", None)
    (tmp_path / "photos").mkdir()
    for name, seed in (("a.png", 0), ("b.png", 1), ("c.png", 2)):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "photos" / name)

    def call(*arguments: object):
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return call


TINY = ["--model", "tiny_attack_network:net", "--input-size", "32"]


@pytest.mark.parametrize("more", [[], ["--target", "2", "--steps", "3", "--seed", "4"]], ids=["fgsm", "pgd"])
def test_an_attack_is_written_with_its_record_and_made_again(run, more):
    asked = ["--img", "photos/a.png", "--epsilon", "4/255", "--layer", "0", "--alpha", "0.3", *more]
    code, out, _ = run("fgsm", *asked, *TINY)
    assert code == 0 and "fgsm.png: class" in out and "epsilon 4/255" in out
    spec = RunSpec.load("fgsm.json")
    assert (spec.method, spec.layer, spec.image, spec.params["epsilon"]) == ("fgsm", "0", "a.png", 4 / 255)
    assert spec.target == ((2,) if more else ()) and spec.drawing == {"alpha": 0.3}
    before = Path("fgsm.png").read_bytes()
    again = ["--spec", "fgsm.json", *TINY, "--img", "photos/a.png", "--output", "again.png"]
    assert run("explain", *again)[0] == 0 and Path("again.png").read_bytes() == before
    words = shlex.split(spec.to_command())
    words[words.index("--img") + 1] = "photos/a.png"
    assert run(*words[1:], "--output", "third.png")[0] == 0 and Path("third.png").read_bytes() == before
    picture = np.asarray(PIL.Image.open("fgsm_picture.png"))
    assert picture.shape == (32, 32, 3), "the changed picture, as the network sees it"
    model = xai.load_model("tiny_attack_network:net", input_size=32)
    options = {"steps": 3, "seed": 4, "target": 2, "layer": "0"} if more else {"layer": "0"}
    made = xai.attack(model, "photos/a.png", "pgd" if more else "fgsm", epsilon=4 / 255, **options)
    assert np.abs(picture / 255 - made.changed.transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-6
    again[4 + 2] = "photos/b.png"
    code, _, error = run("explain", "--spec", "fgsm.json", *TINY, "--img", "photos/b.png", "--output", "no.png")
    assert code == 2 and "not the same" in error


def test_several_pictures_go_into_a_folder_and_json_says_all(run):
    Path("photos/broken.png").write_text("no picture")
    code, out, error = run("fgsm", "--img", "photos", *TINY, "--output", "made", "--json")
    facts = json.loads(out)
    assert code == 1 and "broken.png" in error
    assert [Path(each["output"]).name for each in facts["results"]] == [f"{name}_fgsm.png" for name in "abc"]
    first = facts["results"][0]
    assert first["success"] == (first["before"][0]["index"] != first["after"][0]["index"]) and first["verdict"]


def test_a_sweep_is_written_with_its_table_and_made_again(run):
    asked = ["--img", "photos", "--sweep", "--epsilon", "0,2/255,0.1", "--labels", "0,1,2"]
    code, out, _ = run("fgsm", *asked, *TINY, "--output", "sweep.png")
    assert code == 0 and out.splitlines()[0].split() == ["epsilon", "accuracy", "confidence", "success"]
    table = pd.read_csv("sweep.csv")
    assert table["epsilon"].tolist() == pytest.approx([0, 2 / 255, 0.1])
    spec = RunSpec.load("sweep.json")
    assert spec.pictures == ("a.png", "b.png", "c.png") and spec.params["labels"] == [0, 1, 2]
    again = ["--spec", "sweep.json", *TINY, "--img", "photos", "--output", "again.png"]
    assert run("explain", *again)[0] == 0
    assert Path("again.png").read_bytes() == Path("sweep.png").read_bytes()
    assert Path("again.csv").read_bytes() == Path("sweep.csv").read_bytes()
    one = run("fgsm", "--img", "photos/a.png", "--sweep", *TINY, "--output", "one.png", "--json")[1]
    assert [row["epsilon"] for row in json.loads(one)["rows"]] == pytest.approx(sweep_epsilons())
    words = shlex.split(RunSpec.load("one.json").to_command())
    words[words.index("--img") + 1] = "photos/a.png"
    assert run(*words[1:], "--output", "two.png")[0] == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


def test_the_cells_make_it_again(model):
    for made in (
        xai.attack(model, "cat", "pgd", epsilon=0.1, steps=2, layer="stage1"),
        xai.attack_sweep(model, ["cat", "coffee"], epsilons=[0, 0.1], target=1),
    ):
        figure = eval(made.spec.to_cell().splitlines()[-1], {"xai": xai, "model": model})
        assert figure.get_label() == made.figure().get_label()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--img"]),
        (["--img", "photos/a.png", "--epsilon", "2"], ["--epsilon", "2/255"]),
        (["--img", "photos/a.png", "--epsilon", "0,0.1"], ["--sweep"]),
        (["--img", "photos/a.png", "--steps", "0"], ["--steps"]),
        (["--img", "photos/a.png", "--labels", "1"], ["--labels", "--sweep"]),
        (["--img", "photos", "--sweep", "--labels", "1"], ["1 classes for 3"]),
        (["--img", "photos", "--sweep", "--layer", "0"], ["--layer"]),
        (["--img", "photos", "--sweep", "--alpha", "0.1"], ["--alpha"]),
        (["--img", "photos/a.png", "--limit", "2"], ["--limit"]),
        (["--img", "photos/a.png", "--colormap", "jet"], ["jet", "inferno"]),
        (["--img", "photos/a.png", "--target", "9"], ["class 9", "0 to 3"]),
        (["--img", "photos/a.png", "--layer", "9"], ["Unknown layer '9'"]),
        (["--img", "photos/a.png", "--explain-with", "magic"], ["magic", "grad_cam"]),
        (["--img", "photos/a.png", "--explain-with", "saliency", "--layer", "0"], ["saliency", "layer"]),
        (["--img", "photos", "--output", "one.png"], ["one.png", "folder"]),
        (["--img", "photos/a.png", "--output", "photos/a.png"], ["the picture itself"]),
        (["--img", "photos/a.png", "--resize", "twist"], ["twist"]),
    ],
    ids=" ".join,
)
def test_mistakes_on_the_command_line(run, arguments, words):
    code, out, error = run("fgsm", *arguments, *TINY)
    assert code == 2 and out == "" and error.startswith("Error: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error


def test_a_bad_record_is_one_sentence(run):
    run("fgsm", "--img", "photos/a.png", *TINY)
    for name, value in (("epsilon", "much"), ("steps", 1.5), ("explain_with", "magic")):
        spec = json.loads(Path("fgsm.json").read_text())
        spec["params"][name] = value
        Path("bad.json").write_text(json.dumps(spec))
        code, _, error = run("explain", "--spec", "bad.json", *TINY, "--img", "photos/a.png", "--output", "bad.png")
        assert code == 2 and error.count("Error:") == 1 and (name in error or str(value) in error)


# Page


@pytest.fixture
def open_page(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_MODEL", "resnet18")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def call(**query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "pages" / "adversarial.py"), default_timeout=120)
        for name, text in query.items():
            at.query_params[name] = text
        return at.run()

    return call


def pictures_of(at: AppTest) -> dict:
    assert not at.exception and not at.error
    return json.loads(at.get_by_key("attack-pictures").proto.json)


def press_start(at: AppTest) -> AppTest:
    [button] = [each for each in at.button if each.label.startswith("Start")]
    button.click().run()
    for _ in range(600):
        if not at.session_state["_slow_job"].running:
            break
        threading.Event().wait(0.1)
    return at.run()


def test_epsilon_and_layer_move_the_pictures(open_page):
    at = open_page()
    first = pictures_of(at)
    assert at.slider(key="epsilon").value == 2.0 and first["address"]["epsilon"] == f"{2 / 255:.6g}"
    assert [panel["name"] for panel in first["panels"]][:3] == ["before", "change", "after"]
    at.slider(key="epsilon").set_value(0.0).run()
    none = pictures_of(at)
    assert "did not change" in none["note"] and len(none["panels"]) == 5
    before, after = none["panels"][3:]
    assert before["src"] == after["src"] and before["values"] == after["values"], "the same map on the same picture"
    at.select_slider(key="layer").set_value("layer2").run()
    assert pictures_of(at)["panels"][3]["src"] != before["src"]


def test_a_target_and_many_steps_wait_for_a_word(open_page):
    at = open_page(attack="PGD", pgd_steps="2", towards="true", target="285", epsilon="0.0157", layer="layer3")
    assert not at.exception and at.slider(key="epsilon").value == 4.0 and at.slider(key="pgd_steps").value == 2
    at.button(key=downloads.BUTTON).click().run()
    assert "has not been started" in at.warning[-1].value
    at = press_start(at)
    assert "target" in pictures_of(at)["note"]
    at.button(key=downloads.BUTTON).click().run()
    assert at.code[1].value.startswith("xai fgsm --img cat") and "--steps 2" in at.code[1].value
    assert "'pgd', target=285" in at.code[2].value
    again = open_page(**dict(parse_qsl(urlsplit(at.code[0].value).query)))
    assert pictures_of(again) == pictures_of(at), "the link opens the same view, which all sessions share"
    assert "towards=true" in at.code[0].value and "attack=PGD" in at.code[0].value


def test_a_wrong_epsilon_in_a_link_is_told(open_page):
    at = open_page(epsilon="much")
    assert pictures_of(at) and any("much" in warning.value for warning in at.warning)


@pytest.mark.slow
def test_the_sweep_is_shown_once_it_is_done(open_page):
    at = press_start(open_page(look="sweep"))
    assert not at.exception
    assert any("11 pictures" in caption.value for caption in at.caption)
    at.button(key=downloads.BUTTON).click().run()
    assert "--sweep" in at.code[1].value and "look=sweep" in at.code[0].value


def test_networks_of_other_sizes_are_drawn_too(picture):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    small = xai.load_model(net, input_size=(24, 40))
    figure = xai.attack(small, picture, epsilon=0.1).figure()
    assert figure.axes[0].images[0].get_array().shape == (24, 40, 3)
