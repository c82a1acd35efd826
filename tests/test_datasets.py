"""Which pictures a folder holds, how they are split, and torchvision's data sets laid out as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision

from xai.errors import UserError
from xai.io.datasets import find_labelled
from xai.io.torchvision_sets import data_folder


def save_picture(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full((12, 16, 3), value, np.uint8)).save(path)


def folder_of(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for number in range(count):
            save_picture(root / name / f"{number}.png", number)
    return root


def test_holds_out_the_same_share_of_every_class(tmp_path: Path) -> None:
    found = find_labelled(folder_of(tmp_path, {"cat": 40, "dog": 20, "eel": 2}), validation_share=0.1)
    assert found.class_names == ("cat", "dog", "eel")
    assert np.bincount(found.validation.labels).tolist() == [4, 2, 1]
    assert np.bincount(found.train.labels).tolist() == [36, 18, 1]
    assert not set(found.train.files) & set(found.validation.files)
    for file, label in zip(found.train.files, found.train.labels, strict=True):
        assert file.parent.name == found.class_names[label]


def test_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 40, "dog": 20})
    assert find_labelled(tmp_path).digest == find_labelled(tmp_path).digest
    assert find_labelled(tmp_path).digest != find_labelled(tmp_path, seed=1).digest


def test_takes_a_split_that_is_there(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"n01440764": 3, "n02102040": 2})
    folder_of(tmp_path / "val", {"n02102040": 4})
    found = find_labelled(tmp_path)
    assert found.class_names == ("tench", "English springer")  # Imagenette says its names nowhere
    assert (len(found.train.files), found.validation.labels) == (5, (1, 1, 1, 1))


def test_reads_the_original_layout_of_tiny_imagenet(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"n02124075/images": 2, "n07920052/images": 2})
    folder_of(tmp_path / "val", {"images": 2})
    (tmp_path / "val" / "val_annotations.txt").write_text(
        "0.png\tn07920052\t0\t0\t9\t9\n1.png\tn02124075\t0\t0\t9\t9\n"
    )
    (tmp_path / "words.txt").write_text("n02124075\tEgyptian cat\nn07920052\tespresso, strong coffee\n")
    found = find_labelled(tmp_path)
    assert found.class_names == ("Egyptian cat", "espresso")
    assert [
        (file.name, label) for file, label in zip(found.validation.files, found.validation.labels, strict=True)
    ] == [
        ("1.png", 0),
        ("0.png", 1),
    ]


def test_names_that_would_be_equal_stay_whole(tmp_path: Path) -> None:
    folder_of(tmp_path, {"n1": 2, "n2": 2, "n3": 2})
    (tmp_path / "classes.csv").write_text('wnid,name\nn1,"crane, bird"\nn2,"crane, machine"\nn3,"cab, taxi"\n')
    assert find_labelled(tmp_path).class_names == ("crane, bird", "crane, machine", "cab")


def test_some_classes_can_be_kept_by_folder_or_by_name(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"n1": 3, "n2": 2, "n3": 2})
    folder_of(tmp_path / "val", {"n1": 1, "n2": 2, "n3": 3})
    (tmp_path / "classes.csv").write_text("wnid,name\nn1,cab\nn2,dog\nn3,eel\n")
    found = find_labelled(tmp_path, classes=["Eel", "n1"])
    assert found.class_names == ("cab", "eel")
    assert [file.parent.name for file in found.train.files] == ["n1"] * 3 + ["n3"] * 2
    assert found.train.labels == (0, 0, 0, 1, 1) and found.validation.labels == (0, 1, 1, 1)
    assert {file.parent.name for file in found.validation.files} == {"n1", "n3"}
    assert found.digest != find_labelled(tmp_path).digest
    with pytest.raises(UserError, match=r"'owl'.*cab, dog, eel"):
        find_labelled(tmp_path, classes=["cab", "owl"])


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [({}, "needs at least two class folders"), ({"cat": 3}, "it has 1"), ({"cat": 3, "dog": 1}, "'dog' has only one")],
)
def test_a_folder_that_cannot_be_used_gets_one_sentence(tmp_path: Path, counts: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find_labelled(folder_of(tmp_path, counts))


def test_validation_classes_must_be_among_those_of_training(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"cat": 2, "dog": 2})
    folder_of(tmp_path / "val", {"cat": 2, "eel": 2})
    with pytest.raises(UserError, match="lacks: eel"):
        find_labelled(tmp_path)


def test_a_missing_folder_names_the_data_sets_that_can_be_downloaded() -> None:
    with pytest.raises(UserError, match="CIFAR10"):
        data_folder("no/such/folder")


class Downloaded:
    """A data set such as torchvision's, without a download."""

    classes = ("light", "dark/dim")

    def __init__(self, root: Path, train: bool, download: bool) -> None:
        assert download and Path(root).is_dir()
        self.count = 4 if train else 2

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> tuple[PIL.Image.Image, int]:
        return PIL.Image.fromarray(np.full((8, 8, 3), 10 * place, np.uint8)), place % 2


def test_a_torchvision_set_becomes_folders_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Downloaded)
    found = find_labelled(data_folder("CIFAR10"))
    assert found.class_names == ("dark or dim", "light")
    assert (len(found.train.files), len(found.validation.files)) == (4, 2)
    pixels = np.asarray(PIL.Image.open(found.train.files[-1]))
    assert (pixels == 20).all() and found.train.labels[-1] == 1  # picture 2 is light
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", None)
    assert find_labelled(data_folder("CIFAR10")).digest == found.digest


def test_a_download_that_fails_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading cifar.tar.gz\nand a long story")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    with pytest.raises(UserError, match=r"CIFAR10 cannot be downloaded: Error downloading cifar.tar.gz\."):
        data_folder("CIFAR10")
