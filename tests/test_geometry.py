"""Working pixels are the weights' own preprocessing, and their box says where they come from."""

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision

from xai.errors import UserError
from xai.io import geometry
from xai.io.geometry import InputFormat, prepare_images
from xai.io.images import load_image
from xai.io.models import MODELS
from xai.load import load_model


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "convnext_tiny", "inception_v3"])
@pytest.mark.parametrize("size", [(451, 300), (300, 451), (640, 427), (31, 20), (224, 224), (333, 1000)])
def test_center_crop_equals_torchvision(name, size):
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    image = load_image(noise(*size))
    expected = weights(image.to_pil())
    fmt = MODELS[name].preset("IMAGENET1K_V1").fmt
    pixels = prepare_images([image], fmt).pixels
    assert pixels.shape == (1, 3, *fmt.size)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (fmt.mean, fmt.std))
    assert torch.equal((pixels[0] * 255).round(), ((expected * std + mean) * 255).round())


def test_normalisation_is_inside_the_network_and_can_be_undone():
    model = load_model("resnet18", weights=None, input_size=64)
    seen = []
    handle = model.network.conv1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    pixels = model.prepare(load_image("cat")).pixels
    model.classifier(pixels)
    handle.remove()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    restored = seen[0] * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)
    assert float((restored - pixels).abs().max()) < 1e-6
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1


@pytest.mark.parametrize("resize", ["center-crop", "squash", "keep"])
@pytest.mark.parametrize("size", [(120, 80), (80, 120), (90, 90)])
def test_box_says_where_a_marked_place_lands(resize, size):
    width, height = size
    x, y, half = 0.58 * width, 0.44 * height, 4
    picture = np.zeros((height, width, 3), np.uint8)
    picture[round(y) - half : round(y) + half, round(x) - half : round(x) + half] = 255
    fmt = InputFormat(size=(56, 64), resize=64)
    ready = prepare_images([load_image(picture)], fmt, resize)
    weights = ready.pixels[0, 0]
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in weights.shape), indexing="ij")
    found_y, found_x = (float((weights * grid).sum() / weights.sum()) for grid in (rows, columns))
    left, top, right, bottom = ready.boxes[0]
    down, across = weights.shape
    assert left + found_x * (right - left) / across == pytest.approx(round(x), abs=0.6)
    assert top + found_y * (bottom - top) / down == pytest.approx(round(y), abs=0.6)


def test_squash_shows_all_and_keep_changes_nothing():
    picture = noise(50, 30)
    image = load_image(picture)
    squashed = prepare_images([image], InputFormat(), "squash")
    kept = prepare_images([image], InputFormat(), "keep")
    assert squashed.pixels.shape == (1, 3, 224, 224)
    assert squashed.boxes == kept.boxes == ((0, 0, 50, 30),)
    assert np.array_equal((kept.pixels[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), picture)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000), (2, 1)])
def test_odd_pictures_are_prepared_without_being_blown_up(size):
    ready = prepare_images([load_image(np.full((size[1], size[0], 3), 128, np.uint8))], InputFormat())
    assert ready.pixels.shape == (1, 3, 224, 224)
    assert torch.equal((ready.pixels * 255).round(), torch.full((1, 3, 224, 224), 128.0))
    left, top, right, bottom = ready.boxes[0]
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]


def test_box_is_the_middle():
    wide, tall = (prepare_images([load_image(noise(*size))], InputFormat()) for size in ((512, 256), (256, 512)))
    assert wide.boxes == ((144, 16, 368, 240),)
    assert tall.boxes == ((16, 144, 240, 368),)


def test_wide_pictures_give_the_same_pixels_as_if_resized_whole(monkeypatch):
    image = load_image(noise(900, 300))
    whole = prepare_images([image], InputFormat())
    monkeypatch.setattr(geometry, "LARGEST_RESIZED", 0)
    alone = prepare_images([image], InputFormat())
    assert alone.boxes == whole.boxes
    assert float((alone.pixels - whole.pixels).abs().max()) < 2.5 / 255


def test_input_size_keeps_the_share_that_is_cropped():
    image = PIL.Image.fromarray(noise(640, 480))
    boxes = [load_model("resnet18", weights=None, input_size=n).prepare(load_image(image)).boxes[0] for n in (224, 112)]
    assert boxes[0] == pytest.approx(boxes[1], abs=2)


def test_wrong_requests_are_one_sentence():
    image, small = load_image(noise(40, 30)), InputFormat()
    with pytest.raises(UserError, match=r"center-crop, squash, keep.*did you mean 'squash'"):
        prepare_images([image], small, "squish")
    with pytest.raises(UserError, match="up to 4 megapixels"):
        prepare_images([load_image(np.zeros((2001, 2000, 3), np.uint8))], small, "keep")
    with pytest.raises(UserError, match="one size, these have 2"):
        prepare_images([image, load_image(noise(30, 40))], small, "keep")
    with pytest.raises(UserError, match="list of pictures is empty"):
        prepare_images([], small)


def test_nearest_and_bicubic_differ_from_bilinear():
    image = load_image(noise(300, 300))
    made = [
        prepare_images([image], replace(InputFormat(), interpolation=each)).pixels
        for each in ("bilinear", "bicubic", "nearest")
    ]
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
