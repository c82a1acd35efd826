"""Slow explanations: started by a button, run in the background, watched with a preview, stopped on request."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Thread
from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from xai.errors import Cancelled, UserError
from xai.ui.caching import CORES

_JOB = "_slow_job"  # in the session: the one explanation that it waits for
_SLOTS = BoundedSemaphore(max(1, CORES // 2))  # over all sessions, so that sliders stay quick meanwhile
_SECONDS = 0.4  # between two looks

Make = Callable[[Callable[[float, Tensor | None], None]], Any]
Preview = Callable[[np.ndarray], None]


@dataclass
class Job:
    """An explanation on its way; written by its thread, read by the page."""

    key: Hashable
    fraction: float = 0.0
    partial: np.ndarray | None = None
    result: Any = None
    error: str = ""
    running: bool = True
    begun: float | None = None
    stop: Event = field(default_factory=Event)

    def report(self, fraction: float, partial: Tensor | None) -> None:
        """Take a progress report; raises Cancelled when somebody asked to stop."""
        if self.stop.is_set():
            raise Cancelled
        self.fraction = fraction
        if partial is not None:
            self.partial = partial.detach().cpu().numpy().copy()

    @property
    def text(self) -> str:
        """How far it is, with the time left."""
        if self.begun is None:
            return "Waiting for another explanation to end ..."
        spent = time.monotonic() - self.begun
        if self.fraction <= 0:
            return "Starting ..."
        return f"{self.fraction:.0%}, {spent * (1 - self.fraction) / self.fraction:.0f} s left"

    def run(self, make: Make) -> None:
        """Make the explanation; whatever happens is told by `result` or `error`."""
        torch.set_num_threads(max(1, CORES - 1))
        try:
            while not _SLOTS.acquire(timeout=0.1):
                if self.stop.is_set():
                    raise Cancelled
            try:
                self.begun = time.monotonic()
                self.result = make(self.report)
            finally:
                _SLOTS.release()
        except Cancelled:
            self.error = "Stopped."
        except UserError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"This explanation failed: {type(error).__name__}."
            raise
        finally:
            self.running = False


def current(key: Hashable) -> Job | None:
    """Return the job of this session if it is the one for this key; another one that still runs is stopped."""
    job = st.session_state.get(_JOB)
    if job is not None and job.key != key:
        job.stop.set()
        return None
    return job


def start(key: Hashable, make: Make) -> Job:
    """Start an explanation in the background, in place of the one that the session may still wait for."""
    current(key)
    job = st.session_state[_JOB] = Job(key)
    Thread(target=job.run, args=(make,), name="slow explanation", daemon=True).start()
    return job


def watch(
    key: Hashable, label: str, make: Make, preview: Preview | None = None, *, why: str = "asks the network many times"
) -> Any:
    """Offer to start an explanation, show how far it is, and return it when it is there, else None.

    Args:
        key: what it depends on.
        label: name of the method.
        make: computes it; is given the function that takes progress.
        preview: shows the maps so far (K, h, w); None for none.
        why: what takes so long, in words that follow the label.
    """
    job = current(key)
    if job is not None and job.result is not None:
        return job.result
    running = job is not None and job.running
    st.fragment(_show, run_every=_SECONDS if running else None)(key, label, make, preview, why, running)
    return None


def _show(key: Hashable, label: str, make: Make, preview: Preview | None, why: str, was_running: bool) -> None:
    job = current(key)
    if job is not None and job.running:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(min(1.0, job.fraction), text=f"{label}: {job.text}")
            st.button("Stop", icon=":material/stop:", on_click=job.stop.set)
        if job.partial is not None and preview is not None:
            preview(job.partial)
        return
    if was_running:
        st.rerun()  # it ended while this was watching: the page shows the result, or what went wrong
    if job is not None and job.error:
        st.info(job.error, icon=":material/info:")
    st.caption(f"{label}: {why}, so it waits for a word from you.")
    if st.button(f"Start {label}", icon=":material/play_arrow:"):
        start(key, make)
        st.rerun()  # the whole page: a timer that was not there before starts with a full run only
