"""What LIME found beside its map: tables, figure, page, and the files of the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from networks import ResidualNet, seeded
from streamlit.testing.v1 import AppTest

import xai
from xai.cli import main
from xai.explanation import Explanation
from xai.figures import style
from xai.figures.superpixels import HIDDEN, LINE, OUTSIDE, cut_out, outline, place_labels
from xai.superpixels import (
    draw_superpixels,
    lime_details,
    strongest,
    tabulate_models,
    tabulate_superpixels,
    weights_of,
)

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["a", "b", "c", "d", "e"]
ASKED = {"samples": "60", "segmenter": "grid", "n_segments": 9}


@pytest.fixture(scope="module")
def made() -> Explanation:
    model = xai.load_model(seeded(ResidualNet), input_size=32, class_names=NAMES)
    picture = np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    return xai.explain(model, picture, "lime", target=["b", "d"], **ASKED)


def test_tables_hold_what_the_linear_model_is(made: Explanation) -> None:
    models = tabulate_models(made)
    assert models["target"].tolist() == ["b", "d"] and models["superpixels"].tolist() == [9, 9]
    assert models["network"].tolist() == pytest.approx(list(made.probabilities), abs=1e-6)
    for k, row in models.iterrows():
        own = tabulate_superpixels(made).query("target == @row.target")
        assert row["intercept"] + own["weight"].sum() == pytest.approx(row["local_prediction"]), "all superpixels on"
        assert own["weight"].abs().is_monotonic_decreasing and sorted(own["superpixel"]) == list(range(9))
        assert own["area"].sum() == pytest.approx(1) and (own["uncertainty"] > 0).all()
        segments = lime_details(made).segments.numpy()
        for _, each in own.iterrows():
            where = segments == each["superpixel"]
            assert each["area"] == where.mean() and np.allclose(made.map[k][where], each["weight"], rtol=1e-6)


def test_other_methods_have_no_superpixels(made: Explanation) -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    other = xai.explain(model, made.image, "grad_cam")
    assert lime_details(other) is None
    with pytest.raises(ValueError, match="no linear model"):
        tabulate_models(other)


def test_the_strongest_are_chosen_by_magnitude_or_by_value() -> None:
    weights = np.array([0.2, -0.5, 0.0, 0.3, -0.1])
    assert strongest(weights, 3, positive_only=False).tolist() == [1, 3, 0]
    assert strongest(weights, 3, positive_only=True).tolist() == [3, 0], "never one that says nothing or speaks against"
    assert strongest(weights, 9, positive_only=False).tolist() == [1, 3, 0, 4]


def test_labels_lie_in_the_box_and_outlines_run_between_them() -> None:
    segments = np.array([[0, 1], [2, 3]])
    labels = place_labels(segments, (40, 30), (10.0, 5.0, 30.0, 25.0))
    assert labels.shape == (30, 40) and (labels[:5] == OUTSIDE).all() and (labels[:, 30:] == OUTSIDE).all()
    assert [labels[y, x] for y, x in [(5, 10), (14, 19), (5, 20), (15, 10), (24, 29)]] == [0, 0, 1, 2, 3]
    drawn = outline(np.zeros((30, 40, 3), np.uint8), labels)
    lines = (drawn == LINE).all(2)
    assert lines[8, 19] and lines[8, 20] and lines[14, 12] and not lines[8, 15] and not lines[2, 2]


def test_hiding_the_rest_leaves_the_kept_pixels_and_no_others() -> None:
    picture = np.random.default_rng(0).integers(0, 190, (30, 40, 3), dtype=np.uint8)
    labels = place_labels(np.arange(4).reshape(2, 2), (40, 30), (0.0, 0.0, 40.0, 30.0))
    weights = np.array([0.5, -0.2, 0.1, 0.0])
    hidden = cut_out(picture, labels, weights, np.array([0, 1]), hide_rest=True)
    shown = cut_out(picture, labels, weights, np.array([0, 1]), hide_rest=False)
    assert (hidden[labels > 1] == HIDDEN).all() and np.array_equal(shown[labels > 1], picture[labels > 1])
    assert np.array_equal(hidden[5:10, 5:15], picture[5:10, 5:15]), "inside a kept superpixel"
    table = style.colormap_table(style.DIVERGING[0])
    assert (hidden[5, 19] == table[-30]).all() and (hidden[5, 20] == table[30]).all(), "red for, blue against"


def test_figure_shows_outlines_weights_and_both_cuts(made: Explanation) -> None:
    figure = draw_superpixels(made, top=3, positive_only=True)
    words = " ".join(text.get_text() for axes in figure.axes for text in axes.texts).replace("\n", " ")
    kept = strongest(weights_of(made), 3, positive_only=True)
    facts = tabulate_models(made).iloc[0]
    for said in ("9 superpixels", f"The {len(kept)} strongest", f"{len(kept)} for, 0 against", "The rest hidden",
                 f"R² {facts['r2']:.2f}", f"network {facts['network']:.3g}"):  # fmt: skip
        assert said in words, said
    [bar] = [axes for axes in figure.axes if axes.get_label() == "scale"]
    assert bar.get_ylim()[0] == -bar.get_ylim()[1] == pytest.approx(-np.abs(weights_of(made)).max()), "symmetric"
    assert len(figure.axes[0].images) == 4


def test_the_command_writes_figure_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["explain", "--img", "cat", "--method", "lime", "--samples", "40", "--segmenter", "grid"]
    asked += ["--n-segments", "9", "--target", "3", "--top", "2", "--model", "squeezenet1_1", "--weights", "none"]
    asked += ["--input-size", "64", "--quiet", "--output", "lime.png"]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    table = pd.read_csv("lime_superpixels.csv")
    assert list(table) == ["target", "superpixel", "weight", "uncertainty", "area"] and len(table) == 9
    assert np.asarray(PIL.Image.open("lime_superpixels.png")).std() > 10
    assert main([*asked, "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)["results"]
    [model] = record["linear_models"]
    assert record["superpixel_table"] == "lime_superpixels.csv" and model["superpixels"] == 9
    for name in ("r2", "intercept", "local_prediction", "network"):
        assert name in printed and f"{model[name]:.3g}" in printed
    assert main([*asked, "--target", "5", "--json"]) == 0  # beside class 3
    [record] = json.loads(capsys.readouterr().out)["results"]
    files = [model["figure"] for model in record["linear_models"]]
    assert files == ["lime_superpixels.png", "lime_superpixels_2.png"]
    first, second = (np.asarray(PIL.Image.open(file)) for file in files)
    assert first.shape != second.shape or (first != second).any()
    assert len(pd.read_csv("lime_superpixels.csv")) == 2 * 9


def test_the_page_shows_model_table_and_cuts_without_asking_the_network_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("XAI_MODEL", "squeezenet1_1"), ("XAI_WEIGHTS", "none"), ("TORCH_HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
    model = xai.load_model("squeezenet1_1", weights=None)
    known = xai.explain(model, "cat", "lime", target=[3, 5], **ASKED)
    monkeypatch.setattr("xai.ui.caching.known_explanation", lambda *args, **options: known)
    at = AppTest.from_file(str(ROOT / "pages" / "attribution.py"), default_timeout=120)
    at.query_params["method"] = "lime"
    at.run()
    assert not at.exception
    facts = {each.label: each.value for each in at.metric}
    summary = tabulate_models(known).iloc[0]
    assert facts["Superpixels"] == "9" and facts["Weighted R²"] == f"{summary['r2']:.3f}"
    assert facts["Network's probability"] == f"{summary['network']:.3g}"
    pd.testing.assert_frame_equal(at.dataframe[0].value, tabulate_superpixels(known), check_dtype=False)
    monkeypatch.setattr("xai.ui.caching._explained", None)  # whoever explains anew from here on fails
    at.toggle(key="hide_rest").set_value(True)
    at.slider(key="superpixels_shown").set_value(2).run()
    assert not at.exception
    at.segmented_control(key="superpixels_of").set_value(1).run()
    assert not at.exception
    facts = {each.label: each.value for each in at.metric}
    second = tabulate_models(known).iloc[1]
    assert facts["Weighted R²"] == f"{second['r2']:.3f}" != f"{summary['r2']:.3f}"
    assert facts["Intercept"] == f"{second['intercept']:.3g}"
