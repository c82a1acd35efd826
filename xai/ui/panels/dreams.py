"""The panel of the Feature visualisation page: pictures that excite a channel, a layer or a class."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from xai.compute.attribution import Progress
from xai.compute.feature_visualization import MOST_PICTURES
from xai.dreams import Dream, dream, to_rgb
from xai.errors import UserError
from xai.figures import style
from xai.figures.curves import curves_plot
from xai.figures.overlays import side_by_side
from xai.figures.sheets import encode_jpeg
from xai.io.samples import sample_names
from xai.model import Model
from xai.patches import Strongest, strongest
from xai.ui import caching, downloads, jobs, pickers, sliders, state

GOALS = ("channel", "layer", "class")
SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 320)
SIZE, STEPS = 128, 128  # a quick start; the command line starts with the network's own size and more steps
LABEL = "Feature visualisation"
PATCHES, PREVIEWED = 8, 4
PATCH_SHARE = 0.15  # of the progress; then comes the dream


@dataclass(frozen=True, eq=False)
class Seen:
    """A dream, and what in the sample photographs excites the same channel."""

    made: Dream
    photographs: Strongest | None

    @property
    def nbytes(self) -> int:
        """Memory of the pictures."""
        patches = self.photographs.patches if self.photographs else ()
        return self.made.pictures.nbytes + self.made.start.nbytes + sum(each.crop.nbytes for each in patches)


@st.fragment
def show_dreams(choice: pickers.Choice) -> None:
    """Show what is to be excited, the button that starts it, and the result."""
    asked = _ask(choice)
    seen = _watch(choice.model, asked)
    if seen is not None:
        _show(seen)
    downloads.offer(lambda: _result(choice.model, asked))


def _ask(choice: pickers.Choice) -> dict[str, Any]:
    """Show the controls; return what they say as options of `xai.dream`."""
    state.keep_valid("goal", GOALS, GOALS[0])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        about = "A channel of a layer, all channels of a layer, or a class."
        goal = st.segmented_control("Excite", GOALS, required=True, key="goal", bind="query-params", help=about)
        with st.popover("Options", icon=":material/tune:"):
            options = _pick_options(choice.model, diverse=goal != "class")
        if goal == "class":
            sliders.find_class(choice.trace())
    if goal == "class":
        target = sliders.current_class(choice.trace())
        sliders.slide_class(choice.trace())
        st.caption(f"The picture is to become {choice.model.class_label(target)}.")
        return {"target": target, **options}
    layer = sliders.current_layer(choice.model)
    sliders.slide_layer(choice.model)
    if goal == "layer":
        return {"layer": layer, **options}
    return {"layer": layer, "channel": _slide_channel(choice.model, layer), **options}


def _slide_channel(model: Model, layer: str) -> int:
    last = model.layer(layer).shape[0] - 1
    if st.session_state.get("channel") is None:
        st.session_state["channel"] = 0
    state.clamp("channel", 0, last)
    return st.slider("Channel", 0, last, key="channel", bind="query-params") if last else 0


def _pick_options(model: Model, *, diverse: bool) -> dict[str, Any]:
    fixed = model.classifier.reshape is not None  # a network of tokens takes pictures of one size only
    sizes = [model.input_size[0]] if fixed else list(SIZES)
    state.keep_valid("size", sizes, sizes[0] if fixed else SIZE)
    for key, value, low, high in (("count", 1, 1, MOST_PICTURES), ("steps", STEPS, 1, 1024), ("seed", 0, 0, 9999)):
        state.start_with(key, value)
        state.clamp(key, low, high)
    bound: dict[str, Any] = {"bind": "query-params"}
    options = {
        "count": st.slider("Pictures", 1, MOST_PICTURES, key="count", **bound),
        "steps": st.slider("Steps", 1, 1024, key="steps", **bound),
        "size": st.selectbox("Size (pixels)", sizes, key="size", **bound),
        "seed": st.number_input("Start (seed)", 0, 9999, key="seed", **bound),
    }
    if diverse:
        about = "How much several pictures are driven apart."
        state.start_with("diversity", 0.0)
        options["diversity"] = st.slider("Diversity", 0.0, 10.0, step=0.5, key="diversity", help=about, **bound)
    return options


def _key(model: Model, asked: dict[str, Any]) -> Hashable:
    return "dream", caching.network_key(model), tuple(sorted(asked.items()))


def _watch(model: Model, asked: dict[str, Any]) -> Seen | None:
    """Return the dream if it is there; else offer it, or show how far it is."""
    known = _known(model, asked)
    if known is not None:
        return known
    return jobs.watch(
        _key(model, asked), LABEL, lambda report: _dreamt(_key(model, asked), model, asked, report), _peek
    )


def _known(model: Model, asked: dict[str, Any]) -> Seen | None:
    with _dreamt.cache_lock:  # type: ignore[attr-defined]
        return _dreamt.cache.get(_key(model, asked))  # type: ignore[attr-defined]


@caching.byte_bounded(64 * caching.MEGABYTE, lambda seen: seen.nbytes)
def _dreamt(key: Hashable, model: Model, asked: dict[str, Any], report: Progress) -> Seen:
    if "channel" not in asked:
        return Seen(dream(model, on_progress=report, **asked), None)
    layer, channel = asked["layer"], asked["channel"]
    found = strongest(
        model, sample_names(), layer, channel, PATCHES, on_progress=lambda part, _: report(PATCH_SHARE * part, None)
    )
    rest = 1 - PATCH_SHARE
    return Seen(
        dream(model, on_progress=lambda part, so_far: report(PATCH_SHARE + rest * part, so_far), **asked), found
    )


def _peek(so_far: np.ndarray) -> None:
    """Show the first pictures as they are now."""
    st.image(encode_jpeg(side_by_side(list(to_rgb(so_far[:PREVIEWED])))), caption="So far", alt="The pictures so far")


def _show(seen: Seen) -> None:
    """Show the pictures, the photographs beside, and below how the goal's value grew."""
    made, left = seen.made, st.container()
    if seen.photographs is not None:
        left, right = st.columns([3, 2], gap="medium")
        with right:
            _show_photographs(seen.photographs)
    with left:
        st.subheader(made.goal)
        with st.container(horizontal=True):
            _show_picture(made.start[0], f"Start: {made.before[0]:.3g}")
            for number, (picture, value) in enumerate(zip(made.pictures, made.after, strict=True), start=1):
                _show_picture(picture, f"Picture {number}: {value:.3g}")
    names = {f"Picture {number + 1}": values for number, values in enumerate(made.objective.T)}
    figure = curves_plot(np.arange(len(made.objective)), names, x_label="Step", y_label=made.value_label)
    st.plotly_chart(figure, width="stretch", key="objective", config={"displayModeBar": False})
    st.caption(f"{made.value_label}, of the pictures shifted, scaled and turned a little in each step.")


def _show_photographs(found: Strongest) -> None:
    st.subheader("Photographs that excite the channel most")
    with st.container(horizontal=True):
        for patch in found.patches:
            _show_picture(patch.crop, f"{patch.name}: {patch.value:.3g}", width=110)
    st.caption(f"Of each of the {found.searched} samples, the part that the strongest unit sees, and its value.")


def _show_picture(picture: np.ndarray, caption: str, *, width: int = 180) -> None:
    with st.container(width=width):
        st.image(encode_jpeg(np.ascontiguousarray(picture), 90), caption=caption, width="stretch", alt=caption)


def _result(model: Model, asked: dict[str, Any]) -> downloads.Result:
    seen = _known(model, asked)
    if seen is None:
        raise UserError("This picture has not been made yet; its files are there once it is done.")
    made, patches = seen.made, seen.photographs.patches if seen.photographs else ()
    return downloads.Result(
        name=f"dream-{made.goal.replace(', ', '-').replace(' ', '_')}",
        files={
            "png": lambda: style.render_png(made.figure(patches)),
            "npy": lambda: downloads.npy(made.pictures),
            "csv": lambda: pd.DataFrame(made.objective).to_csv(index_label="step").encode(),
        },
        spec=made.spec,
        view=("goal",),
    )
