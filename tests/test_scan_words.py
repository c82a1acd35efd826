"""Words of clusters: weights worked out by hand, sources of words, and CLIP by a stand-in."""

import sys
import types

import numpy as np
import pytest
import torch

from xai.errors import UserError
from xai.scan import words


def test_what_all_clusters_share_weighs_nothing():
    terms = words.count_terms([["red", "disc"], ["red", "disc"], ["red", "star"], ["red", "star"]], "test")
    found = words.name_clusters(terms, np.array([0, 0, 1, 1]), 3)
    assert [[word.term for word in each] for each in found] == [["disc"], ["star"], []]
    assert (found[0][0].inside, found[0][0].outside) == (1, 0)


def test_weights_are_those_of_the_formula():
    random = np.random.default_rng(0)
    scores, clusters = random.integers(3, size=(30, 5)).astype(np.float32), random.integers(4, size=30)
    found = words.weigh_terms(words.Terms(tuple("abcde"), scores, "test"), clusters, 4)
    mean = np.mean([scores[clusters == c].sum() for c in range(4)])
    plain = np.array(
        [
            [
                scores[clusters == c, t].sum() / scores[clusters == c].sum() * np.log(1 + mean / scores[:, t].sum())
                for t in range(5)
            ]
            for c in range(4)
        ]
    )
    for c in range(4):
        others = np.delete(plain, c, 0).mean(0)
        np.testing.assert_allclose(found[c], np.maximum(plain[c] - others, 0), rtol=1e-5)


def test_an_empty_cluster_has_no_words_and_does_not_count():
    terms = words.count_terms([["a"], ["b"]], "test")
    both = words.weigh_terms(terms, np.array([0, 1]), 2)
    three = words.weigh_terms(terms, np.array([0, 1]), 3)
    np.testing.assert_allclose(three[:2], both)
    assert not three[2].any()


def test_names_give_words_without_numbers_and_noise():
    assert words.words_of_name("birds/GoldenEagle_IMG-0042.jpeg") == ["birds", "golden", "eagle"]
    assert words.words_of_name("DSC_0001.jpg") == []


def test_tags_are_found_by_path_or_by_file_name(tmp_path):
    (tmp_path / "tags.csv").write_text("file,tags,place\na/one.png,red; round,home\ntwo.png,blue,\n", encoding="utf-8")
    tags = words.read_tags(tmp_path / "tags.csv")
    assert words.match_tags(["a/one.png", "b/two.png", "none.png"], tags) == [["red", "round", "home"], ["blue"], ()]
    (tmp_path / "bad.csv").write_text("file\na.png\n", encoding="utf-8")
    for name in ("bad.csv", "missing.csv"):
        with pytest.raises(UserError, match="tags"):
            words.read_tags(tmp_path / name)


def test_what_a_map_leaves_dark_fades_to_the_mean():
    pixels = np.array([[[200, 0, 0], [0, 100, 0]]], np.uint8)
    np.testing.assert_array_equal(words.dim_outside(pixels, np.zeros((1, 2))), pixels)
    np.testing.assert_array_equal(words.dim_outside(pixels, np.array([[1.0, 0]])), [[[200, 0, 0], [100, 50, 0]]])


def test_clip_is_asked_for_politely_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match="clip"):
        words.clip_terms([], ["red"], weights="file.pt")


def test_clip_scores_are_probabilities_over_terms(monkeypatch):
    """A stand-in whose text vectors are axes and whose picture vector is the mean colour."""

    class Clip:
        def eval(self):
            return self

        def encode_text(self, tokens):
            return tokens

        def encode_image(self, pixels):
            return pixels.mean((2, 3))

    def to_axes(sentences):
        return torch.tensor([[float(word in each) for word in ("red", "green", "blue")] for each in sentences])

    def prepare(picture):
        return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float()

    stand_in = types.SimpleNamespace(
        create_model_and_transforms=lambda model, pretrained: (Clip(), None, prepare),
        get_tokenizer=lambda name: to_axes,
    )
    monkeypatch.setitem(sys.modules, "open_clip", stand_in)
    left_red = np.zeros((2, 4, 3), np.uint8)
    left_red[:, :2, 0], left_red[:, 2:, 2] = 255, 255
    seen = []
    terms = words.clip_terms([left_red], ["red", "green", "blue"], weights="w", on_progress=seen.append)
    np.testing.assert_allclose(terms.scores, [[0.5, 0, 0.5]], atol=1e-6)
    assert terms.names == ("red", "green", "blue") and seen == [1.0]
    looked = np.repeat([[1.0, 1, 0, 0]], 2, axis=0)
    aimed = words.clip_terms([left_red], ["red", "green", "blue"], weights="w", maps=[looked]).scores[0]
    assert aimed[0] > 0.99  # the right half is dimmed to purple, the left stays red
