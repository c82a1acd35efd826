"""A trained classifier as files: written, read, loaded, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from networks import ResidualNet, seeded

import xai
from xai.compute.small_resnet import SmallResNet
from xai.errors import UserError
from xai.io.geometry import InputFormat
from xai.io.model_files import read_model_file, write_model_file

FMT = InputFormat((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), (32, 32), 36, "bicubic")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = seeded(lambda: SmallResNet(4, (4, 4, 8, 8), (1, 1, 1, 1))).state_dict()
    names = ("cat", "dog", "eel", "fly")
    write_model_file(tmp_path, state, architecture="test_model_files:four", class_names=names, fmt=FMT, about={"a": 1})
    return tmp_path


def four() -> SmallResNet:
    return SmallResNet(4, (4, 4, 8, 8), (1, 1, 1, 1))


def test_a_model_file_brings_everything_that_loading_needs(folder: Path) -> None:
    wanted = seeded(four).state_dict()
    for source in (str(folder), str(folder / "model.json")):
        model = xai.load_model(source)
        assert model.class_names == ("cat", "dog", "eel", "fly") and model.fmt == FMT
        assert all(torch.equal(value, wanted[name]) for name, value in model.network.state_dict().items())
    beside = xai.load_model(four, weights=folder / "model.safetensors")
    assert beside.fmt == FMT and beside.class_names == model.class_names, "the JSON beside a weights file is read"
    assert read_model_file(folder).about["a"] == 1


def test_half_precision_halves_the_file_and_keeps_three_digits(folder: Path) -> None:
    full = (folder / "model.safetensors").stat().st_size
    wanted = seeded(four).state_dict()
    write_model_file(
        folder,
        wanted,
        architecture="test_model_files:four",
        class_names=("a", "b", "c", "d"),
        fmt=FMT,
        about={},
        half=True,
    )
    assert (folder / "model.safetensors").stat().st_size < 0.7 * full  # the header stays
    kept = xai.load_model(str(folder)).network.state_dict()
    assert all(torch.allclose(kept[name], value, rtol=1e-3, atol=1e-6) for name, value in wanted.items())


def test_other_weights_beside_the_json_are_refused(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="missing, or not those"):
        xai.load_model(str(folder))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "other"}, "its format is 'other'"),
        ({"input": {"colour": 3}}, "is no model file"),
        ({"class_names": None}, "is no model file"),
        ({"architecture": "resnet19"}, "did you mean 'resnet18'"),
        ({"weights": "../../elsewhere.safetensors"}, "missing, or not those"),
    ],
)
def test_a_damaged_description_is_one_sentence(folder: Path, change: dict[str, object], sentence: str) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=sentence):
        xai.load_model(str(folder))


def test_a_model_file_takes_no_other_weights(folder: Path) -> None:
    with pytest.raises(UserError, match="leave them out"):
        xai.load_model(str(folder), weights="none")
    with pytest.raises(UserError, match="no model file"):
        xai.load_model(str(folder / "nowhere" / "model.json"))
    with pytest.raises(UserError, match="are those of test_model_files:four, not of resnet18"):
        xai.load_model("resnet18", weights=folder / "model.safetensors")
    with pytest.raises(UserError, match="do not fit"):
        xai.load_model(seeded(ResidualNet), weights=folder / "model.safetensors")
