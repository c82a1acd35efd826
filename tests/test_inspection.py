"""Feature maps come from a real forward pass, and filters are the network's own weights."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from networks import Head, ResidualNet, hooked_forward, seeded
from torch import nn

import xai
from xai.errors import UserError


@pytest.fixture(scope="module")
def model():
    return xai.load_model(seeded(ResidualNet), input_size=32)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def test_maps_equal_a_hooked_forward_and_not_chained_convolutions(model, picture):
    pixels = model.prepare(xai.load_image(picture)).pixels
    inputs = (pixels - model.classifier.mean) / model.classifier.std
    _, seen = hooked_forward(model.network, inputs)
    for name in model.layers():
        made = xai.feature_maps(model, picture, name)
        assert np.abs(made.maps - seen[name][0].numpy()).max() <= 1e-6 * max(1, float(seen[name].abs().max()))
    chained = inputs
    for module in (m for m in model.network.modules() if isinstance(m, nn.Conv2d)):
        chained = module(chained)
    last = "stage2.1.conv2"
    assert not np.allclose(xai.feature_maps(model, picture, last).maps, chained[0].numpy(), atol=1e-2)


def test_every_order_is_that_of_the_table(model, picture):
    traced = xai.trace(model, picture)
    columns = {"mean": "mean", "max": "maximum", "variance": "variance", "contribution": "contribution"}
    for sort, column in columns.items():
        made = xai.feature_maps(traced, layer="stage2", sort=sort)
        table = made.table()
        assert table["channel"].tolist() == made.order.tolist()
        assert table[column].is_monotonic_decreasing
        recomputed = {"mean": made.maps.mean((1, 2)), "max": made.maps.max((1, 2)), "variance": made.maps.var((1, 2))}
        if sort in recomputed:
            assert np.allclose(table[column], recomputed[sort][made.order], rtol=1e-4)
    assert xai.feature_maps(traced, layer="stage2", sort="channel").order.tolist() == list(range(8))


def test_contributions_add_up_to_the_score(model, picture):
    traced = xai.trace(model, picture)
    made = xai.feature_maps(traced, layer="stage2", target=3)
    score = float(traced.scores.detach()[0, 3] - model.network.head.fc.bias[3])
    assert made.contributions.sum() == pytest.approx(score, abs=1e-5)
    assert made.target_name == "class 3"
    assert xai.feature_maps(traced, layer="stage2").contributions is None
    predicted = xai.feature_maps(traced, layer="stage2", sort="contribution").target_name
    assert predicted == xai.predict(traced)[0][0]


def test_a_layer_that_the_trace_lacks_is_traced_again(model, picture):
    few = xai.trace(model, picture, layers=["stage1"], resize="squash")
    made = xai.feature_maps(few, layer="stage2.0")
    assert np.allclose(made.maps, xai.feature_maps(model, picture, "stage2.0", resize="squash").maps, atol=1e-6)
    assert made.spec.resize == "squash"


def test_activation_map_and_figure(model, picture):
    made = xai.feature_maps(model, picture, "stage1", sort="max")
    assert np.allclose(made.activation_map("max"), made.maps.max(0))
    assert np.allclose(made.activation_map("l2"), np.sqrt((made.maps**2).sum(0)), rtol=1e-5)
    figure = made.figure(4)
    written = [text.get_text() for text in figure.findobj(Text)]
    assert written[:4] == [str(c) for c in made.order[:4]]
    assert any("stage1" in text for text in written)
    assert "4 maps" in figure.get_label()
    assert not made.maps.flags.writeable


def test_filters_are_the_weights(model):
    first = xai.filters(model)
    own = model.network.stem[0].weight
    assert (first.layer_name, first.shown) == ("stem.0", "colours")
    assert np.array_equal(first.weight, own.numpy())
    limit = float(own.abs().max())
    assert first.kernels[2, 1, 0, 2] == pytest.approx(0.5 + float(own[2, 2, 1, 0]) / (2 * limit), abs=1e-6)
    deeper = xai.filters(model, "down")
    assert deeper.shown == "components"
    assert deeper.kernels.shape == (8, 3, 3)
    assert ((deeper.explained > 0) & (deeper.explained <= 1)).all()
    one = xai.filters(model, "down", show="channel", input_channel=4)
    assert np.array_equal(one.kernels, model.network.down.weight[:, 4].numpy())
    flat = deeper.weight.reshape(8, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert np.allclose(deeper.similarity, unit @ unit.T, atol=1e-6)
    assert sorted(deeper.order) == list(range(8))
    table = deeper.table()
    assert np.allclose(table["norm"], np.linalg.norm(flat, axis=1), rtol=1e-5)
    assert deeper.spec.params == {"show": "components"}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, p: xai.feature_maps(m, p, "stage9"), r"Unknown layer 'stage9'.*stage1"),
        (lambda m, p: xai.feature_maps(m, p, sort="size"), r"Unknown sort 'size'.*variance"),
        (lambda m, p: xai.feature_maps(m, p, target="lion"), "Unknown class 'lion'"),
        (lambda m, p: xai.filters(m, "stage1"), "Unknown convolution 'stage1'"),
        (lambda m, p: xai.filters(m, show="rainbow"), r"Unknown show 'rainbow'.*colours"),
        (lambda m, p: xai.filters(m, "down", show="colours"), "3 input channels"),
        (lambda m, p: xai.filters(m, "down", show="channel", input_channel=6), "Choose 0 to 5"),
    ],
)
def test_mistakes_are_one_sentence(model, picture, call, said):
    with pytest.raises(UserError, match=said):
        call(model, picture)


def test_a_network_without_convolutions_has_no_filters():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.AvgPool2d(4)
            self.head = Head(3)

        def forward(self, x):
            return self.head(self.pool(x))

    model = xai.load_model(Patches(), input_size=16)
    assert list(model.layers()) == ["pool"]
    assert torch.is_tensor(model.network.head.fc.weight)
    with pytest.raises(UserError, match="has no convolution"):
        xai.filters(model)
