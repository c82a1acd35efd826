"""The panel of the Adversarial page: what the network says to a picture that is changed a little."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import streamlit as st

from xai.attacks import LABELS, Attack, attack, format_epsilon
from xai.compute.attribution import Progress
from xai.errors import UserError
from xai.figures import style
from xai.figures.attacks import amplification, change_picture, to_bytes
from xai.figures.curves import curves_plot
from xai.figures.overlays import overlay
from xai.figures.sheets import encode_jpeg, encode_png
from xai.io.images import load_image
from xai.io.samples import sample_names
from xai.sweeps import AttackSweep, attack_sweep
from xai.ui import caching, downloads, jobs, pickers, sliders, state
from xai.ui.components import Panel, Stage, viewer
from xai.ui.pictures import Drawing, colour_scale

LARGEST, STEP, FIRST = 16.0, 0.25, 2.0  # epsilon on the slider, in steps of an 8-bit picture
WIDEST = 320  # pixels on the screen: three stand side by side
SHOWN = 448  # display pixels of a working picture, about
WAYS, LOOKS = ("FGSM", "PGD"), ("picture", "sweep")
NOT_YET = "has not been started for this view; its files are there once it is done."


@st.fragment
def show_attack(choice: pickers.Choice) -> None:
    """Show what is set now and then around what moves all the time (`_show`), or the sweep."""
    _adopt()
    state.show_notices()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kinds = "FGSM: one step, live. PGD: many small steps, stronger."
        method = st.segmented_control("Attack", WAYS, required=True, key="attack", bind="query-params", help=kinds)
        views = "picture: what one epsilon does. sweep: accuracy and confidence over epsilon, all samples."
        look = st.segmented_control("Look at", LOOKS, required=True, key="look", bind="query-params", help=views)
        about = "Off: away from what the network says. On: towards the class that you choose."
        towards = st.toggle("Towards a class", key="towards", bind="query-params", help=about)
        if towards:
            sliders.find_class(choice.trace())
    steps = st.slider("Steps", 1, 50, key="pgd_steps", bind="query-params") if method == "PGD" else None
    if look == "sweep":
        _show_sweep(choice, steps, towards)
        return
    pictures = st.container()
    drawing = sliders.pick_drawing(signed=False)
    with pictures:
        _show(choice, steps, towards, drawing)
    downloads.offer(lambda: _result(choice, steps, towards, drawing))


def _adopt() -> None:
    """Take epsilon from a link, and give widgets their first values."""
    state.adopt("epsilon", _read_epsilon, None)
    state.start_with("epsilon", FIRST)
    state.keep_valid("attack", WAYS, WAYS[0])
    state.keep_valid("look", LOOKS, LOOKS[0])
    state.start_with("pgd_steps", 10)


def _read_epsilon(text: str) -> float:
    try:
        return min(max(0.0, round(float(text) * 255 / STEP) * STEP), LARGEST)
    except (ValueError, OverflowError):
        raise UserError(f"Unknown epsilon {text!r}. Give a number from 0 to 1.") from None


@st.fragment
def _show(choice: pickers.Choice, steps: int | None, towards: bool, drawing: Drawing) -> None:
    """Show sliders and pictures. Few sliders and one component: all is sent anew and drawn at each move."""
    with st.container(horizontal=True, gap="medium"):
        st.slider("Epsilon (steps of 1/255)", 0.0, LARGEST, step=STEP, key="epsilon")
        sliders.current_layer(choice.model)
        sliders.slide_layer(choice.model)
        if towards:
            sliders.current_class(choice.trace())
            sliders.slide_class(choice.trace())
    asked = _asked(choice, steps, towards)
    try:
        made = _attacked(_key(choice, asked), choice, asked, None) if steps is None else _watch(choice, asked)
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return
    if made is not None:
        _show_pictures(made, drawing)


def _asked(choice: pickers.Choice, steps: int | None, towards: bool) -> dict[str, Any]:
    """What the sliders stand on, as options of `xai.attack`."""
    target = sliders.current_class(choice.trace()) if towards else None
    way: dict[str, Any] = {"method": "fgsm"} if steps is None else {"method": "pgd", "steps": steps}
    layer = sliders.current_layer(choice.model)
    return {**way, "epsilon": st.session_state["epsilon"] / 255, "target": target, "layer": layer}


def _key(choice: pickers.Choice, asked: dict[str, Any]) -> Hashable:
    return "attack", caching.network_key(choice.model), choice.image.digest, choice.resize, tuple(sorted(asked.items()))


@caching.byte_bounded(128 * caching.MEGABYTE, lambda made: 2 * made.original.nbytes + 2 * made.map_before.nbytes)
def _attacked(key: Hashable, choice: pickers.Choice, asked: dict[str, Any], report: Progress | None) -> Attack:
    return attack(choice.trace(), on_progress=report, **asked)


def _known(choice: pickers.Choice, asked: dict[str, Any]) -> Attack | None:
    with _attacked.cache_lock:  # type: ignore[attr-defined]
        return _attacked.cache.get(_key(choice, asked))  # type: ignore[attr-defined]


def _watch(choice: pickers.Choice, asked: dict[str, Any]) -> Attack | None:
    known = _known(choice, asked)
    if known is not None:
        return known
    key = _key(choice, asked)
    return jobs.watch(key, LABELS["pgd"], lambda report: _attacked(key, choice, asked, report))


def _show_pictures(made: Attack, drawing: Drawing) -> None:
    """Show picture, change and changed picture, and the maps of what the network says, on one scale."""
    change = (made.changed - made.original).transpose(1, 2, 0)
    times = amplification(change)
    height, width = change.shape[:2]
    before, after = (_enlarge(to_bytes(each.transpose(1, 2, 0))) for each in (made.original, made.changed))
    size = (before.shape[1], before.shape[0])
    limit = style.value_limit(np.concatenate((made.map_before, made.map_after)), signed=made.signed)
    panels = [
        Panel(encode_jpeg(before, 95), "before", f"Before: {_said(made.before)}", "The picture as the network gets it"),
        Panel(encode_png(_enlarge(change_picture(change, times))), "change", f"Change × {times:.3g}, mid grey is none",
              "What was added, amplified"),
        Panel(encode_jpeg(after, 95), "after", f"After: {_said(made.after)}", "The changed picture"),
    ]  # fmt: skip
    for index, name in enumerate(made.names):
        for when, picture, values in (("before", before, made.map_before), ("after", after, made.map_after)):
            words = f"{made.explained_by.label} of {name}, {when}"
            laid = _overlaid(picture, values[index], drawing, limit, signed=made.signed)
            panels.append(Panel(laid, f"{when}: {name}", words, words, values[index]))
    viewer(
        panels,
        Stage(size, (0, 0, width, height), (0, 0, width, height)),
        key="attack-pictures",
        label=made.title,
        note=f"{made.verdict} All maps are drawn on one scale.",
        address={**sliders.class_address(), "epsilon": f"{made.epsilon:.6g}"},
        scale=colour_scale(drawing, limit, signed=made.signed),
        widest=WIDEST,
    )


def _said(said: tuple[tuple[str, float, int], ...]) -> str:
    return " · ".join(f"{name} {probability:.1%}" for name, probability, _ in said[:2])


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Repeat pixels (h, w) or (h, w, 3) a whole number of times."""
    times = max(1, SHOWN // max(picture.shape[:2]))
    return picture.repeat(times, 0).repeat(times, 1)


def _overlaid(picture: np.ndarray, values: np.ndarray, drawing: Drawing, limit: float, *, signed: bool) -> bytes:
    laid = overlay(
        picture,
        _enlarge(values),
        signed=signed,
        limit=limit,
        alpha=drawing.alpha,
        colormap=drawing.colormap,
        threshold=drawing.threshold,
    )
    return encode_jpeg(laid)


def _show_sweep(choice: pickers.Choice, steps: int | None, towards: bool) -> None:
    """Show the curves over epsilon for this picture and the samples, or offer them."""
    target = None
    if towards:
        target = sliders.current_class(choice.trace())
        sliders.slide_class(choice.trace())
    way: dict[str, Any] = {"method": "fgsm"} if steps is None else {"method": "pgd", "steps": steps}
    asked = {**way, "target": target, "resize": choice.resize}
    key = "sweep", caching.network_key(choice.model), choice.image.digest, tuple(sorted(asked.items()))
    with _swept.cache_lock:  # type: ignore[attr-defined]
        made = _swept.cache.get(key)  # type: ignore[attr-defined]
    made = made or jobs.watch(key, "Sweep", lambda report: _swept(key, choice, asked, report))
    if made is not None:
        _show_curves(made)
    downloads.offer(lambda: _sweep_result(choice, made))


@caching.byte_bounded(8 * caching.MEGABYTE, lambda made: 10_000)
def _swept(key: Hashable, choice: pickers.Choice, asked: dict[str, Any], report: Progress) -> AttackSweep:
    others = [image for image in map(load_image, sample_names()) if image.digest != choice.image.digest]
    return attack_sweep(choice.model, [choice.image, *others], on_progress=report, **asked)


def _show_curves(made: AttackSweep) -> None:
    sizes, shares = 255 * made.table["epsilon"], {name: 100 * values for name, values in made.curves.items()}
    figure = curves_plot(sizes, shares, x_label="Epsilon (steps of 1/255)", y_label="Share (%)", marks=True)
    st.plotly_chart(figure, width="stretch", key="curves", config={"displayModeBar": False})
    st.caption(
        f"{len(made.labels)} pictures: the one in the menu and the samples. They have no labels, so what counts is "
        "what the network says to each without a change."
    )


def _sweep_result(choice: pickers.Choice, made: AttackSweep | None) -> downloads.Result:
    if made is None:
        raise UserError(f"The sweep {NOT_YET}")
    return downloads.Result(
        name="attack-sweep",
        files={
            "png": lambda: style.render_png(made.figure()),
            "csv": lambda: made.table.to_csv(index=False).encode(),
        },
        spec=made.spec,
        view=("attack", "look", "pgd_steps", "towards"),
        upload=None if choice.linkable else choice.image,
    )


def _result(choice: pickers.Choice, steps: int | None, towards: bool, drawing: Drawing) -> downloads.Result:
    asked = _asked(choice, steps, towards)
    made = _attacked(_key(choice, asked), choice, asked, None) if steps is None else _known(choice, asked)
    if made is None:
        raise UserError(f"PGD {NOT_YET}")
    options = {"alpha": drawing.alpha, "colormap": drawing.colormap, "threshold": drawing.threshold}
    return downloads.Result(
        name=f"{made.method}-{choice.image.name}-{format_epsilon(made.epsilon).replace('/', '_')}",
        files={
            "png": lambda: style.render_png(made.figure(**options)),
            "npy": lambda: downloads.npy(made.changed),
        },
        spec=made.spec,
        view=("attack", "pgd_steps", "towards", "opacity", "hide", "colormap"),
        upload=None if choice.linkable else choice.image,
    )
