"""Concepts end to end: library, figure, command and page, against heads, blends and factorisations done by hand."""

from __future__ import annotations

import ast
import json
import shlex
import sys
import threading
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from networks import ResidualNet, VggNet, seeded
from skimage.color import deltaE_ciede2000, rgb2lab
from streamlit.testing.v1 import AppTest

import xai
from xai.cli import main
from xai.concepts import concepts
from xai.errors import Cancelled, UserError
from xai.figures.concepts import COLOURS, Entry, choice_chart, concept_colours, concept_figure, concept_overlay
from xai.figures.overlays import place_map
from xai.model import Model
from xai.spec import RunSpec
from xai.ui import downloads

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["crane", "owl", "newt", "crab", "crane"]
# What deuteranopes and protanopes see, on linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
BLINDNESS = {
    "none": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def noise(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return xai.load_model(seeded(ResidualNet), input_size=32, class_names=NAMES)


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


# Library


def test_labels_are_what_the_head_says_to_each_concept(model: Model) -> None:
    found = concepts(model, [noise(), noise(seed=1)], layer="stage2", components=3, top_k=4)
    weight, bias = model.network.head.fc.weight.numpy(), model.network.head.fc.bias.numpy()
    for vector, names in zip(found.factorization.vectors.numpy(), found.names, strict=True):
        scores = weight @ vector + bias
        chances = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        order = np.argsort(-chances)[:4]
        labels = [f"{NAMES[i]} ({i})" if NAMES[i] == "crane" else NAMES[i] for i in order]
        assert [name for name, _ in names] == labels
        assert [p for _, p in names] == pytest.approx(chances[order].tolist(), rel=1e-4)
    table = found.table()
    assert table["class_1"].tolist() == [names[0][0] for names in found.names]
    assert table["probability_4"].tolist() == [names[3][1] for names in found.names]
    assert table["colour"].tolist() == list(COLOURS)[:3] and table["concept"].tolist() == [1, 2, 3]


def test_pictures_share_concepts(model: Model) -> None:
    one, other = noise(), noise(seed=1)
    alone = concepts(model, one, components=3).factorization
    twice = concepts(model, [one, one], components=3).factorization
    assert torch.allclose(twice.maps[0], twice.maps[1], atol=1e-6)
    assert torch.allclose(twice.maps[0], alone.maps[0], atol=1e-3), "the same picture again adds nothing new"
    both = concepts(model, [one, other], components=3)
    seen = xai.trace(model, [one, other], [both.layer.name]).activation(both.layer.name).relu()
    rebuilt = torch.einsum("nkhw,kc->nchw", both.factorization.cells, both.factorization.vectors)
    assert float((seen - rebuilt).norm() / seen.norm()) == pytest.approx(both.factorization.error, abs=1e-4)
    peaks = both.factorization.cells.amax((2, 3))
    named = [both.images[i].name for i in peaks.argmax(0).tolist()]
    assert both.table()["strongest_in"].tolist() == named
    assert peaks.amax(0).tolist() == pytest.approx([1, 1, 1])


def test_an_empty_concept_has_no_label() -> None:
    network = seeded(ResidualNet)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    found = concepts(xai.load_model(network, input_size=32), noise(), components=2)
    assert found.names == ((), ()) and found.factorization.unlabelled is None
    assert "Concept 1 · empty" in texts(found.figure()) and found.table()["strongest_in"].tolist() == ["", ""]
    assert not found.factorization.maps.any()


def test_a_layer_without_labels_says_so(model: Model) -> None:
    found = concepts(model, noise(), layer="stage1", components=2)
    assert found.names == ((), ()) and "class_1" not in found.table()
    assert "have no class labels" in " ".join(texts(found.figure()).split())
    vgg = concepts(xai.load_model(seeded(VggNet), input_size=32), noise(), components=2)
    assert vgg.factorization.unlabelled is not None and vgg.names == ((), ())


def test_auto_takes_the_proposed_number(model: Model) -> None:
    told: list[float] = []
    found = concepts(model, noise(), components="auto", on_progress=lambda fraction, _: told.append(fraction))
    assert found.choice is not None and found.components == found.choice.chosen == found.spec.params["components"]
    assert told == sorted(told) and told[0] > 0 and told[-1] <= 1
    given = concepts(model, noise(), components=found.components)
    assert torch.equal(given.factorization.maps, found.factorization.maps) and given.spec == found.spec
    assert given.choice is None and given.choice_figure() is None
    chart = found.choice_figure()
    assert chart is not None and f"{found.choice.chosen} is proposed" in chart.get_label()


def test_a_trace_saves_the_pass_and_must_be_of_the_same_pictures(model: Model) -> None:
    pictures = [noise(), noise(seed=1)]
    traced = xai.trace(model, pictures, ["stage1"])
    expected = concepts(model, pictures, layer="stage1", components=2)
    for found in (concepts(traced, layer="stage1", components=2), concepts(traced, pictures, components=2)):
        assert found.images[1].digest == expected.images[1].digest
    assert torch.equal(concepts(traced, layer="stage1", components=2).factorization.maps, expected.factorization.maps)
    assert concepts(traced, components=2).layer.name == model.default_layer, "a layer that was not kept is traced"
    with pytest.raises(UserError, match="other pictures"):
        concepts(traced, pictures[::-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"components": 0}, "whole number from 1, or auto, not 0"),
        ({"components": True}, "not True"),
        ({"components": "many"}, "not 'many'"),
        ({"components": 2.5}, "not 2.5"),
        ({"components": 9}, "from 1 to 8 here, not 9"),  # stage2 has 8 channels
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"layer": "nix"}, "Unknown layer 'nix'"),
        ({"images": None}, "No picture was given"),
        ({"images": []}, "No picture was given"),
        ({"resize": "twist"}, "twist"),
    ],
)
def test_mistakes_are_one_sentence(model: Model, options: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        concepts(model, **({"images": noise()} | options))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_it_stops_when_asked(model: Model) -> None:
    def stop(fraction: float, _: object) -> None:
        raise Cancelled

    for components in (2, "auto"):
        with pytest.raises(Cancelled):
            concepts(model, noise(), components=components, on_progress=stop)


# Figures


def test_zero_concepts_leave_the_picture_unchanged_and_others_change_it_only_where_they_are() -> None:
    picture, maps = noise(), np.zeros((3, 30, 40), np.float32)
    assert (concept_overlay(picture, maps, alpha=1) == picture).all()
    maps[1, :10], maps[2, 5:15] = 0.3, 0.8
    laid = concept_overlay(picture, maps, alpha=0.5)
    assert (laid[15:] == picture[15:]).all()
    for row, index, strength in ((2, 1, 0.3), (7, 2, 0.8), (12, 2, 0.8)):
        colour = 255 * np.array(to_rgb(list(COLOURS.values())[index]))
        blend = (1 - 0.5 * strength) * picture[row] + 0.5 * strength * colour
        assert np.abs(laid[row] - blend).max() <= 1.5
    assert (concept_overlay(picture, maps, shown=[]) == picture).all()
    assert (concept_overlay(picture, maps, threshold=0.9) == picture).all()
    alone = concept_overlay(picture, maps, shown=[1], alpha=0.5)
    assert (alone[10:] == picture[10:]).all() and (alone[:5] == laid[:5]).all(), "each keeps its colour"


def test_maps_lie_in_their_box_only() -> None:
    picture, box = noise(), (10.0, 5.0, 30.0, 25.0)
    laid = concept_overlay(picture, np.ones((1, 4, 4), np.float32), box=box, alpha=1)
    inside = place_map(np.ones((4, 4)), (40, 30), box) == 1
    assert (laid[inside] == concept_colours()[0]).all() and (laid[:5] == picture[:5]).all()
    assert (laid[:, :10] == picture[:, :10]).all() and (laid[:, 30:] == picture[:, 30:]).all()


@pytest.mark.parametrize(("option", "value"), [("alpha", 1.5), ("alpha", -0.1), ("threshold", 2)])
def test_shares_are_checked(option: str, value: float) -> None:
    with pytest.raises(UserError, match=option):
        concept_overlay(noise(), np.zeros((1, 2, 2)), **{option: value})


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_are_told_apart_with_every_colour_vision(kind: str) -> None:
    colours = concept_colours() / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(BLINDNESS[kind]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    apart = [deltaE_ciede2000(lab[i], lab[j]) for i in range(len(lab)) for j in range(i)]
    assert min(apart) > 8  # just noticeable is about 1


def test_figure_shows_pictures_concepts_and_legend(model: Model) -> None:
    pictures = [noise(), noise(32, 48, seed=1)]
    found = concepts(model, pictures, components=3)
    figure = found.figure(alpha=1.0)
    said = " ".join(texts(figure).split())
    for heading, names in zip([entry.heading for entry in found.legend()], found.names, strict=True):
        assert heading in said and all(name in said for name, _ in names)
    assert "3 concepts" in said and "(untrained)" not in said and "Opacity" in said
    assert "2 pictures with 3 concepts" in figure.get_label() and "(orange)" in figure.get_label()
    [axes] = figure.axes
    assert [patch.get_facecolor()[:3] for patch in axes.patches] == [to_rgb(c) for c in list(COLOURS.values())[:3]]
    shown = [image.get_array() for image in axes.images]
    assert len(shown) == 4
    inside = np.s_[4:26, 9:31]  # within the outline of the first picture's box
    expected = concept_overlay(pictures[0], found.factorization.maps[0].numpy(), box=found.boxes[0], alpha=1.0)
    assert (shown[0][inside] == pictures[0][inside]).all() and (shown[1][inside] == expected[inside]).all()


@pytest.mark.parametrize("pictures", [1, 2, 5])
def test_nothing_is_cut_off(pictures: int) -> None:
    entry = Entry("Concept 1 · 12.3 %", ("a very long class name that has to go on in the next line 99.9 %", "b 0.1 %"))
    figure = concept_figure(
        [noise()] * pictures,
        [np.random.default_rng(0).random((8, 4, 4))] * pictures,
        ["picture_with_a_long_name"] * pictures,
        [entry] * 8,
        boxes=[(0.0, 0.0, 40.0, 30.0)] * pictures,
        note="A sentence on what is not there, long enough to need lines.",
        suptitle="layer4 · stage · 2048 × 7 × 7 · 8 concepts · a network with a long name · file weights.safetensors",
    )
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in figure.axes[0].texts]
    frame = figure.bbox
    assert all(e.x0 >= 0 and e.y0 >= 0 and e.x1 <= frame.x1 + 1 and e.y1 <= frame.y1 + 1 for e in extents)
    legend = sorted((e for e in extents if e.x0 > frame.x1 - 275), key=lambda e: -e.y1)
    assert len(legend) >= 25 and all(above.y0 >= below.y1 - 2 for above, below in pairwise(legend))


def test_hidden_concepts_are_neither_drawn_nor_listed(model: Model) -> None:
    found = concepts(model, noise(), components=3)
    said = texts(found.figure(shown=[0, 2]))
    assert "Concept 1 ·" in said and "Concept 2 ·" not in said and "Concept 3 ·" in said


def test_more_concepts_than_colours_are_found_but_not_drawn() -> None:
    model = xai.load_model(torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3), torch.nn.ReLU(), *_head(12)), input_size=32)
    found = concepts(model, noise(), components=10)
    assert found.components == 10 and found.table()["colour"].tolist()[7:] == ["black", "", ""]
    with pytest.raises(UserError, match="colours for 8 concepts, not for 10"):
        found.figure()


def _head(channels: int) -> tuple[torch.nn.Module, ...]:
    return torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 4)


def test_choice_chart_shows_what_was_measured() -> None:
    figure = choice_chart((2, 3, 4), (0.7, 0.6, 0.55), (1.0, 0.5, 0.95), 4, title="layer4 · " + "long name " * 12)
    left, right = figure.axes
    for axes, values in ((left, [70, 60, 55]), (right, [100, 50, 95])):
        marked, line = axes.lines
        assert line.get_xdata().tolist() == [2, 3, 4] and line.get_ydata().tolist() == pytest.approx(values)
        assert marked.get_xdata() == [4, 4] and marked.get_label() == "4 proposed"
        assert "number" in axes.get_xlabel() and "%" in axes.get_ylabel()
    figure.draw_without_rendering()
    assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1


# Command

NETWORKS = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )
"""
TINY = ["--model", "tiny_concept_networks:net", "--layer", "3"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command in a folder that holds a tiny network and the photographs a.png and b.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("tiny_concept_networks.py").write_text(NETWORKS)
    sys.modules.pop("tiny_concept_networks", None)
    for seed, name in enumerate("ab"):
        PIL.Image.fromarray(noise(60, 40, seed)).save(f"{name}.png")

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return call


BOTH = ["--img", "a.png", "--img", "b.png"]


def test_command_writes_figure_table_record_and_factors(run) -> None:
    code, out, _ = run("dff", *BOTH, *TINY, "--n_components", "3", "--top_k", "1", "--save-factors", "f.npz", "--json")
    told = json.loads(out)
    assert code == 0 and told["pictures"] == ["a.png", "b.png"] and told["components"] == 3
    assert np.asarray(PIL.Image.open(told["output"]).convert("RGB")).std() > 10
    table = pd.read_csv(told["table"])
    assert table["concept"].tolist() == [1, 2, 3] and "class_2" not in table
    assert [row["classes"][0]["name"] for row in told["concepts"]] == table["class_1"].tolist()
    factors = np.load("f.npz")
    assert factors["vectors"].shape == (3, 16) and factors["maps"].shape[:2] == (2, 3)
    assert list(factors["cells"].shape[2:]) == told["cells"] == [27, 27]  # 224 pixels in steps of 4 and 2
    spec = RunSpec.load(told["spec"])
    assert (spec.method, spec.image, spec.layer, spec.pictures) == ("dff", "a.png", "3", ("a.png", "b.png"))
    assert spec.params["components"] == 3 and len(spec.params["digests"]) == 1


def test_record_command_and_other_spellings_make_the_same_again(run) -> None:
    run("dff", *BOTH, *TINY, "--components", "3", "--top-k", "2", "--alpha", "0.4", "--output", "one.png")
    assert run("explain", "--spec", "one.json", *TINY[:2], "--output", "two.png")[0] == 0
    command = shlex.split(RunSpec.load("one.json").to_command())
    assert command[:6] == ["xai", "dff", *BOTH]
    torch.manual_seed(0)
    assert run(*command[1:], "--output", "three.png")[0] == 0
    run("dff", *BOTH, *TINY, "--n-components", "3", "--top_k", "2", "--alpha", "0.4", "--output", "four.png")
    first = Path("one.png").read_bytes()
    assert [name for name in ("two", "three", "four") if Path(f"{name}.png").read_bytes() != first] == []
    code, _, told = run("explain", "--spec", "one.json", *TINY[:2], "--img", "a.png", "--output", "five.png")
    assert code == 0 and Path("five.png").read_bytes() == first, f"the second is found by its name: {told}"


def test_auto_writes_the_chart_of_the_choice(run) -> None:
    code, out, _ = run("dff", "--img", "a.png", *TINY, "--components", "auto", "--output", "found/", "--json")
    told = json.loads(out)
    assert code == 0 and Path(told["choice"]).is_file() and told["choice"].endswith("a.png_dff_choice.png")
    assert RunSpec.load(told["spec"]).params["components"] == told["components"]


def test_cell_runs(run) -> None:
    run("dff", "--img", "cat", "--img", "coffee", "--model", "resnet18", "--weights", "none", "--input-size", "64")
    cell = RunSpec.load("dff.json").to_cell()
    assert "from xai.concepts import concepts" in cell and "['cat', 'coffee']" in cell
    *lines, last = cell.splitlines()
    space: dict[str, object] = {}
    exec("\n".join([*lines, f"figure = {last}"]), space)
    assert isinstance(space["figure"], Figure)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dff"], ["--img"]),
        (["dff", "--img", "missing.png"], ["missing.png"]),
        (["dff", "--img", "a.png", "--components", "9"], ["8 concepts", "9"]),
        (["dff", "--img", "a.png", "--components", "some"], ["'some'", "auto"]),
        (["dff", "--img", "a.png", "--components", "0"], ["from 1"]),
        (["dff", "--img", "a.png", "--top-k", "0"], ["--top-k"]),
        (["dff", "--img", "a.png", "--layer", "nix", *TINY[:2]], ["nix", "0, 1, 2, 3"]),
        (["dff", "--img", "a.png", "--alpha", "2"], ["--alpha"]),
        (["dff", "--img", "a.png", "--output", "a.gif"], ["a.gif", ".png"]),
        (["dff", "--img", "a.png", "--output", "a.png"], ["the picture itself"]),
        (["dff", "--img", "a.png", "--save-factors", "f.npy"], ["--save-factors", ".npz"]),
        (["dff", "--img", "a.png", "--save-factors", "folder"], ["--save-factors", ".npz"]),
        (["dff", "--img", "a.png", "--resize", "twist"], ["twist"]),
        (["dff", *BOTH, *TINY, "--resize", "keep", "--components", "3", "--img", "cat"], ["."]),
        (["explain", "--spec", "both.json", *TINY[:2], *BOTH, "--img", "cat"], ["2 pictures (a.png, b.png)", "3"]),
        (["explain", "--spec", "both.json", *TINY[:2], "--img", "a.png", "--img", "cat"], ["not what the spec says"]),
        (["explain", "--spec", "both.json", *TINY[:2], "--colormap", "magma"], ["no --colormap"]),
        (["explain", "--spec", "odd.json", *TINY[:2]], ["'others'", "lists"]),
    ],
    ids=lambda value: " ".join(value) if "--" in str(value) else None,
)
def test_mistakes_end_with_2_and_one_sentence(run, arguments: list[str], words: list[str]) -> None:
    if "--spec" in arguments:
        run("dff", *BOTH, *TINY, "--components", "2", "--output", "both.png")
        data = json.loads(Path("both.json").read_text())
        data["params"]["others"] = 3
        Path("odd.json").write_text(json.dumps(data))
    code, out, err = run(*arguments)
    assert code == 2 and out == ""
    assert err.splitlines()[-1].startswith("Error: ") and "Traceback" not in err
    assert all(word in err for word in words), err


def test_too_many_pictures_are_refused(run) -> None:
    for seed in range(33):
        Path("many").mkdir(exist_ok=True)
        PIL.Image.fromarray(noise(8, 8, seed)).save(f"many/{seed}.png")
    code, _, err = run("dff", "--img", "many", *TINY)
    assert code == 2 and "Up to 32" in err and "33" in err


# Page


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XAI_MODEL", "resnet18")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no official weights on this computer

    def run(**query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "pages" / "concepts.py"), default_timeout=120)
        for name, text in query.items():
            at.query_params[name] = text
        return at.run()

    return run


def component(at: AppTest, key: str) -> dict:
    return json.loads(at.get_by_key(key).proto.json)


def healthy(at: AppTest) -> bool:
    assert not at.exception, at.exception
    return not [print(error.value) for error in at.error]


def test_page_is_thin() -> None:
    text = (ROOT / "pages" / "concepts.py").read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 40
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.For | ast.While | ast.Lambda)]


def test_page_shows_each_concept_and_all_together(open_page) -> None:
    at = open_page()
    assert healthy(at) and not at.title and "Untrained network" in at.warning[0].value
    panels = component(at, "concepts")["panels"]
    assert [panel["name"] for panel in panels] == ["cat", *(f"Concept {n}" for n in range(1, 6))]
    table = at.dataframe[0].value
    model = xai.load_model("resnet18", weights=None)
    expected = concepts(model, "cat", components=5)
    assert table["class_1"].tolist() == [names[0][0] for names in expected.names]
    for panel, entry in zip(panels[1:], expected.legend(), strict=True):
        assert panel["caption"] == " · ".join((entry.heading, *entry.lines))
    at.slider(key="components").set_value(3).run()
    at.slider(key="top_k").set_value(4).run()
    assert healthy(at) and len(component(at, "concepts")["panels"]) == 4 and "class_4" in at.dataframe[0].value
    at.select_slider(key="layer").set_value("layer2").run()
    assert healthy(at) and "class_1" not in at.dataframe[0].value
    assert "no class labels" in component(at, "concepts")["note"]


def test_other_pictures_share_the_concepts(open_page) -> None:
    at = open_page()
    alone = component(at, "concepts")["panels"][0]["src"]
    at.button_group(key="others").set_value(["coffee"]).run()
    assert healthy(at)
    assert component(at, "concepts")["panels"][0]["src"] != alone
    assert component(at, "concepts")["address"]["others"] == "coffee"
    assert component(at, "shared-1")["panels"][1]["name"] == "coffee"
    expected = concepts(xai.load_model("resnet18", weights=None), ["cat", "coffee"], components=5).table()
    pd.testing.assert_frame_equal(at.dataframe[0].value, expected, check_dtype=False, rtol=1e-3)
    at.selectbox(key="image").select("coffee").run()
    assert healthy(at) and "coffee" not in at.button_group(key="others").options
    assert set(at.dataframe[0].value["strongest_in"]) == {"coffee"}


def test_drawing_and_hidden_concepts_change_the_picture(open_page) -> None:
    at = open_page(components="3")
    seen = {component(at, "concepts")["panels"][0]["src"]}
    for change in (
        lambda: at.slider(key="opacity").set_value(90),
        lambda: at.slider(key="hide").set_value(50),
        lambda: at.button_group(key="hidden").set_value([1]),
        lambda: at.button_group(key="hidden").set_value([1, 2, 3]),
    ):
        change().run()
        assert healthy(at)
        seen.add(component(at, "concepts")["panels"][0]["src"])
    assert len(seen) == 5 and len(component(at, "concepts")["panels"]) == 1


def test_link_opens_the_same_view_and_the_command_is_dff(open_page) -> None:
    at = open_page(layer="layer3", components="4", others="coffee", hidden="2", method="dff", opacity="80")
    assert healthy(at) and len(at.warning) == 1, "only the untrained label"
    names = [panel["name"] for panel in component(at, "concepts")["panels"]]
    assert names == ["cat", "Concept 1", "Concept 3", "Concept 4"]
    at.button(key=downloads.BUTTON).click().run()
    link, command, cell = (code.value for code in at.code)
    assert command.startswith("xai dff --img cat --img coffee --model resnet18 --weights none --layer layer3")
    assert "concepts(model, ['cat', 'coffee'], layer='layer3'" in cell
    again = open_page(**dict(parse_qsl(urlsplit(link).query)))
    assert component(again, "concepts") == component(at, "concepts")
    spec = RunSpec.from_query(dict(parse_qsl(urlsplit(link).query)))
    assert spec.pictures == ("cat", "coffee") and spec.method == "dff"


@pytest.mark.parametrize(("query", "word"), [({"others": "nix,coffee"}, "nix"), ({"layer": "nix"}, "nix")])
def test_bad_link_is_told(open_page, query: dict, word: str) -> None:
    at = open_page(**query)
    assert healthy(at)
    told = [warning.value for warning in at.warning if "link" in warning.value]
    assert len(told) == 1 and word in told[0]


def finish(at: AppTest) -> AppTest:
    """Wait for the job of the session."""
    job = at.session_state["_slow_job"]
    for _ in range(2000):
        if not job.running:
            break
        threading.Event().wait(0.02)
    return at.run()


def test_a_number_is_proposed_and_taken(open_page) -> None:
    at = open_page(layer="layer4")
    [button] = [each for each in at.button if each.label == "Start search for a number"]
    at = finish(button.click().run())
    assert healthy(at)
    [take] = [each for each in at.button if each.label.startswith("Take ")]
    take.click().run()
    assert healthy(at) and at.slider(key="components").value == int(take.label.removeprefix("Take "))


def test_a_large_layer_waits_for_a_word(open_page) -> None:
    at = open_page(layer="relu", components="2")
    assert healthy(at) and not at.dataframe
    at.button(key=downloads.BUTTON).click().run()
    assert any("start them first" in warning.value for warning in at.warning)
    [button] = [each for each in at.button if each.label == "Start Concepts of relu"]
    at = finish(button.click().run())
    assert healthy(at) and len(at.dataframe[0].value) == 2
