"""The sample photographs are real files of installed packages, found without import or download."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import sklearn.datasets

from xai.errors import UserError
from xai.io.images import load_image
from xai.io.samples import SAMPLES, load_sample, sample_names


def test_samples_are_named_in_display_order():
    assert sample_names() == tuple(SAMPLES)
    assert sample_names()[:3] == ("cat", "coffee", "rocket")
    assert {"motorcycle", "china", "flower", "grace_hopper", "astronaut"} <= set(SAMPLES)
    assert all(name == sample.name for name, sample in SAMPLES.items())
    assert all(sample.title and sample.credit and sample.licence for sample in SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_a_colour_photograph_listed_by_its_package(name):
    sample = SAMPLES[name]
    listed = {str(path) for path in importlib.metadata.files(sample.package.lower()) or ()}
    assert sample.file in listed  # came with the installation: nothing was fetched later
    image = load_image(name)
    assert image.name == name and image.hint == f"sample:{name}"
    assert min(image.size) >= 300
    assert image.pixels.std(axis=2).mean() > 2  # not grey
    assert np.array_equal(np.asarray(load_sample(name)), image.pixels)


def test_samples_equal_what_the_packages_load():
    assert np.array_equal(load_image("cat").pixels, skimage.data.cat())
    assert np.array_equal(load_image("motorcycle").pixels, skimage.data.stereo_motorcycle()[0])
    assert np.array_equal(load_image("tissue").pixels, skimage.data.immunohistochemistry())
    assert np.array_equal(load_image("china").pixels, sklearn.datasets.load_sample_image("china.jpg"))


def test_unknown_and_missing_samples_are_user_errors():
    with pytest.raises(UserError, match=r"Unknown sample 'cofee'.*did you mean 'coffee'"):
        load_sample("cofee")
    with pytest.raises(UserError, match="comes with scikit-image; install"):
        _ = replace(SAMPLES["cat"], file="no_such_module_here/cat.png").path
    with pytest.raises(UserError, match="comes with scikit-image; install"):
        _ = replace(SAMPLES["cat"], file="skimage/data/no_such_file.png").path


def test_samples_are_frozen():
    with pytest.raises(FrozenInstanceError):
        SAMPLES["cat"].name = "dog"  # type: ignore[misc]
    with pytest.raises(TypeError):
        SAMPLES["dog"] = SAMPLES["cat"]  # type: ignore[index]


def test_finding_samples_imports_no_package():
    code = (
        "import sys; from xai.io.samples import SAMPLES; [s.path for s in SAMPLES.values()];"
        "print([m for m in ('skimage', 'sklearn', 'matplotlib', 'torch') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
