"""The panels of the Report page: which approach answers which question, exported notebooks, one's own collection."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import streamlit as st

from xai.hohman import QUESTIONS
from xai.report.approaches import APPROACHES, Approach
from xai.report.collection import to_page, to_zip
from xai.report.project import EXPORTED, FIGURES, read_measured
from xai.report.source import notebook_title, read_notebook
from xai.resources import project_file
from xai.ui import basket
from xai.ui.state import KNOWN_PAGES

ANY = "any answer"
LONGEST = 600  # characters of a sentence
PAGE_HEIGHT = 800  # pixels
TITLE = "What I saw in the network"


def show_approaches() -> None:
    """Filter the approaches by the survey's questions, with reasons and the figures that support them."""
    st.header("Which approach answers your question?")
    wanted = _pick_categories()
    found = [each for each in APPROACHES.values() if _answers(each, wanted)]
    st.caption(f"{len(found)} of {len(APPROACHES)} approaches; the categories are those of Hohman et al. 2018.")
    measured = read_measured(project_file(EXPORTED).parent)
    for approach in found:
        with st.expander(approach.title):
            _show_approach(approach, wanted, measured)


def _pick_categories() -> dict[str, str]:
    """Let one category be chosen for each question; those that are not chosen do not count."""
    wanted = {}
    for questions in (list(QUESTIONS)[:3], list(QUESTIONS)[3:]):
        for column, question in zip(st.columns(3), questions, strict=True):
            options = [ANY, *QUESTIONS[question]]
            chosen = column.selectbox(question.capitalize(), options, key=f"ask_{question}", bind="query-params")
            if chosen != ANY:
                wanted[question] = chosen
    return wanted


def _answers(approach: Approach, wanted: dict[str, str]) -> bool:
    return all(name in approach.categories[question] for question, name in wanted.items())


def _show_approach(approach: Approach, wanted: dict[str, str], measured: dict[str, Any]) -> None:
    """Show the categories with their reasons, what was found, the figures, and the way to the page."""
    rows = [
        {
            "Question": question.capitalize(),
            "Category": "; ".join(approach.categories[question]),
            "Because": approach.reasons[question],
        }
        for question in QUESTIONS
    ]
    st.table(rows)
    for each in measured.get("findings", {}).get(approach.key, []):
        st.markdown(f"{each['verdict'].capitalize()}: {each['sentence']}")
    for figure in measured.get("figures", []):
        path = project_file(EXPORTED).parent / FIGURES / figure["file"]
        if figure["approach"] == approach.key and path.is_file():
            st.image(str(path), caption=figure["caption"], width="stretch", alt=figure["alt"])
    known = st.session_state.get(KNOWN_PAGES, {})
    if approach.page in known:
        st.page_link(known[approach.page], label="Try it on your own picture", icon=known[approach.page].icon)


def show_notebooks() -> None:
    """Show an exported notebook inside the page, and offer it as a file."""
    st.header("Executed notebooks")
    exported = sorted(project_file(EXPORTED).glob("[0-9]*.html"))
    pages = [path for path in exported if path.with_suffix(".ipynb").is_file()]
    titles = {path.stem: _title(path) for path in pages}
    chosen = st.selectbox(
        "Notebook", list(titles), index=None, format_func=titles.__getitem__, key="notebook", placeholder="Choose one"
    )
    if chosen is None:
        return
    path = project_file(f"{EXPORTED}/{chosen}.html")
    st.download_button("HTML", path.read_bytes(), path.name, "text/html", icon=":material/download:", on_click="ignore")
    st.iframe(path, height=PAGE_HEIGHT, alt=titles[chosen])


def _title(page: Path) -> str:
    return notebook_title(read_notebook(page.with_suffix(".ipynb"))) or page.stem


def show_collection() -> None:
    """Show the views of the basket, each with a sentence to write, and offer them as one page or ZIP."""
    st.header("Your own report")
    kept = basket.views()
    if not kept:
        st.info("Nothing is here yet: the button **Add to report** stands under every view.", icon=":material/info:")
        return
    title = st.text_input("Title", TITLE, max_chars=120, key="collection_title")
    for place, view in enumerate(list(kept)):
        with st.container(border=True):
            _show_view(place, view.title)
    views = [replace(view, sentence=str(st.session_state.get(_key(view.spec.to_json()), ""))) for view in kept]
    with st.container(horizontal=True):
        page, packed = to_page(title, views), to_zip(title, views)
        st.download_button("HTML", page, "report.html", "text/html", icon=":material/download:", on_click="ignore")
        st.download_button(
            "ZIP", packed, "report.zip", "application/zip", icon=":material/folder_zip:", on_click="ignore",
            help="Markdown with figures, tables and the records from which all can be made again.",
        )  # fmt: skip


def _show_view(place: int, title: str) -> None:
    view = basket.views()[place]
    st.subheader(f"{place + 1}. {title}")
    if view.png is not None:
        st.image(view.png, width="stretch", alt=view.alt)
    key = _key(view.spec.to_json())
    st.text_area("What do you see?", max_chars=LONGEST, key=key, persist_state="session")
    if st.button("Remove", key=f"remove_{key}", icon=":material/delete:"):
        basket.views().pop(place)
        st.rerun()


def _key(spec: str) -> str:
    """Name the sentence of a view by how it was made, so that it stays with it when another one is removed."""
    return f"sentence_{sha256(spec.encode()).hexdigest()[:12]}"
