"""What the Compare page lets people choose: methods, further layers, and a second network from this computer."""

from dataclasses import replace

import streamlit as st

from xai import ImageTrace
from xai.comparison import quick_methods
from xai.errors import UserError
from xai.registry import METHODS, find_method
from xai.ui import caching, pickers, state

FIRST = ("grad_cam", "hires_cam", "input_x_gradient", "random")  # shown until somebody chooses


def pick_methods(choice: pickers.Choice) -> list[str]:
    """Let methods be chosen, and return their keys in the order of the registry."""
    offered = [key for key, method in METHODS.items() if method.supports(choice.model) is None]
    state.adopt("methods", lambda text: _read_methods(text, offered), None)
    quick = quick_methods(choice.model)
    state.start_with("methods", [key for key in FIRST if key in quick] or quick[:2])
    state.keep_offered("methods", offered)
    chosen = st.pills(
        "Methods", offered, selection_mode="multi", key="methods",
        format_func=lambda key: METHODS[key].label + (" (slow)" if METHODS[key].speed == "slow" else ""),
    )  # fmt: skip
    return [key for key in offered if key in chosen]


def pick_layers(choice: pickers.Choice) -> list[str]:
    """Let further layers be set beside that of the slider; a second network is asked at those that it has."""
    names = list(choice.model.layers())
    state.keep_offered(pickers.BESIDE, names)
    return st.multiselect(
        "More layers", names, key=pickers.BESIDE, bind="query-params", placeholder="The one of the slider only",
        help="Each method that looks at a layer is asked at that of the slider and at these.",
    )  # fmt: skip


def pick_second(choice: pickers.Choice) -> ImageTrace | None:
    """Let a second network from this computer be chosen, and trace the picture with it."""
    offered = {f"{name}:{weights}": (name, weights) for name, weights in caching.networks_here(choice.model)}
    state.adopt("models", lambda text: _read_second(text, list(offered)))
    state.rerun_if_respelled()
    if st.session_state.get("models") not in (None, *offered):
        st.session_state["models"] = None
    chosen = st.selectbox(
        "Second network", list(offered), index=None, key="models", bind="query-params", filter_mode="contains",
        placeholder="None",
        help="One whose weights are on this computer; its classes are matched by name. The same network untrained "
        "shows what the architecture alone draws.",
    )  # fmt: skip
    if chosen is None:
        return None
    try:
        return replace(choice, model=caching.network(*offered[chosen])).trace()
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return None


def _read_second(text: str, offered: list[str]) -> str:
    name, _, weights = text.partition(":")
    meant = [key for key in offered if key in (f"{name}:{weights}", f"{name}:file {weights}")]
    meant += [key for key in offered if weights == "none" and key == f"{name}:untrained"]
    if not meant:
        raise UserError(f"The second network {text} is not on this computer; choose one of those below.")
    return meant[0]


def _read_methods(text: str, offered: list[str]) -> list[str]:
    keys = [find_method(name).key for name in text.split(",") if name]
    wrong = [METHODS[key].label for key in keys if key not in offered]
    if wrong:
        raise UserError(f"{', '.join(wrong)} cannot explain this network.")
    return keys
