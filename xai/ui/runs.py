"""The choices that the clustering pages share: run, head, cluster; loaded once for all sessions."""

import os
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from xai.errors import UserError, one_of
from xai.io.model_files import RUN_FILE
from xai.scan.explain.query import Story, tell
from xai.scan.explain.survey import Survey, find_terms, main_heads
from xai.scan.run import EMBEDDED, Head, ScanRun, open_run
from xai.ui import caching, state

_CLUSTER_OF = "_cluster_of"
FOLDER = "runs"  # below it, each run has a folder; XAI_RUNS names another place
NONE_YET = (
    "There is no clustering run to look at. Make one with `xai scan train --preset embedded --output runs/mine` and "
    "start the app where that folder is, or set `XAI_RUNS` to the folder that holds your runs."
)


def run_folders() -> dict[str, Path]:
    """Find the runs to offer: the one that ships, and those below the folder of runs."""
    found = {"embedded": EMBEDDED} if (EMBEDDED / RUN_FILE).is_file() else {}
    place = Path(os.environ.get("XAI_RUNS", FOLDER))
    # The folders of `xai train` have a run.json too, but no state.json.
    for path in sorted(place.glob("*/state.json")) if place.is_dir() else ():
        found.setdefault(path.parent.name, path.parent)
    return found


def choose_run() -> ScanRun:
    """Show in the sidebar which run; stop the page where there is none, or it cannot be opened."""
    folders = run_folders()
    if not folders:
        st.info(NONE_YET, icon=":material/info:")
        st.stop()
    names = list(folders)
    state.adopt("run", lambda text: _member("run", text, names))
    state.keep_valid("run", names, names[0])
    with st.sidebar:
        name = st.selectbox("Run", names, key="run", bind="query-params")
        try:
            run = _opened(name, str(folders[name]), _stamp(folders[name]))
            run.head(None)
        except UserError as error:
            st.error(str(error), icon=":material/error:")
            st.stop()
        config = run.config
        st.caption(f"{config.data}, {config.architecture} at {config.size} pixels, {len(run.heads)} heads")
    return run


def choose_head(run: ScanRun) -> Head:
    """Show in the sidebar which head; the best of each size."""
    heads = main_heads(run)
    names = [head.name for head in heads]
    state.adopt("head", lambda text: _read_head(text, names), _head_label)
    state.rerun_if_respelled()
    state.keep_valid("head", names, run.head(None).name)
    with st.sidebar:
        name = st.segmented_control(
            "Head, by number of clusters",
            names,
            required=True,
            key="head",
            bind="query-params",
            format_func=_head_label,
        )
    return run.head(name or run.head(None).name)


def choose_cluster(survey: Survey) -> int:
    """Show a choice of the head's clusters, with their words."""
    clusters = list(range(survey.head.clusters))
    state.adopt("cluster", lambda text: _read_cluster(survey.head, text), survey.title)
    state.rerun_if_respelled()
    state.keep_valid("cluster", clusters, 0)
    about = (survey.run.name, survey.head.name)
    if st.session_state.get(_CLUSTER_OF) != about:  # set again: else the browser goes on showing the words it has
        st.session_state[_CLUSTER_OF] = about
        st.session_state["cluster"] = st.session_state["cluster"]
    return st.selectbox("Cluster", clusters, format_func=survey.title, key="cluster", bind="query-params")


def _head_label(name: str) -> str:
    return name[1:]


def _read_head(text: str, names: Sequence[str]) -> str:
    """Read a head as "k8", "8" or "8 clusters"."""
    number = re.fullmatch(r"k?([0-9]{1,6})(?: clusters)?", text)
    return _member("head", f"k{number[1]}" if number else text, names)


def _read_cluster(head: Head, text: str) -> int:
    """Read a cluster by its number, alone or with its words: "5" or "Cluster 5: bar, straight"."""
    number = re.match(r"(?:Cluster )?([0-9]{1,6})(?::|$)", text)
    if number is None or int(number[1]) >= head.clusters:
        raise one_of("cluster", text, [str(each) for each in range(head.clusters)])
    return int(number[1])


def _member(what: str, text: str, names: Sequence[str]) -> str:
    if text not in names:
        raise one_of(what, text, names)
    return text


def _stamp(folder: Path) -> float:
    """When the run was last written; a run that is trained further is opened anew."""
    path = folder / "state.json"
    return path.stat().st_mtime if path.is_file() else 0.0


@st.cache_resource(max_entries=3, show_spinner="Opening the run ...")
def _opened(name: str, folder: str, stamp: float) -> ScanRun:
    run = open_run(folder)
    run.name = name
    caching.settle()
    return run


def run_key(run: ScanRun) -> Hashable:
    """Name a run by what determines its results."""
    return str(run.folder), _stamp(run.folder)


def survey_of(run: ScanRun, head: Head) -> Survey:
    """Everything about the clusters of a head, kept while there is room."""
    return surveyed(run_key(run), head.name, _run=run)


@st.cache_resource(max_entries=12, show_spinner=False)
def surveyed(key: Hashable, head: str, *, _run: ScanRun) -> Survey:
    """Make a survey once for all sessions."""
    return Survey(_run, _run.head(head), _terms(key, _run=_run))


@st.cache_resource(max_entries=3, show_spinner="Reading the words ...")
def _terms(key: Hashable, *, _run: ScanRun) -> Any:
    return find_terms(_run)


def story_of(run: ScanRun, image: Any) -> Story:
    """Ask the run about a picture, once."""
    return _told((run_key(run), image.digest), run, image)


@caching.byte_bounded(256, lambda story: 1)
def _told(key: Hashable, run: ScanRun, image: Any) -> Story:
    return tell(run, image, nearest=min(20, len(run.pictures("train"))))
