"""What all sessions share: loaded networks, traces, explanations and pictures, each bounded, each keyed by digests."""

import gc
import importlib
import logging
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, get_ident
from typing import Any, TypeVar

import cachetools
import pandas  # noqa: F401 - here, so that no page meets it half imported by the warm-up
import plotly.graph_objects  # noqa: F401
import streamlit as st
import torch

from xai import Explanation, ImageTrace, explain, feature_maps, filters, trace
from xai.compute.attribution import Progress
from xai.errors import UserError, one_of
from xai.io.images import Image, load_image
from xai.io.models import MODELS
from xai.io.samples import sample_names
from xai.load import default_model, load_model
from xai.memory import keep_freed_memory
from xai.model import UNTRAINED, Model

CORES = torch.get_num_threads()
MEGABYTE = 2**20
TRACE_BYTES = int(os.environ.get("XAI_TRACE_MB", "1500")) * MEGABYTE
EXPLANATION_BYTES = 128 * MEGABYTE
PICTURE_BYTES = 128 * MEGABYTE
_WITHOUT_PAGE = "streamlit.runtime.scriptrunner_utils.script_run_context"  # logger about threads of no page
PANELS = (
    "start",
    "feature_maps",
    "filters",
    "attribution",
    "compare",
    "concepts",
    "dreams",
    "attacks",
    "clusters",
    "query",
)

Made = TypeVar("Made")


def byte_bounded(limit: int, size: Callable[[Any], int]) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Remember what a function made until the results together exceed a number of bytes; the oldest used go first.

    The function is called with its key first, `f(key, *what_it_needs)`; only the key is looked at. Two sessions asking
    for one missing key wait for one call.
    """
    return cachetools.cached(
        cachetools.LRUCache(limit, getsizeof=size),
        key=lambda key, *rest, **options: key,
        condition=Condition(),
    )


def start_model() -> tuple[str, str]:
    """Return name and weights label that a fresh session opens with: those given at the start, else what is there."""
    name = os.environ.get("XAI_MODEL")
    if name is None:
        name, weights = default_model()
        return name, weights or UNTRAINED
    if name not in MODELS:
        raise one_of("model", name, MODELS)
    return name, best_weights(name)


def given_file(name: str) -> Path | None:
    """Return the weights file that the app was started with, if it is meant for this network."""
    given = os.environ.get("XAI_WEIGHTS", "")
    is_file = given.endswith((".safetensors", ".pth", ".pt"))
    return Path(given) if is_file and os.environ.get("XAI_MODEL") == name else None


def weights_labels(name: str) -> tuple[str, ...]:
    """List the weights offered for a network as labels: the file given at the start, official ones, untrained."""
    file = given_file(name)
    return (*((f"file {file.name}",) if file else ()), *MODELS[name].presets, UNTRAINED)


def best_weights(name: str) -> str:
    """Return the label of the weights to open a network with: what was given, else what is on disk, else untrained."""
    given = os.environ.get("XAI_WEIGHTS") if os.environ.get("XAI_MODEL") == name else None
    if given:
        return weights_labels(name)[0] if given_file(name) else UNTRAINED if given.lower() == "none" else given
    return next((preset.name for preset in MODELS[name].presets.values() if preset.on_disk), UNTRAINED)


def networks_here(model: Model) -> list[tuple[str, str]]:
    """List networks with weights that are on this computer, as (name, weights label), apart from the one given.

    Their own last entry is the untrained twin of a trained network, which shows what its architecture alone draws.
    """
    found = [(entry.name, label) for entry in MODELS.values() for label in weights_labels(entry.name)]
    there = [(n, w) for n, w in found if w != UNTRAINED and ((p := MODELS[n].presets.get(w)) is None or p.on_disk)]
    return [each for each in (*there, (model.name, UNTRAINED)) if each != (model.name, model.weights)]


@st.cache_resource(max_entries=3, show_spinner="Loading the network ...")
def network(name: str, weights: str) -> Model:
    """Load a network once for all sessions.

    Raises:
        UserError: the weights are unknown, not on this computer, or do not fit.
    """
    if weights not in weights_labels(name):
        raise one_of(f"weights for {name}", weights, weights_labels(name))
    preset = MODELS[name].presets.get(weights)
    if preset is not None and not preset.on_disk:
        raise UserError(f"{name} {weights} is not on this computer.")
    file = given_file(name)
    source = str(file) if file and weights == f"file {file.name}" else None if weights == UNTRAINED else weights
    model = load_model(name, weights=source)
    settle()
    return model


def settle() -> None:
    """Take everything loaded so far out of the garbage collector's sight.

    Streamlit collects after every run; with torch, pandas and Matplotlib loaded that would stop all sessions for a
    tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


def warm_up() -> None:
    """Import what the pages need and make the first view, so that nobody waits for it."""
    # A cached function asks for the page to show its spinner on; nobody has opened one, which is no reason to warn.
    own = get_ident()
    logging.getLogger(_WITHOUT_PAGE).addFilter(lambda record: record.thread != own)
    keep_freed_memory()
    torch.set_num_threads(1)
    for page in PANELS:
        importlib.import_module(f"xai.ui.panels.{page}")
    try:
        model = network(*start_model())
        traced = image_trace(model, load_image(sample_names()[0]))
        explain(traced)
        feature_maps(traced)
        filters(model)
    except UserError:
        return  # the page says it
    finally:
        settle()


@contextmanager
def all_cores() -> Iterator[None]:
    """Let a forward pass use every core.

    What follows a move of a slider is small and runs on one (see `warm_up`): waiting for a second thread, which has to
    share its core with the browser on the same computer, took ten times as long as the work itself.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def network_key(model: Model) -> Hashable:
    """Name a network by what determines its results."""
    return model.name, model.weights_digest


def image_trace(model: Model, image: Image, resize: str = "center-crop") -> ImageTrace:
    """Run a network on a picture once for all sessions and keep the result while there is room."""
    return _traced((network_key(model), image.digest, resize), model, image, resize)


@byte_bounded(TRACE_BYTES, lambda traced: traced.nbytes)
def _traced(key: Hashable, model: Model, image: Image, resize: str) -> ImageTrace:
    with all_cores():
        return trace(model, image, resize=resize)


def explanation_key(traced: ImageTrace, method: str, options: Mapping[str, Any]) -> Hashable:
    """Name an explanation by what determines it; the options are hashable or dicts of such."""
    flat = tuple(sorted(options.items()))
    return network_key(traced.model), traced.images[0].digest, traced.ready.resize, method, flat


def explanation(traced: ImageTrace, method: str, *, on_progress: Progress | None = None, **options: Any) -> Explanation:
    """Explain a traced picture once; `options` are those of `xai.explain`."""
    return _explained(explanation_key(traced, method, options), traced, method, options, on_progress)


def known_explanation(traced: ImageTrace, method: str, **options: Any) -> Explanation | None:
    """Return an explanation that was made before, by any session, or None."""
    with _explained.cache_lock:  # type: ignore[attr-defined]
        return _explained.cache.get(explanation_key(traced, method, options))  # type: ignore[attr-defined]


@byte_bounded(EXPLANATION_BYTES, lambda made: made.map.nbytes)
def _explained(
    key: Hashable, traced: ImageTrace, method: str, options: dict[str, Any], on_progress: Progress | None
) -> Explanation:
    return explain(traced, method=method, on_progress=on_progress, **options)
