"""The choices that all pages share: network, weights, picture, layer and class; kept when the page changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from xai import ImageTrace, predict
from xai.errors import UserError, one_of
from xai.figures.style import colormap_names
from xai.io.geometry import RESIZE_MODES
from xai.io.images import Image, load_image
from xai.io.models import MODELS
from xai.io.samples import SAMPLES, sample_names
from xai.model import Model
from xai.registry import METHODS, find_method
from xai.spec import COMMANDS
from xai.ui import caching, state
from xai.ui.pictures import Drawing, display
from xai.ui.weights import offer_weights

MAX_BYTES = 10_000_000
MAX_MEGAPIXELS = 20
KEEP_PIXELS = 600_000  # the network's memory grows with the picture; larger ones are for the command line
UPLOAD_TYPES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")
SOURCES = {"sample": "Sample", "upload": "Upload", "camera": "Camera"}
UPLOADED = "_picture_"  # and the source: where an upload stays when the page changes
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


def _adopt_link(model: Model) -> None:
    """Read what the link says about layer, class, method and options, in the words of a RunSpec."""
    state.adopt("layer", lambda text: model.layer(text.split(",")[-1]).name)
    state.adopt("channel", lambda text: _read_channel(model, text), str)
    state.adopt("target", lambda text: _read_targets(model, text))
    if st.query_params.get("method") in COMMANDS:  # the page itself says it
        del st.query_params["method"]
    state.adopt("method", lambda text: find_method(text).key, lambda key: METHODS[key].label)
    for param in METHODS[st.session_state.get("method", next(iter(METHODS)))].params:
        state.adopt(param.name, param.check, _spell)
    state.rerun_if_respelled()


def _spell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_channel(model: Model, text: str) -> int:
    layer = model.layer(st.session_state.get("layer", model.default_layer))
    if not text.isdecimal() or int(text) >= layer.shape[0]:
        raise UserError(f"Unknown channel {text!r} of {layer.name}. Choose 0 to {layer.shape[0] - 1}.")
    return int(text)


def _read_targets(model: Model, text: str) -> int:
    """Read the classes of a link: indices with commas between them, or one name; the first leads, others compare."""
    parts = text.split(",") if text.replace(",", "").isdecimal() else [text]
    first, *others = (model.find_class(part) for part in parts)
    if others:
        state.respell("compare", others, [class_labels(model)[index] for index in others])
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


@lru_cache(maxsize=8)
def class_labels(model: Model) -> tuple[str, ...]:
    """Name all classes, with the index where two share a name."""
    return tuple(map(model.class_label, range(len(model.class_names))))


# What a slider stands on is known before the slider is drawn. Fragments that rerun at each move show the picture first
# and the sliders after it: the picture is then on its way while the rest is still being made.


def current_layer(
    model: Model, *, key: str = "layer", names: Sequence[str] | None = None, default: str | None = None
) -> str:
    """Return the layer that the slider of that key stands on, or will at first."""
    state.keep_valid(key, list(names or model.layers()), default or model.default_layer)
    return st.session_state[key]


def slide_layer(
    model: Model,
    *,
    key: str = "layer",
    names: Sequence[str] | None = None,
    on_change: Callable[[], None] | None = None,
) -> None:
    """Show the layer slider, early layers on the left; `current_layer` has been asked before."""
    found = model.all_layers.get(st.session_state[key])
    shape = found and " × ".join(map(str, found.shape[1:]))
    about = f" · {found.group}, {found.shape[0]} channels of {shape}" if found else ""
    st.select_slider(f"Layer{about}", list(names or model.layers()), key=key, bind="query-params", on_change=on_change)


def find_class(traced: ImageTrace) -> None:
    """Show the search over all class names and the most likely classes; either sets the class and is empty again.

    The search holds every class name, which a browser takes a while to draw: keep it out of fragments that rerun often.
    """
    names = class_labels(traced.model)
    likely = {index: f"{name} · {probability:.1%}" for name, probability, index in predict(traced)}
    st.selectbox(
        "Find a class", range(len(names)), index=None, format_func=names.__getitem__, key="search", width=280,
        placeholder=f"Search {len(names):,} classes", filter_mode="contains", on_change=_take, args=("search",),
    )  # fmt: skip
    st.pills(
        "Most likely classes", likely, format_func=likely.__getitem__, key="likely", on_change=_take, args=("likely",)
    )


def _take(finder: str) -> None:
    if st.session_state[finder] is not None:
        st.session_state["target"] = st.session_state[finder]
        st.session_state[finder] = None


@dataclass(frozen=True)
class Ranked:
    """A class and its place among all classes of a picture, the most likely first."""

    target: int
    order: list[int]


def current_class(traced: ImageTrace) -> Ranked:
    """Return the class that the slider stands on, by default the predicted one."""
    order = traced.scores[0].detach().argsort(descending=True).tolist()
    state.keep_valid("target", (None, *range(len(order))), None)
    chosen = st.session_state["target"]
    return Ranked(order[0] if chosen is None else chosen, order)


def slide_class(model: Model, ranked: Ranked) -> None:
    """Show the slider over classes by rank and the class index; `current_class` has been asked before."""
    order = ranked.order
    st.session_state["rank"] = order.index(ranked.target) + 1
    by_rank, by_index = st.columns([3, 1])
    with by_rank:
        st.slider(
            f"Class by rank · {class_labels(model)[ranked.target]}", 1, len(order), key="rank", on_change=_take_rank,
            args=(order,),
        )  # fmt: skip
    with by_index:
        st.number_input(
            "Class index", 0, len(order) - 1, value=None, key="target", bind="query-params", placeholder=str(order[0])
        )


def _take_rank(order: list[int]) -> None:
    st.session_state["target"] = order[st.session_state["rank"] - 1]


def pick_drawing(*, signed: bool) -> Drawing:
    """Show the sliders for opacity and threshold, and the colour map; they are the same on all pages."""
    maps = colormap_names(signed=signed)
    key = "diverging" if signed else "colormap"
    alpha, threshold, colormap = st.columns(3)
    with alpha:
        opacity = st.slider("Opacity", 0, 100, 60, 5, format="%d %%", key="opacity", bind="query-params")
    with threshold:
        hidden = st.slider("Hide below (of the maximum)", 0, 95, 0, 5, format="%d %%", key="hide", bind="query-params")
    with colormap:
        name = st.selectbox("Colour map", maps, key=key, bind="query-params")
    return Drawing(name, opacity / 100, hidden / 100)
