"""A wrong name is answered with the valid ones: xai.errors."""

from __future__ import annotations

from xai.errors import UserError, one_of


def test_one_of_names_the_choices_and_guesses():
    error = one_of("layer", "Layer_4", ["layer3", "layer4"])
    assert isinstance(error, UserError) and isinstance(error, ValueError)
    assert str(error) == "Unknown layer 'Layer_4'. Choose one of: layer3, layer4 (did you mean 'layer4'?)."
    assert str(one_of("layer", "zzz", ["layer3"])) == "Unknown layer 'zzz'. Choose one of: layer3."
    assert str(one_of("target", 7, ["a"])).startswith("Unknown target '7'")
