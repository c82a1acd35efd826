"""Which words set a cluster apart: from attributes of glyphs, names of files, tags in a table, or CLIP."""

from __future__ import annotations

import csv
import importlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.errors import UserError

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
_DULL = frozenset(
    (
        "img",
        "image",
        "picture",
        "photo",
        "dsc",
        "jpg",
        "jpeg",
        "png",
        "webp",
        "the",
        "and",
        "of",
        "train",
        "val",
        "test",
        "copy",
    )
)


@dataclass(frozen=True, eq=False)
class Terms:
    """How much of each term each picture has.

    Attributes:
        names: T terms.
        scores: float32 (N, T), 0 and up: counts, or probabilities of CLIP.
        source: where they come from, in words.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float32]
    source: str


@dataclass(frozen=True)
class Word:
    """A term of a cluster.

    Attributes:
        term: the word.
        weight: contrastive c-TF-IDF, above 0.
        inside, outside: mean score in this cluster and in all others; with counts, the share of pictures that have it.
    """

    term: str
    weight: float
    inside: float
    outside: float


def count_terms(words: Sequence[Sequence[str]], source: str) -> Terms:
    """Count the words of each picture; terms are sorted."""
    names = sorted({word for each in words for word in each})
    places = {name: index for index, name in enumerate(names)}
    scores = np.zeros((len(words), len(names)), np.float32)
    for row, each in enumerate(words):
        for word, count in Counter(each).items():
            scores[row, places[word]] = count
    return Terms(tuple(names), scores, source)


def words_of_name(name: str) -> list[str]:
    """Cut the words out of a path: letters only, from three of them, without what every camera writes."""
    stem = os.path.splitext(name.replace("\\", "/"))[0]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)
    return [word for word in re.findall(r"[^\W\d_]{3,}", spaced.lower()) if word not in _DULL]


def read_tags(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read a table of tags: the first column names a file, all others hold tags, separated by commas or semicolons.

    Raises:
        UserError: the file cannot be read, or has no second column.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            _, *rows = csv.reader(stream)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(
            f"The tags '{os.fspath(path)}' cannot be read as a CSV table with a line of headings."
        ) from error
    if not any(len(row) > 1 for row in rows):
        raise UserError(f"The tags '{os.fspath(path)}' need two columns or more: file, tags.")
    return {
        row[0]: [tag.strip().lower() for cell in row[1:] for tag in re.split("[,;]", cell) if tag.strip()]
        for row in rows
        if row
    }


def match_tags(names: Sequence[str], tags: Mapping[str, Sequence[str]]) -> list[Sequence[str]]:
    """Find the tags of pictures by their whole name or, where that is missing, by its last part."""
    short = {name.replace("\\", "/").rpartition("/")[2]: each for name, each in tags.items()}
    return [tags.get(name, short.get(name.replace("\\", "/").rpartition("/")[2], ())) for name in names]


def weigh_terms(terms: Terms, clusters: Ints, count: int) -> NDArray[np.float64]:
    """Weigh terms by how far they set each cluster apart from the others: float64 (k, T), 0 and up.

    Class-based TF-IDF takes all pictures of a cluster as one text: share of the term in the text, times ln(1 + A / f)
    with f the term's sum over all clusters and A the mean length of a text. What is kept is the part above the mean of
    the other clusters, so a word that all clusters have alike weighs nothing. Pictures weigh by their number, so
    that large clusters do not drown small ones.

    Source: Grootendorst 2022, arXiv 2203.05794, eq. 2; the contrast is added here.
    """
    sums = np.zeros((count, len(terms.names)))
    np.add.at(sums, clusters, terms.scores)
    lengths, used = sums.sum(1, keepdims=True), np.bincount(clusters, minlength=count) > 0
    shares = sums / np.where(lengths > 0, lengths, 1)
    rarity = np.log1p(lengths[used].mean() / np.maximum(sums.sum(0), 1e-12)) if used.any() else 0.0
    weights = shares * rarity
    others = (weights.sum(0) - weights) / max(int(used.sum()) - 1, 1)
    return np.where(used[:, None], np.maximum(weights - others, 0), 0)


def name_clusters(terms: Terms, clusters: Ints, count: int, most: int = 20) -> list[list[Word]]:
    """List the words of each cluster, the most telling first; none for an empty cluster."""
    weights, sizes = weigh_terms(terms, clusters, count), np.bincount(clusters, minlength=count)
    sums = np.zeros(weights.shape)
    np.add.at(sums, clusters, terms.scores)
    everything, found = sums.sum(0), []
    for cluster in range(count):
        inside = sums[cluster] / max(sizes[cluster], 1)
        outside = (everything - sums[cluster]) / max(sizes.sum() - sizes[cluster], 1)
        order = [t for t in np.argsort(-weights[cluster], kind="stable")[:most] if weights[cluster, t] > 0]
        found.append(
            [Word(terms.names[t], float(weights[cluster, t]), float(inside[t]), float(outside[t])) for t in order]
        )
    return found


def clip_terms(
    pictures: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    *,
    weights: str | os.PathLike[str],
    model: str = "ViT-B-32",
    prompt: str = "a picture of {}",
    maps: Sequence[Floats] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Terms:
    """Score terms for pictures by CLIP, without training: softmax over terms of the likeness to a sentence with each.

    Args:
        pictures: uint8 (h, w, 3).
        names: terms to choose from.
        weights: file of CLIP's weights, which the user gives, or a tag of open_clip, which downloads them.
        model: name of the architecture in open_clip.
        prompt: sentence, {} standing for the term.
        maps: for each picture a map (h, w): what it leaves dark is dimmed to the picture's mean first, so that
            terms speak of the region that made the cluster.
        on_progress: called with the fraction done.

    Raises:
        UserError: open_clip is not installed, or the weights do not load.

    Source: Radford et al. 2021, arXiv 2103.00020.
    """
    network, prepare, tokenize, torch = _load_clip(model, weights)
    import PIL.Image

    with torch.inference_mode():
        texts = network.encode_text(tokenize([prompt.format(name) for name in names]))
        texts = texts / texts.norm(dim=-1, keepdim=True)
        rows = []
        for index, pixels in enumerate(pictures):
            shown = pixels if maps is None else dim_outside(pixels, maps[index])
            seen = network.encode_image(prepare(PIL.Image.fromarray(shown))[None])
            seen = seen / seen.norm(dim=-1, keepdim=True)
            rows.append((100 * seen @ texts.T).softmax(-1)[0].float().numpy())
            if on_progress:
                on_progress((index + 1) / len(pictures))
    return Terms(tuple(names), np.stack(rows).astype(np.float32), f"CLIP {model}, {len(names)} terms")


def dim_outside(pixels: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """Fade a picture (h, w, 3) to its mean colour where a map (h, w) is weak; a map of zeros leaves it as it is."""
    strength = np.maximum(values, 0)
    top = float(strength.max())
    if top == 0:
        return pixels
    mean = pixels.mean((0, 1))
    return np.rint(mean + (pixels - mean) * (strength / top)[..., None]).astype(np.uint8)


def _load_clip(model: str, weights: str | os.PathLike[str]) -> tuple[Any, Any, Any, Any]:
    try:
        open_clip = importlib.import_module("open_clip")
    except ImportError as error:
        raise UserError("Terms by CLIP need open_clip: install it with `pip install xai-dashboard[clip]`.") from error
    import torch

    try:
        network, _, prepare = open_clip.create_model_and_transforms(model, pretrained=os.fspath(weights))
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"CLIP {model} does not load with weights '{os.fspath(weights)}'.") from error
    return network.eval(), prepare, open_clip.get_tokenizer(model), torch
