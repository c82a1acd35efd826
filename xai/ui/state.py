"""What a view consists of, as names in the session and in the address: adopt a link, keep widgets valid."""

from collections.abc import Callable, Collection
from textwrap import shorten
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from xai.errors import UserError
from xai.ui.components.dials import asks_for_more, current_page

KNOWN_PAGES = "_pages"  # page names to the pages of the frame; absent where a page runs alone
SHOWN_PAGE = "_page"  # the page of the frame that ran last, and its hash
NOTICES = "_notices"
_ADOPTED = "_adopted"
_RESPELLED = "_respelled"
_DRAWN = "_drawn"  # keys of widgets, and the values that the page was drawn with
Reader = Callable[[str], Any]
"""Turns the text of a link into a widget's value; raises UserError with the sentence to show."""


def adopt(key: str, read: Reader, write: Callable[[Any], str | list[str]] | None = str) -> None:
    """Take one value from the link this session was opened with, before its widget is made.

    Bound widgets read their own spelling by themselves. A link made from a RunSpec spells some values differently (a
    class as its index), and a value that does not exist would be dropped in silence: here it becomes a sentence.

    Args:
        key: of the widget and of the parameter in the address.
        read: text to value.
        write: value to the widget's own spelling; None where no widget is bound to the parameter.
    """
    done = st.session_state.setdefault(_ADOPTED, set())
    if key in done:
        return
    done.add(key)
    text = st.query_params.get(key)
    if not text:
        return
    try:
        value = read(text)
    except UserError as error:
        sentence = shorten(str(error), 300, placeholder=" ...")  # some list every layer; the slider does so too
        notice(f"One point of the link cannot be followed. {sentence}")
        del st.query_params[key]
        return
    if write is None:
        st.session_state[key] = value
    else:
        respell(key, value, write(value))


def respell(key: str, value: Any, spelling: str | list[str]) -> None:
    """Set a widget about to be made and, where the address says it in other words, the address."""
    st.session_state[key] = value
    if st.query_params.get_all(key) != ([spelling] if isinstance(spelling, str) else spelling):
        st.query_params[key] = spelling
        st.session_state[_RESPELLED] = True


def rerun_if_respelled() -> None:
    """Start again when the address was put into the widgets' own words: they read it only at the start of a run."""
    if st.session_state.pop(_RESPELLED, False):
        st.rerun()


def rerun_parts(*keys: str) -> None:
    """Run the fragments with these keys in place of the one asked for, or that one where none is named.

    A move that was on its way while the page changed names the page that it left, and would bring it back: the other
    page goes on. Where widgets say something else than what the page was drawn with, the whole page runs: their change
    is known, but the run that it asked for may be lost in that of the move. And a move that comes together with another
    widget's change, which asks for more than a single fragment, must not take it away.
    """
    page, about = st.session_state.get(SHOWN_PAGE, (None, current_page()))
    if about != current_page():
        st.switch_page(page)
    if any(st.session_state.get(key) != value for key, value in st.session_state.get(_DRAWN, {}).items()):
        st.rerun()
    if not keys or asks_for_more():
        return
    try:
        st.rerun(keys)
    except StreamlitAPIException:  # the fragments are gone already
        if page is not None:
            st.switch_page(page)


def remember_drawn(*keys: str) -> None:
    """Keep what the widgets with these keys say while the page is drawn, for `rerun_parts`."""
    st.session_state[_DRAWN] = {key: st.session_state.get(key) for key in keys}


def notice(sentence: str) -> None:
    """Keep a sentence about the link until the page has a place for it."""
    st.session_state.setdefault(NOTICES, []).append(sentence)


def show_notices() -> None:
    """Show once what could not be taken from the link."""
    for sentence in st.session_state.pop(NOTICES, []):
        st.warning(sentence, icon=":material/link_off:")


def start_with(key: str, value: Any) -> None:
    """Give a widget about to be made its first value; an address that names one wins, and so does a later choice.

    Widgets whose value is also set by the program take it this way and not as their own default, which Streamlit warns
    about.
    """
    st.session_state.setdefault(key, value)


def clamp(key: str, low: int, high: int) -> None:
    """Bring a number into a new range before its slider is made, which would otherwise fall back to its default.

    One that is in the range is not set again: that would put the slider back to where it stood when the run began, and
    so undo what was pressed since.
    """
    if key in st.session_state and not low <= st.session_state[key] <= high:
        st.session_state[key] = min(max(st.session_state[key], low), high)


def keep_offered(key: str, options: Collection[Any]) -> None:
    """Drop the choices that the multiple choice about to be made does not offer; as `clamp`, set only where needed."""
    chosen = st.session_state.get(key) or []
    if any(each not in options for each in chosen):
        st.session_state[key] = [each for each in chosen if each in options]


def keep_valid(key: str, options: Collection[Any], fallback: Any) -> None:
    """Replace a choice that the widget about to be made does not offer, and make the first one."""
    if st.session_state.get(key, fallback) not in options:
        st.session_state[key] = fallback
    start_with(key, fallback)
