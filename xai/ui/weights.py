"""Official weights that are not on this computer: offer them, download them in the background, show how far it is."""

from dataclasses import dataclass, field
from functools import cache
from threading import Event, Lock, Thread

import streamlit as st

from xai.errors import Cancelled, UserError
from xai.io.models import BUNDLED, MODELS, Preset
from xai.io.weights import download
from xai.model import UNTRAINED

LARGER = "resnet50"  # what is offered beside the network that ships with the app


@dataclass
class Download:
    """A download that all sessions see; written by its thread, read by the pages."""

    fraction: float = 0.0
    text: str = "Connecting ..."
    error: str = ""
    running: bool = True
    stop: Event = field(default_factory=Event)

    def report(self, fraction: float, text: str) -> None:
        """Take a progress report; raises Cancelled when somebody asked to stop."""
        if self.stop.is_set():
            raise Cancelled
        self.fraction, self.text = fraction, text


_LOCK = Lock()


@cache
def _downloads() -> dict[str, Download]:
    return {}


def start_download(preset: Preset) -> Download:
    """Start fetching weights, or join the download that is already under way."""
    with _LOCK:
        known = _downloads().get(preset.url)
        if known is None or not known.running:
            known = _downloads()[preset.url] = Download()
            Thread(target=_fetch, args=(preset, known), name=f"download {preset.name}", daemon=True).start()
    return known


def _fetch(preset: Preset, job: Download) -> None:
    try:
        download(preset.url, job.report)
    except Cancelled:
        job.error = "The download was stopped; started again, it goes on from there."
    except UserError as error:
        job.error = str(error)
    finally:
        job.running = False


def offer_weights(name: str, weights: str) -> bool:
    """Return True when the weights can be loaded now; else show what is missing and offer to fetch it."""
    preset = MODELS[name].presets.get(weights)
    if preset is None or preset.on_disk:
        _suggest(name, weights)
        return True
    with st.container(border=True):
        st.header(f"{name} · {weights} is not on this computer yet")
        st.markdown(
            f"These official weights are {preset.megabytes:.0f} MB and are fetched once "
            f"({preset.top1:.1f} % top-1 on ImageNet). Everything else here works without a network: "
            "choose other weights on the left to go on with what is there."
        )
        job = _downloads().get(preset.url)
        live = job is not None and job.running
        st.fragment(_show_download, run_every=0.4 if live else None)(preset, live)
    return False


def _suggest(name: str, weights: str) -> None:
    """Under an untrained network, and under the small one that ships with the app, say that better can be had."""
    shipped = MODELS[name].presets.get(weights) is not None and name == BUNDLED
    wanted = LARGER if shipped else name
    preset = next(iter(MODELS[wanted].presets.values()))
    if shipped:
        size = MODELS[name].presets[weights].fmt.size
        st.sidebar.caption(
            f"This small network ships with the app: it sees {size[0]} × {size[1]} pixels and knows "
            f"{len(MODELS[name].presets[weights].class_names)} classes."
        )
    if (weights == UNTRAINED or shipped) and not preset.on_disk:
        st.sidebar.button(
            f"Get {wanted if shipped else 'official weights'} ({preset.megabytes:.0f} MB)",
            icon=":material/download:", width="stretch",
            on_click=lambda: st.session_state.update(model=wanted, weights=preset.name),
        )  # fmt: skip


def _show_download(preset: Preset, live: bool) -> None:
    job = _downloads().get(preset.url)
    if job is not None and job.running:
        st.progress(job.fraction, text=job.text)
        if st.button("Stop", icon=":material/stop:"):
            job.stop.set()
        return
    if live or preset.on_disk:
        st.rerun()  # it ended while this was watching: the page goes on, or says what went wrong
    if job is not None and job.error:
        st.error(job.error, icon=":material/cloud_off:")
    if st.button(f"Download {preset.megabytes:.0f} MB", icon=":material/download:"):
        start_download(preset)
        st.rerun()
