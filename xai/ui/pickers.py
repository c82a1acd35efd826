"""The choices that all pages share: network, weights, picture, layer and class; kept when the page changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from xai import ImageTrace
from xai.errors import UserError, one_of
from xai.io.geometry import RESIZE_MODES
from xai.io.images import Image, load_image
from xai.io.models import MODELS
from xai.io.samples import SAMPLES, sample_names
from xai.model import Model
from xai.registry import METHODS, find_method
from xai.spec import COMMANDS
from xai.ui import caching, sliders, state
from xai.ui.pictures import display
from xai.ui.weights import offer_weights

MAX_BYTES = 10_000_000
MAX_MEGAPIXELS = 20
KEEP_PIXELS = 600_000  # the network's memory grows with the picture; larger ones are for the command line
UPLOAD_TYPES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")
SOURCES = {"sample": "Sample", "upload": "Upload", "camera": "Camera"}
UPLOADED = "_picture_"  # and the source: where an upload stays when the page changes
BESIDE = "beside"  # layers that the Compare page sets beside that of the slider
UNTRAINED_WARNING = (
    "**Untrained network: its weights are random.** The maps below show the architecture before learning; "
    "nothing in them has been learned."
)


@dataclass(frozen=True, eq=False)
class Choice:
    """What the pages look at: the network, the picture, how it becomes working pixels, and where it came from."""

    model: Model
    image: Image
    resize: str
    source: str

    def trace(self) -> ImageTrace:
        """One forward pass, kept; shared by all sessions."""
        return caching.image_trace(self.model, self.image, self.resize)

    @property
    def linkable(self) -> bool:
        """Whether an address can name the picture; an upload stays in its session."""
        return self.source == "sample"


def choose() -> Choice:
    """Show the shared choices in the sidebar and return them; what is wrong with them becomes one sentence.

    Stops the page when there is no network or no picture to go on with.
    """
    try:
        with st.sidebar:
            name, weights = _pick_network()
            image, source = _pick_picture()
            resize = _pick_resize(image)
        if not offer_weights(name, weights):
            st.stop()
        model = caching.network(name, weights)
        choice = Choice(model, image, resize, source)
        choice.trace()
        _adopt_link(model)
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()
    _show_choice(choice)
    return choice


def choose_picture() -> tuple[Image, str]:
    """Show in the sidebar which picture, for a page that brings its own networks; return it and its source.

    Raises:
        UserError: the link or the upload names no picture that can be read.
    """
    with st.sidebar:
        return _pick_picture()


def _adopt_link(model: Model) -> None:
    """Read what the link says about layer, class, method and options, in the words of a RunSpec."""
    compares = st.query_params.get("method") == "compare"
    state.adopt("layer", lambda text: _read_layer(model, text, compares=compares))
    state.adopt("channel", lambda text: _read_channel(model, text), None)
    state.adopt("filter", _read_number, None)
    state.adopt("target", lambda text: _read_targets(model, text), None)
    if st.query_params.get("method") in COMMANDS:  # the page itself says it
        del st.query_params["method"]
    state.adopt("method", lambda text: find_method(text).key, lambda key: METHODS[key].label)
    for param in METHODS[st.session_state.get("method", next(iter(METHODS)))].params:
        state.adopt(param.name, param.check, _spell)
    state.rerun_if_respelled()


def _spell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_layer(model: Model, text: str, *, compares: bool) -> str:
    names = text.split(",")
    if len(names) > 1 and compares:
        others = [model.layer(name).name for name in names[1:] if name in model.all_layers]
        state.respell(BESIDE, others, others)
        return model.layer(names[0]).name
    if len(names) > 1:
        state.notice(f"The link fuses {len(names)} layers, which only commands and library do: the last is shown.")
    return model.layer(names[-1]).name


def _read_channel(model: Model, text: str) -> int:
    layer = model.layer(st.session_state.get("layer", model.default_layer))
    if not text.isdecimal() or int(text) >= layer.shape[0]:
        raise UserError(f"Unknown channel {text!r} of {layer.name}. Choose 0 to {layer.shape[0] - 1}.")
    return int(text)


def _read_number(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"Unknown filter {text!r}. Give its number.")
    return int(text)


def _read_targets(model: Model, text: str) -> int:
    """Read the classes of a link: indices with commas between them, or one name; the first leads, others compare."""
    parts = text.split(",") if text.replace(",", "").isdecimal() else [text]
    first, *others = (model.find_class(part) for part in parts)
    if others:
        state.respell("compare", others, [sliders.class_labels(model)[index] for index in others])
    return first


def _show_choice(choice: Choice) -> None:
    with st.container(horizontal=True, gap="small"):
        st.badge(choice.model.title, icon=":material/hub:", color="blue" if choice.model.trained else "orange")
        st.badge(choice.image.name, icon=":material/image:", color="gray")
    if not choice.model.trained:
        st.warning(UNTRAINED_WARNING, icon=":material/warning:")
    state.show_notices()


def _pick_network() -> tuple[str, str]:
    first, first_weights = caching.start_model()
    names = list(dict.fromkeys((first, *MODELS)))  # what the address does not name is the first
    state.adopt("model", lambda text: _member("model", text, names))
    name = st.selectbox(
        "Network", names, key="model", bind="query-params", on_change=_take_best_weights, filter_mode="contains"
    )
    best = first_weights if name == first else caching.best_weights(name)
    labels = list(dict.fromkeys((best, *caching.weights_labels(name))))
    state.adopt("weights", lambda text: _member(f"weights for {name}", text, labels))
    state.keep_valid("weights", labels, best)
    weights = st.selectbox("Weights", labels, key="weights", bind="query-params")
    return name, weights


def _take_best_weights() -> None:
    st.session_state["weights"] = caching.best_weights(st.session_state["model"])


def _pick_picture() -> tuple[Image, str]:
    source = st.segmented_control(
        "Picture", list(SOURCES), format_func=SOURCES.__getitem__, default="sample", required=True, key="source",
        persist_state="session", width="stretch",
    )  # fmt: skip
    if source == "sample":
        state.adopt("image", lambda text: _member("sample", text, sample_names()))
        name = st.selectbox("Sample", sample_names(), key="image", bind="query-params")
        image = load_image(name)
        st.image(_thumbnail(image), width="stretch", alt=SAMPLES[name].title)
        st.caption(f"{SAMPLES[name].title}. {SAMPLES[name].credit}.")
        return image, source
    if source == "camera":
        given = st.camera_input("Take a picture", key="camera", on_change=_forget_removed, args=("camera",))
    else:
        given = st.file_uploader(
            "A picture of yours", type=UPLOAD_TYPES, key="upload", max_upload_size=10,
            on_change=_forget_removed, args=("upload",),
            help="Up to 10 MB and 20 megapixels. It stays in this server's memory and goes when you close the tab.",
        )  # fmt: skip
    if given is not None:
        st.session_state[UPLOADED + source] = load_image(
            given.getvalue(), name=given.name, max_megapixels=MAX_MEGAPIXELS, max_bytes=MAX_BYTES
        )
    kept: Image | None = st.session_state.get(UPLOADED + source)
    if kept is None:
        st.info("Until there is a picture, the first sample is shown.", icon=":material/info:")
        return load_image(sample_names()[0]), "sample"
    st.image(_thumbnail(kept), width="stretch", alt=f"Your picture {kept.name}")
    st.caption(f"{kept.name}, {kept.width} × {kept.height} pixels")
    return kept, source


def _forget_removed(source: str) -> None:
    if st.session_state.get(source) is None:
        st.session_state.pop(UPLOADED + source, None)


def _pick_resize(image: Image) -> str:
    offered = [mode for mode in RESIZE_MODES if mode != "keep" or image.width * image.height <= KEEP_PIXELS]
    state.adopt("resize", lambda text: _member("resize", text, offered))
    state.keep_valid("resize", offered, offered[0])
    chosen = st.segmented_control(
        "The network sees", offered, required=True, key="resize", bind="query-params", width="stretch",
        help="center-crop: the middle of the picture, as in training; squash: all of it, its sides made equal; "
        "keep: its own pixels (small pictures only).",
    )  # fmt: skip
    return chosen or offered[0]


def _thumbnail(image: Image) -> bytes:
    return display(image).jpeg


def _member(what: str, text: str, names: Sequence[str]) -> str:
    if text not in names:
        raise one_of(what, text, names)
    return text
