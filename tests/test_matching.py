"""Classes and layers of one network found in another."""

from __future__ import annotations

import pytest
from networks import CLASSES, ResidualNet, VggNet, seeded

import xai
from xai.errors import UserError
from xai.matching import check_layers, match_classes, match_layers
from xai.model import Model


def named(names: list[str], build: type = ResidualNet) -> Model:
    assert len(names) == CLASSES
    return xai.load_model(seeded(build), input_size=32, class_names=names)


def test_classes_are_found_by_name_in_any_order_and_spelling() -> None:
    first = named(["tabby cat", "dog", "jay", "kite", "crane"])
    other = named(["jay", "Tabby_Cat", "crane", "owl", "DOG"], VggNet)
    assert match_classes(first, [0, 1, 2, 4], other) == (1, 4, 0, 2)
    assert match_classes(other, [1], first) == (0,)


def test_a_class_that_the_other_lacks_is_one_sentence() -> None:
    first, other = named(["a", "b", "c", "d", "e"]), named(["e", "x", "b", "y", "z"], VggNet)
    with pytest.raises(
        UserError, match=r"^VggNet has no class 'c'; .* matched by name, and both know 2, such as 'b'\.$"
    ):
        match_classes(first, [1, 2], other)
    with pytest.raises(UserError, match="the two share none"):
        match_classes(first, [0], named(["1x", "2x", "3x", "4x", "5x"], VggNet))


def test_names_that_occur_twice_are_told_apart_only_by_equal_lists() -> None:
    twice = ["crane", "b", "crane", "d", "e"]
    first = named(twice)
    assert match_classes(first, [0, 2], named(twice, VggNet)) == (0, 2)
    with pytest.raises(UserError, match="need not mean the same class by 'crane'"):
        match_classes(first, [0], named(["b", "crane", "x", "d", "e"], VggNet))
    with pytest.raises(UserError, match="need not mean the same class by 'crane'"):
        match_classes(named(["b", "crane", "x", "d", "e"]), [1], named(twice, VggNet))


def test_each_network_is_asked_at_the_layers_that_it_has() -> None:
    residual, vgg = named(list("abcde")), named(list("abcde"), VggNet)
    assert match_layers(residual, ["stage1", "stage2", "3"]) == ("stage1", "stage2")
    assert match_layers(vgg, ["stage1", "stage2", "3"]) == ("3",)
    assert match_layers(vgg, ["stage1"]) == (vgg.default_layer,) == match_layers(vgg, [])
    assert match_layers(residual, [("stage1", "stage2"), ("stage1", "3")]) == (("stage1", "stage2"),)
    assert check_layers([residual, vgg], ["stage1", "3"]) == ()
    [sentence] = check_layers([residual, vgg], ["stage1"])
    assert "VggNet has no layer called stage1" in sentence and vgg.default_layer in sentence
    with pytest.raises(UserError, match="Unknown layer '9'"):
        check_layers([residual, vgg], ["stage1", "9"])
