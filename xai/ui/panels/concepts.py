"""The panel of the Concepts page: what a layer tells apart in one picture or several, live over layers and numbers."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from xai import ImageTrace, trace
from xai.compute.attribution import Progress
from xai.compute.factorization import ComponentChoice, choose_components
from xai.concepts import Concepts, concepts
from xai.errors import UserError, one_of
from xai.figures import style
from xai.figures.charts import format_share
from xai.figures.concepts import COLOURS, choice_chart, concept_overlay
from xai.figures.overlays import draw_box
from xai.figures.sheets import encode_jpeg
from xai.io.images import load_image
from xai.io.samples import sample_names
from xai.ui import caching, downloads, jobs, pickers, sliders, state
from xai.ui.components import Panel, viewer
from xai.ui.pictures import Drawing, display, framed, stage

LIVE_VALUES = 500_000  # activations that are factorised in less than about a second
MOST_CLASSES = 5
START = 5  # concepts, until somebody chooses
DARK = ("blue", "green", "vermilion", "black")  # colours that light text stands on


@dataclass(frozen=True)
class Asked:
    """What the sliders and pills stand on."""

    others: tuple[str, ...]
    layer: str
    components: int
    top_k: int


@st.fragment
def show_concepts(choice: pickers.Choice) -> None:
    """Show the concepts of one layer in the chosen picture and in those that share them."""
    asked = _ask(choice)
    state.show_notices()
    pictures = st.container()
    drawing = _pick_drawing()
    with pictures:
        try:
            traced = _trace(choice, asked)
            found = _find(traced, asked)
        except UserError as error:
            st.error(str(error), icon=":material/error:")
            return
        if found is not None:
            shown = _pick_shown(found)
            _show_first(found, asked, shown, drawing)
            _show_others(found, shown, drawing)
            st.dataframe(_styled(found.table()), hide_index=True, width="stretch")
            _show_choice(traced, asked)
    downloads.offer(lambda: _result(choice, found, drawing))


def _ask(choice: pickers.Choice) -> Asked:
    """Show which pictures share the concepts, the layer, how many concepts and how many classes for each."""
    offered = [name for name in sample_names() if choice.source != "sample" or name != choice.image.name]
    state.adopt("others", _read_others, None)
    state.keep_offered("others", offered)
    others = st.pills("Pictures that share the concepts", offered, selection_mode="multi", key="others")
    layer = sliders.current_layer(choice.model)
    channels, height, width = choice.model.layer(layer).shape
    most = max(2, min(len(COLOURS), channels, height * width))
    for key, first, last in (("components", START, most), ("top_k", 2, MOST_CLASSES)):
        state.start_with(key, first)
        state.clamp(key, 1, last)
    with st.container(horizontal=True, gap="medium"):
        sliders.slide_layer(choice.model)
        components = st.slider("Concepts", 1, most, key="components", bind="query-params")
        top_k = st.slider("Classes for each", 1, MOST_CLASSES, key="top_k", bind="query-params")
    return Asked(tuple(name for name in offered if name in others), layer, components, top_k)


def _read_others(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    wrong = [name for name in names if name not in sample_names()]
    if wrong:
        raise one_of("sample", wrong[0], sample_names())
    return names


def _pick_drawing() -> Drawing:
    """Show opacity and threshold; every concept has its own colour, so there is no colour map."""
    alpha, threshold = st.columns(2)
    with alpha:
        opacity = st.slider("Opacity", 0, 100, 60, 5, format="%d %%", key="opacity", bind="query-params")
    with threshold:
        weak = st.slider("Hide below (of the maximum)", 0, 95, 0, 5, format="%d %%", key="hide", bind="query-params")
    return Drawing(None, opacity / 100, weak / 100)


def _trace(choice: pickers.Choice, asked: Asked) -> ImageTrace:
    """The forward pass: of one picture with all layers, as on the other pages, or of several with the one layer."""
    if not asked.others:
        return choice.trace()
    images = [choice.image, *map(load_image, asked.others)]
    key = caching.network_key(choice.model), tuple(image.digest for image in images), choice.resize, asked.layer
    return _traced(key, choice, images, asked.layer)


@caching.byte_bounded(caching.TRACE_BYTES // 4, lambda traced: traced.nbytes)
def _traced(key: Hashable, choice: pickers.Choice, images: list[Any], layer: str) -> ImageTrace:
    with caching.all_cores():
        return trace(choice.model, images, [layer], resize=choice.resize)


def _key(traced: ImageTrace, layer: str) -> Hashable:
    digests = tuple(image.digest for image in traced.images)
    return caching.network_key(traced.model), digests, traced.ready.resize, layer


def _find(traced: ImageTrace, asked: Asked) -> Concepts | None:
    """Factorise at once where that is quick or was done before; else offer it, or show how far it is."""
    key = _key(traced, asked.layer), asked.components, asked.top_k
    if traced.activation(asked.layer).numel() <= LIVE_VALUES or _known(_found, key):
        return _found(key, traced, asked, None)
    name = f"Concepts of {asked.layer}"
    return jobs.watch(key, name, lambda report: _found(key, traced, asked, report), why="so early a layer is large")


@caching.byte_bounded(caching.EXPLANATION_BYTES, lambda found: found.factorization.maps.nbytes)
def _found(key: Hashable, traced: ImageTrace, asked: Asked, report: Progress | None) -> Concepts:
    layer, components, top_k = asked.layer, asked.components, asked.top_k
    return concepts(traced, layer=layer, components=components, top_k=top_k, on_progress=report)


def _known(remembered: Callable[..., Any], key: Hashable) -> Any:
    """Return what a bounded function made before, by any session, or None."""
    with remembered.cache_lock:  # type: ignore[attr-defined]
        return remembered.cache.get(key)  # type: ignore[attr-defined]


def _pick_shown(found: Concepts) -> list[int]:
    """Show a pill for each concept; those pressed are left out, the others keep their colours."""
    state.adopt("hidden", lambda text: [int(number) for number in re.findall("[0-9]{1,3}", text)], None)
    numbers, legend = list(range(1, found.components + 1)), found.legend()
    state.keep_offered("hidden", numbers)
    hidden = st.pills(
        "Hide", numbers, selection_mode="multi", key="hidden",
        format_func=lambda number: ", ".join((f"Concept {number}", *legend[number - 1].lines[:1])),
    )  # fmt: skip
    return [number - 1 for number in numbers if number not in hidden]


def _laid(found: Concepts, number: int, shown: Sequence[int], drawing: Drawing) -> bytes:
    """Lay concepts over one of the pictures, as JPEG."""
    image, box = found.images[number], found.boxes[number]
    picture, maps = display(image), found.factorization.maps[number].numpy()
    where = picture.box(box)
    options = {"alpha": drawing.alpha, "threshold": drawing.threshold}
    return encode_jpeg(draw_box(concept_overlay(picture.pixels, maps, box=where, shown=shown, **options), where))


def _show_first(found: Concepts, asked: Asked, shown: list[int], drawing: Drawing) -> None:
    """Show all concepts on the chosen picture, and each of them alone."""
    image, maps, legend = found.images[0], found.factorization.maps[0].numpy(), found.legend()
    together = "The strongest concept at each place" if shown else "All concepts are hidden"
    panels = [Panel(_laid(found, 0, shown, drawing), image.name, together, f"Concepts laid over {image.name}")]
    for index in shown:
        caption = " · ".join((legend[index].heading, *legend[index].lines))
        alt = f"Concept {index + 1} in {list(COLOURS)[index]} on {image.name}"
        panels.append(Panel(_laid(found, 0, [index], drawing), f"Concept {index + 1}", caption, alt, maps[index]))
    made, count = found.factorization, style.count(found.components, "concept")
    note = f"{found.layer.label}: {count}, {made.error:.0%} of the activations' norm left over. {made.unlabelled or ''}"
    address = {"others": ",".join(asked.others) or None, "hidden": _spell_hidden(found, shown) or None}
    label = f"Concepts of {asked.layer} in {image.name}"
    viewer(panels, stage(image, found.boxes[0]), key="concepts", label=label, note=note, address=address, widest=360)


def _spell_hidden(found: Concepts, shown: list[int]) -> str:
    """Write the numbers of the hidden concepts for the address."""
    return ",".join(str(index + 1) for index in range(found.components) if index not in shown)


def _show_others(found: Concepts, shown: list[int], drawing: Drawing) -> None:
    """Show the pictures that share the concepts, each with the same colours."""
    for number, image in enumerate(found.images[1:], start=1):
        box, maps = found.boxes[number], found.factorization.maps[number].numpy()
        strength = maps[shown].max(0) if shown else None
        panels = [
            Panel(framed(image, box), "picture", "Outlined: what the network sees", image.name),
            Panel(_laid(found, number, shown, drawing), image.name, "The same concepts", image.name, strength),
        ]
        viewer(panels, stage(image, box), key=f"shared-{number}", label=f"Concepts in {image.name}", widest=360)


def _styled(table: pd.DataFrame) -> Any:
    """Show colours as colours and shares as percentages."""
    shares = [name for name in table if name == "share" or str(name).startswith("probability")]
    paint = "background-color: {}; color: {}"
    styled = table.style.format(format_share, subset=shares, na_rep="")
    return styled.map(lambda name: paint.format(COLOURS[name], "white" if name in DARK else "black"), subset=["colour"])


def _show_choice(traced: ImageTrace, asked: Asked) -> None:
    """Offer to find a number of concepts, and show what was found with a button that takes it."""
    with st.expander("How many concepts are there?", icon=":material/query_stats:"):
        key = "number of concepts", _key(traced, asked.layer)
        choice = _known(_chosen, key) or jobs.watch(
            key,
            "search for a number",
            lambda report: _chosen(key, traced, asked.layer, report),
            why="factorises three times for each number from 2 to 8",
        )
        if choice is None:
            return
        chart = choice_chart(choice.counts, choice.errors, choice.stabilities, choice.chosen)
        st.image(style.render_png(chart), width="stretch", alt=str(chart.get_label()))
        st.caption(
            "As many as come out alike from different starts (90 % or more) and still leave at least 1 % less over."
        )
        st.button(f"Take {choice.chosen}", icon=":material/check:", on_click=_take, args=(choice.chosen,))


@caching.byte_bounded(1000, lambda choice: 1)
def _chosen(key: Hashable, traced: ImageTrace, layer: str, report: Progress | None) -> ComponentChoice:
    return choose_components(traced, layer=layer, on_progress=report)


def _take(number: int) -> None:
    st.session_state["components"] = number


def _result(choice: pickers.Choice, found: Concepts | None, drawing: Drawing) -> downloads.Result:
    if found is None:
        raise UserError("The concepts of this layer are not there yet; start them first.")
    return downloads.Result(
        name=f"concepts-{choice.image.name}",
        files={
            "png": lambda: style.render_png(found.figure(alpha=drawing.alpha, threshold=drawing.threshold)),
            "npy": lambda: downloads.npy(found.factorization.maps.numpy()),
            "csv": lambda: found.table().to_csv(index=False).encode(),
        },
        spec=found.spec,
        view=("opacity", "hide", *(("hidden",) if st.session_state.get("hidden") else ())),
        upload=None if choice.linkable else choice.image,
    )
