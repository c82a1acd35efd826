"""Sliders inside a component: a move brings the new picture directly, a pause afterwards tells the page."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from xai.errors import UserError, one_of
from xai.ui import live

Values = Mapping[str, Any]
"""Values of dials by name; those that nobody chose are missing."""

_SERIALS = "_dial_serials"  # in the session: component to the number of its last move that Python knows of
_LISTED = 200  # choices that a sentence can list


@dataclass(frozen=True)
class Dial:
    """One slider.

    Attributes:
        name: of the value, also in the page's address.
        label: what stands above it.
        values: what it moves over.
        at: position of the value it stands on.
        chosen: whether somebody chose that value; else it is only where the page starts.
    """

    name: str
    label: str
    values: tuple[str | int, ...]
    at: int
    chosen: bool

    def read(self, text: str) -> str | int:
        """Turn the text of a question into one of the values.

        Raises:
            UserError: it is none of them.
        """
        for value in self.values:
            if str(value) == text:
                return value
        if len(self.values) <= _LISTED:
            raise one_of(self.name, text, map(str, self.values))
        raise UserError(f"Unknown {self.name} {text[:40]!r}.")


@dataclass(frozen=True, eq=False)
class Moving:
    """How a component follows its dials.

    Attributes:
        dials: in the order shown.
        make: turns their values into what the component shows, as JSON; must not touch Streamlit. Raises UserError.
        about: all that `make` depends on besides the values; None: every move is a run of the page.
    """

    dials: Sequence[Dial]
    make: Callable[[Values], Mapping[str, object]]
    about: Hashable | None = None

    @property
    def values(self) -> Values:
        """The chosen values that the dials stand on."""
        return {dial.name: dial.values[dial.at] for dial in self.dials if dial.chosen}

    def read(self, texts: Mapping[str, str]) -> Values:
        """Turn the texts of a question into values.

        Raises:
            UserError: there is no such dial or no such value.
        """
        dials = {dial.name: dial for dial in self.dials}
        for name in texts:
            if name not in dials:
                raise one_of("slider", name, dials)
        return {name: dials[name].read(text) for name, text in texts.items()}


def moving_data(moving: Moving | None, key: str) -> dict[str, object]:
    """Return what a component with this key must know to follow its dials."""
    if moving is None:
        return {"dials": [], "live": None, "serial": _serial(key)}
    offered = None
    if moving.about is not None:
        offered = live.offer((key, moving.about), lambda texts: moving.make(moving.read(texts)))
    return {"dials": [asdict(dial) for dial in moving.dials], "live": offered, "serial": _serial(key)}


@dataclass(frozen=True)
class Move:
    """What a component says somebody did.

    Attributes:
        values: of its dials.
        index: number of the tile, if one was chosen.
        shown: whether the component shows it already, so that no run has to bring the picture.
        leaving: whether this comes on the way to another page, whose run must not be replaced by that of a fragment.
    """

    values: Values
    index: int | None = None
    shown: bool = False
    leaving: bool = False


def current_page() -> str:
    """Name the page that this run is about."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.page_script_hash if context else ""


def asks_for_more() -> bool:
    """Say whether this run is about more than one fragment: several, or the whole page."""
    context = get_script_run_ctx(suppress_warning=True)
    asked = context.fragment_ids_this_run if context else None
    return asked is None or len(asked) != 1


def take_move(moving: Moving | None, key: str, page: str) -> Move:
    """Read what the component with this key, shown on this page, says was moved; nonsense is nothing."""
    leaving = current_page() != page
    message = (st.session_state.get(key) or {}).get("moved")
    if not isinstance(message, dict) or not isinstance(message.get("serial"), int):
        return Move({}, leaving=leaving)
    st.session_state.setdefault(_SERIALS, {})[key] = message["serial"]
    sent, index = message.get("values"), message.get("index")
    try:
        texts = {str(name): str(value) for name, value in sent.items()} if moving and isinstance(sent, dict) else {}
        values = moving.read(texts) if moving else {}
    except UserError:  # said before the page changed what there is to choose
        return Move({}, leaving=leaving)
    tile = index if isinstance(index, int) and index >= 0 else None
    return Move(values, tile, message.get("shown") is True, leaving)


def _serial(key: str) -> int:
    return st.session_state.get(_SERIALS, {}).get(key, 0)
