"""Superpixels against scikit-image, the lime package and loops: xai.compute.segments."""

import numpy as np
import pytest
import skimage.data
import torch
from skimage.transform import resize

from xai.compute.segments import SEGMENTERS, Segmenter, segment
from xai.errors import UserError


@pytest.fixture(scope="module")
def picture():
    """A photograph, uint8 (3, 90, 120)."""
    photo = resize(skimage.data.astronaut()[:384], (90, 120), anti_aliasing=True)
    return torch.from_numpy((photo * 255).round().astype(np.uint8)).permute(2, 0, 1)


def as_image(picture):
    return picture.permute(1, 2, 0).numpy()


def same_cut(one, other):
    """Whether two label pictures cut alike, whatever the numbers."""
    pairs = {(int(a), int(b)) for a, b in zip(np.ravel(one), np.ravel(other), strict=True)}
    return len(pairs) == len(np.unique(one)) == len(np.unique(other))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_labels_run_from_0_without_gaps(name, picture):
    labels = segment(picture, Segmenter(name))
    assert labels.dtype == torch.int64 and labels.shape == (90, 120)
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert 5 < int(labels.max()) + 1 < 200


@pytest.mark.parametrize("name", SEGMENTERS)
def test_bytes_and_floats_are_cut_alike(name, picture):
    labels = segment(picture, Segmenter(name))
    assert torch.equal(labels, segment(picture.float() / 255, Segmenter(name)))
    assert torch.equal(labels, segment(picture.double() / 255, Segmenter(name)))


def test_floats_beyond_1_are_refused(picture):
    with pytest.raises(UserError, match=r"floats in \[0, 1\], not floats in \[.*254\]"):
        segment(picture.float(), Segmenter())


def test_quickshift_is_that_of_the_lime_package(picture):
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    cut = SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=7)
    assert np.array_equal(segment(picture, Segmenter()).numpy(), cut(as_image(picture)))


def test_options_reach_scikit_image(picture):
    from skimage.segmentation import felzenszwalb, quickshift, slic

    image = as_image(picture)
    expected = {
        Segmenter("slic", n_segments=20, compactness=5.0, sigma=1.0): slic(image, 20, 5.0, sigma=1.0),
        Segmenter("felzenszwalb", scale=40.0, min_size=30, sigma=0.8): felzenszwalb(image, 40, 0.8, 30),
        Segmenter("quickshift", kernel_size=3.0, max_dist=6.0, ratio=0.5): quickshift(image, 0.5, 3, 6),
    }
    for how, labels in expected.items():
        assert same_cut(segment(picture, how), labels), how.name
    counts = [int(segment(picture, Segmenter("watershed", n_segments=n)).max()) + 1 for n in (12, 100)]
    assert counts[0] <= 20 < 60 < counts[1]


def test_slic_of_the_library_starts_at_1_and_ours_at_0(picture):
    from skimage.segmentation import slic

    labels = slic(as_image(picture), 50, 10.0)
    assert labels.min() == 1
    assert segment(picture, Segmenter("slic")).min() == 0


@pytest.mark.parametrize(
    ("size", "count", "rows", "columns"), [((8, 12), 6, 2, 3), ((7, 5), 4, 2, 2), ((3, 2), 99, 3, 2)]
)
def test_the_grid(size, count, rows, columns):
    labels = segment(torch.rand(3, *size), Segmenter("grid", n_segments=count))
    for y in range(size[0]):
        for x in range(size[1]):
            assert labels[y, x] == (y * rows // size[0]) * columns + x * columns // size[1]
    assert labels.unique().numel() == rows * columns


@pytest.mark.parametrize("name", ["slic", "felzenszwalb", "watershed"])
def test_rows_and_columns_stay_what_they_are(name):
    pixels = torch.zeros(3, 20, 40)
    pixels[0, :, :20] = 1.0
    pixels[2, :, 20:] = 1.0
    labels = segment(pixels, Segmenter(name, n_segments=2, min_size=5))
    assert labels[:, :19].unique().numel() == 1 and labels[:, 21:].unique().numel() == 1
    assert labels[0, 0] != labels[0, -1]


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16)])
def test_plain_and_tiny_pictures(name, size):
    labels = segment(torch.full((3, *size), 0.5), Segmenter(name))
    assert labels.shape == size
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_same_twice_and_without_the_global_generators(name, picture):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(segment(picture, Segmenter(name)), segment(picture, Segmenter(name)))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


def test_an_unknown_name_lists_the_valid_ones(picture):
    with pytest.raises(UserError, match=r"Unknown segmenter 'slick'.*quickshift, slic, felzenszwalb, watershed, grid"):
        segment(picture, Segmenter("slick"))
