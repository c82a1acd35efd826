"""explain, predict, trace and compare keep the contracts of the public interface."""

import json

import numpy as np
import pytest
import torch
from networks import ResidualNet, VggNet, seeded

import xai
from xai.compute.trace import score_pixels
from xai.errors import UserError
from xai.registry import METHODS
from xai.spec import RunSpec


@pytest.fixture(scope="module")
def model():
    return xai.load_model(seeded(ResidualNet), input_size=32)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_public_names_are_all_there():
    for name in xai.__all__:
        assert getattr(xai, name) is not None
    assert {"load_model", "load_image", "trace", "explain", "predict", "compare", "METHODS", "MODELS"} <= set(dir(xai))
    with pytest.raises(AttributeError, match="no attribute 'explains'"):
        _ = xai.explains


def test_predict_sorts_probabilities(model, picture):
    found = xai.predict(model, picture, k=99)
    scores = model.classifier(model.prepare(xai.load_image(picture)).pixels)[0]
    assert [index for _, _, index in found] == scores.argsort(descending=True).tolist()
    assert [p for _, p, _ in found] == pytest.approx(scores.softmax(0).sort(descending=True).values.tolist(), abs=1e-6)
    assert sum(p for _, p, _ in found) == pytest.approx(1, abs=1e-5)
    assert len(xai.predict(model, picture)) == 5
    assert [index for _, _, index in xai.predict(xai.trace(model, picture), k=2)] == [found[0][2], found[1][2]]
    with pytest.raises(UserError, match="k must be at least 1"):
        xai.predict(model, picture, k=0)


def test_targets_by_index_name_list_and_prediction(model, picture):
    named = xai.load_model(seeded(ResidualNet), input_size=32, class_names=["cat", "dog", "Owl bird", "crane", "crane"])
    by_index = xai.explain(named, picture, target=2)
    assert by_index.target == (2,)
    for target in ("Owl bird", "owl_bird", "2", np.int64(2), torch.tensor(2)):
        assert np.array_equal(xai.explain(named, picture, target=target).map, by_index.map)
    assert xai.explain(named, picture, target=["dog", 2]).target_names == ("dog", "Owl bird")
    assert xai.explain(named, picture).target == (xai.predict(named, picture)[0][2],)
    assert xai.explain(named, picture, target=4).target_names == ("crane (4)",)
    assert xai.explain(named, picture, target="crane (4)").target == (4,)
    for target, said in (("crane", "one index of: 3, 4"), ("wolf", "Unknown class 'wolf'"), (5, "classes 0 to 4")):
        with pytest.raises(UserError, match=said):
            xai.explain(named, picture, target=target)
    for target in ([], -1, 1.5, "", object()):
        with pytest.raises(UserError):
            xai.explain(named, picture, target=target)


def test_imagenet_names():
    imagenet = xai.load_model("squeezenet1_1", weights=None, input_size=64)
    assert (imagenet.find_class("crane"), imagenet.find_class("crane bird")) == (517, 134)
    assert imagenet.find_class("Egyptian cat") == 285
    assert imagenet.class_names[569] == "garbage truck"
    with pytest.raises(UserError, match=r"tiger cat.*Persian cat"):
        imagenet.find_class("cat")


def test_source_map_lies_in_the_box(model, picture):
    made = xai.explain(model, picture, "hires_cam", target=1)
    left, top, right, bottom = made.box
    placed = made.source_map()
    assert placed.shape == (1, 60, 90)
    assert placed.dtype == np.float32
    inside = np.zeros((60, 90), bool)
    inside[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    assert not placed[0][~inside].any()
    row, column = np.unravel_index(np.abs(made.map[0]).argmax(), made.map[0].shape)
    x = int(left + (column + 0.5) * (right - left) / 32)
    y = int(top + (row + 0.5) * (bottom - top) / 32)
    assert abs(placed[0, y, x]) >= 0.8 * np.abs(made.map).max()
    assert np.sign(placed[0, y, x]) == np.sign(made.map[0, row, column])


def test_saved_files_hold_map_and_record(model, picture, tmp_path):
    made = xai.explain(model, picture, target=[1, 2])
    assert np.array_equal(np.load(made.save(tmp_path / "map.npy")), made.map)
    made.save(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    spec = RunSpec.load(tmp_path / "figure.json")
    assert spec == made.spec
    assert spec.image_digest == xai.load_image(picture).digest
    assert spec.weights_digest == model.weights_digest
    assert json.loads((tmp_path / "map.json").read_text())["target"] == [1, 2]
    with pytest.raises(UserError, match=r"must end in \.png.*\.npy"):
        made.save(tmp_path / "figure.gif")


def test_a_trace_belongs_to_its_picture(model, picture):
    traced = xai.trace(model, picture)
    assert np.array_equal(xai.explain(traced, picture).map, xai.explain(traced).map)
    for call in (xai.explain, xai.predict, xai.feature_maps, xai.compare):
        with pytest.raises(UserError, match="another picture"):
            call(traced, picture[::-1].copy())
    several = xai.trace(model, [picture, picture])
    assert several.layers == (model.default_layer,)
    with pytest.raises(UserError, match="holds 2 pictures"):
        xai.explain(several)


def test_layers_not_offered_and_not_kept_are_traced_again(model, picture):
    traced = xai.trace(model, picture)
    assert "stage1.bn2" not in traced.layers
    made = xai.explain(traced, layer="stage1.bn2", target=1)
    assert made.layer == "stage1.bn2"
    assert np.allclose(made.map, xai.explain(model, picture, layer="stage1.bn2", target=1).map, atol=1e-6)
    with pytest.raises(UserError, match=r"Unknown layer 'stage7'.*stage2"):
        xai.explain(traced, layer="stage7")


def test_fused_layers_are_scaled_averaged_and_scaled(model, picture):
    def unit(values):
        return (values - values.min()) / (values.max() - values.min())

    parts = [xai.explain(model, picture, target=1, layer=name).map[0] for name in ("stage1", "stage2")]
    made = xai.explain(model, picture, target=1, layer=["stage1", "stage2"])
    assert np.allclose(made.map[0], unit((unit(parts[0]) + unit(parts[1])) / 2), atol=1e-5)
    assert made.layer == ("stage1", "stage2")
    assert not made.signed
    told = []
    layers = ["stage1", "stage2"]
    xai.explain(model, picture, layer=layers, augment_smooth=True, on_progress=lambda done, _: told.append(done))
    assert told == pytest.approx([n / 12 for n in range(1, 13)])


def test_a_dead_network_gives_zero_maps_not_nan(picture):
    network = seeded(VggNet)
    for parameter in network.parameters():
        parameter.data.zero_()
    made = xai.explain(xai.load_model(network, input_size=32), picture, layer=None)
    assert not made.map.any()
    assert np.isfinite(made.source_map()).all()


def test_compare_tabulates_every_method(model, picture):
    table = xai.compare(model, picture, target=1)
    made = table.attrs["explanations"]
    quick = [key for key, method in xai.METHODS.items() if method.speed == "live" and method.supports(model) is None]
    assert table["method"].tolist() == [e.method.key for e in made] == quick
    assert table["highest"].tolist() == [float(e.map.max()) for e in made]
    assert len(xai.compare(xai.trace(model, picture), methods=["gradcam"], target=[1, 2])) == 2
    with pytest.raises(UserError, match="Unknown method"):
        xai.compare(model, picture, methods=["magic"])


@pytest.mark.parametrize("resize", ["center-crop", "squash"])
def test_batches_equal_single_pictures(model, picture, resize):
    pictures = [picture, picture[:, :50].copy(), picture[::2].copy()]
    made = xai.explain_batch(model, pictures, "hires_cam", resize=resize)
    for one, alone in zip(made, (xai.explain(model, p, "hires_cam", resize=resize) for p in pictures), strict=True):
        assert one.target == alone.target
        assert one.box == alone.box
        assert np.allclose(one.map, alone.map, atol=1e-6)
        assert one.spec == alone.spec


def test_a_picture_too_small_for_keep_is_one_sentence():
    model = xai.load_model("alexnet", weights=None, input_size=64)
    for call in (xai.explain, xai.predict, xai.trace):
        with pytest.raises(UserError, match=r"cannot take a picture of 9 x 7 as it is; use resize"):
            call(model, np.zeros((7, 9, 3), np.uint8), resize="keep")


PROMISED = ("integrated_gradients", "gradient_shap", "deep_lift", "deep_lift_shap", "lrp", "kernel_shap")


def test_methods_say_how_far_their_values_add_up(model, picture):
    """The sum is that of the map itself, and what it should be is asked of the network here."""
    for key in PROMISED:
        made = xai.explain(model, picture, key, target=[1, 2], **({"samples": 40} if key == "kernel_shap" else {}))
        assert len(made.totals) == 2 and made.method.total
        for values, (found, _), name in zip(made.map, made.totals, made.target_names, strict=True):
            shown = values
            if key == "kernel_shap":  # each superpixel's value stands at each of its pixels
                labels = made.details.segments.numpy()
                shown = np.array([values[labels == label][0] for label in range(labels.max() + 1)])
            assert found == pytest.approx(float(shown.astype(np.float64).sum()), abs=1e-5)
            assert f"{found:.4g} against " in made.totals_text and name in made.totals_text
    made = xai.explain(model, picture, "deep_lift", target=1)
    pixels = model.prepare((made.image,), "center-crop").pixels
    rise = [float(score_pixels(model.classifier, each)[0, 1]) for each in (pixels, torch.zeros_like(pixels))]
    assert made.totals[0] == pytest.approx((rise[0] - rise[1],) * 2, abs=1e-4)
    assert made.totals_text.endswith("for the score of the picture less that of the baseline.")


def test_nothing_is_said_of_sums_where_nothing_is_promised(model, picture):
    for key, options in {"saliency": {}, "grad_cam": {}, "deep_lift": {"channels": "norm"}}.items():
        made = xai.explain(model, picture, key, target=1, **options)
        assert made.totals == () and made.totals_text == ""
    totals = {key for key, method in METHODS.items() if method.total}
    assert totals == set(PROMISED)
