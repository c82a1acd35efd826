"""Runs from features that came without a network: clustered like any other, and honest about what they cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from xai.cli import main
from xai.errors import UserError
from xai.scan.moving import export_arrays
from xai.scan.run import ScanRun, open_run

CLASSES, EACH, WIDTH = 3, 24, 6
ARGUMENTS = ["--heads", "3", "--replicas", "2", "--set", "neighbours=5", "--set", "groups.training.batch=32", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours, a folder for each."""
    made = tmp_path_factory.mktemp("given") / "pictures"
    for label in range(CLASSES):
        (made / f"class{label}").mkdir(parents=True)
        for number in range(EACH):
            pixels = np.zeros((10, 12, 3), np.uint8)
            pixels[..., label] = 200 + number
            PIL.Image.fromarray(pixels).save(made / f"class{label}" / f"{number:02}.png")
    return made


def _features() -> tuple[np.ndarray, list[str]]:
    """Three heaps far from each other, in the order of the pictures' names."""
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(CLASSES, WIDTH) * 8, EACH, axis=0)
    names = [f"class{label}/{number:02}.png" for label in range(CLASSES) for number in range(EACH)]
    return (centres + generator.standard_normal(centres.shape)).astype(np.float32), names


def _import(file: Path, data: Path, run: Path, *more: str) -> int:
    return main(["scan", "import", str(file), "--data", str(data), "--output", str(run), *ARGUMENTS, *more])


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ScanRun:
    """A run from shuffled rows with names."""
    place = tmp_path_factory.mktemp("given")
    values, names = _features()
    order = np.random.default_rng(1).permutation(len(values))
    np.savez(place / "features.npz", features=values[order], names=np.array(names)[order])
    assert _import(place / "features.npz", folder, place / "run") == 0
    return open_run(place / "run")


def test_clusters_follow_the_features(run: ScanRun) -> None:
    values, names = _features()
    pictures = run.pictures("train")
    assert pictures.labels is not None
    mine = values[[names.index(name) for name in pictures.names]]
    expected = mine / np.linalg.norm(mine, axis=1, keepdims=True)
    np.testing.assert_allclose(run.features("train"), expected, atol=2e-3)
    for split in ("train", "validation"):
        pairs = {*zip(run.pictures(split).labels, run.assigned("k3", split), strict=True)}
        assert len(pairs) == CLASSES == len({cluster for _, cluster in pairs})  # one to one
    neighbours, _ = run.neighbours("train")
    assert (pictures.labels[neighbours] == pictures.labels[:, None]).all()


def test_rows_without_names_are_in_the_order_of_the_names(run: ScanRun, folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", _features()[0])
    assert _import(tmp_path / "features.npy", folder, tmp_path / "run") == 0
    np.testing.assert_array_equal(open_run(tmp_path / "run").features("train"), run.features("train"))


def test_rows_of_an_array_of_pictures_keep_their_order(tmp_path: Path) -> None:
    images = np.repeat(np.arange(0, 144, 2, dtype=np.uint8)[:, None, None, None], 3, axis=3)
    np.save(tmp_path / "images.npy", np.tile(images, (1, 8, 8, 1)))
    np.save(tmp_path / "features.npy", np.arange(72, dtype=np.float32)[:, None] * [1, 0] + [1, 100])
    assert _import(tmp_path / "features.npy", tmp_path / "images.npy", tmp_path / "run", "--size", "8") == 0
    opened = open_run(tmp_path / "run")
    raw = opened.store.read("given")["train"][:, 0].numpy() - 1
    shown = [int(opened.pictures("train")[place][0, 0, 0]) / 2 for place in range(len(raw))]
    assert shown == raw.tolist()


def test_an_export_comes_back(run: ScanRun, folder: Path, tmp_path: Path) -> None:
    export_arrays(run.folder, tmp_path / "arrays.npz")
    assert _import(tmp_path / "arrays.npz", folder, tmp_path / "run") == 0
    np.testing.assert_allclose(open_run(tmp_path / "run").features("train"), run.features("train"), atol=2e-3)


def test_more_heads_and_measures(run: ScanRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["scan", "retrain-heads", str(run.folder), "--heads", "4", "--output", str(tmp_path / "more"), "--quiet"]
    assert main(more) == 0
    capsys.readouterr()
    assert main(["scan", "evaluate", str(tmp_path / "more"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["measured"]
    assert {row["head"]: row["accuracy"] for row in rows}["k3"] == 1
    assert main(["scan", "status", str(tmp_path / "more")]) == 0
    other = [*more[:-2], str(tmp_path / "tuned"), "--fine-tune"]
    assert main(other) == 2 and "no network" in capsys.readouterr().err and not (tmp_path / "tuned").exists()


def test_the_page_of_such_a_run_has_no_maps(run: ScanRun, tmp_path: Path) -> None:
    assert main(["scan", "explain", str(run.folder), "--output", str(tmp_path / "page.html"), "--quiet"]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "without a network" in page and "Which places" not in page and "Do other random starts agree?" in page


def test_what_needs_a_network_says_so(run: ScanRun, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in (lambda: run.model("k3"), run.pretext, lambda: run.embed(run.pictures("train")[0])):
        with pytest.raises(UserError, match="made from features, without a network"):
            asked()
    assert main(["scan", "query", str(run.folder), str(folder / "class0" / "00.png")]) == 2
    assert "made from features, without a network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"features": np.zeros((5, 4))}, "has features of 5 pictures and the data 72; add their 'names'"),
        ({"features": np.zeros((1, 4)), "names": ["a.png"]}, "no features for"),
        ({"features": np.zeros((2, 4)), "names": ["a.png", "a.png"]}, "two rows for one name"),
        ({"features": np.full((72, 4), np.nan)}, "not finite"),
        ({"features": np.zeros(72)}, "must be numbers"),
        ({"other": np.zeros((72, 4))}, "holds neither 'features'"),
        ({"features": np.array([["a", "b"]] * 72)}, "must be numbers"),
    ],
)
def test_mistakes_are_one_sentence(
    arrays: dict, sentence: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "features.npz", **arrays)
    assert _import(tmp_path / "features.npz", folder, tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told and not (tmp_path / "run").exists()


def test_fine_tuning_and_glyphs_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "features.npy", _features()[0])
    assert _import(tmp_path / "features.npy", folder, tmp_path / "run", "--fine-tune") == 2
    assert "no network: no pretext task, fine-tuning" in capsys.readouterr().err
    assert _import(tmp_path / "features.npy", Path("glyphs"), tmp_path / "run") == 2
    assert "Features need pictures" in capsys.readouterr().err
