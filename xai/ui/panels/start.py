"""The panels of the Start page: what the network sees and says, facts about it, and where to go from here."""

import streamlit as st

from xai import predict
from xai.figures.interactive import prediction_bars
from xai.io.models import MODELS
from xai.ui import pickers
from xai.ui.pictures import working_jpeg
from xai.ui.state import KNOWN_PAGES

QUESTIONS = {
    "feature_maps": "Which patterns does each layer find in this picture?",
    "filters": "Which patterns do the filters look for?",
    "attribution": "Which places of the picture speak for a class?",
    "compare": "Do different methods point at the same places?",
    "concepts": "Which parts does a layer tell apart, in several pictures at once?",
    "feature_visualization": "What would excite a channel or a class most?",
    "adversarial": "How small a change turns the answer?",
    "clusters": "What does a network put together without labels, and why?",
    "query": "Where does a picture belong in a clustering, and is it like anything seen?",
    "report": "Which approach answers which question, and what did you find?",
}


def show_prediction(choice: pickers.Choice) -> None:
    """Show the picture as the network gets it, beside its five most likely classes."""
    traced = choice.trace()
    seen, said = st.columns([2, 3], gap="medium")
    with seen, st.container(border=True, height="stretch"):
        st.header("What the network sees")
        st.image(working_jpeg(traced), width="stretch", alt=f"{choice.image.name} as the network gets it")
        height, width = traced.pixels.shape[2:]
        st.caption(f"{width} × {height} pixels, made from {choice.image.width} × {choice.image.height}")
    with said, st.container(border=True, height="stretch"):
        st.header("What it says")
        likely = predict(traced)
        names, probabilities, _ = zip(*likely, strict=True)
        st.plotly_chart(
            prediction_bars(names, probabilities), width="stretch", key="prediction", config={"displayModeBar": False}
        )
        meaning = (
            "share out 100 % among all classes" if choice.model.output == "softmax" else "are given class by class"
        )
        st.caption(f"The probabilities {meaning}. They say how sure the network is, not how right.")


def show_model_card(choice: pickers.Choice) -> None:
    """Show the facts about the network."""
    model = choice.model
    layers = model.layers().values()
    convolutions = sum(layer.group == "convolution" for layer in layers)
    height, width = model.input_size
    with st.container(border=True):
        st.header(model.title)
        with st.container(horizontal=True):
            st.metric("Parameters", f"{model.parameters / 1e6:.1f} M")
            st.metric("Input", f"{height} × {width}")
            st.metric("Classes", f"{len(model.class_names):,}")
            st.metric(
                "Layers to look at", len(layers), help=f"{convolutions} convolutions, the others stages and blocks"
            )
        preset = MODELS[model.name].presets.get(model.weights) if model.name in MODELS else None
        if preset is not None:
            told = "Measured" if preset.shipped else "Published"
            right = f"{preset.top1:.1f} % top-1, {preset.top5:.1f} % top-5"
            st.markdown(f"{told} accuracy on {preset.measured_on}: {right}.")
        for note in model.notes:
            st.markdown(f"- {note}")
        st.caption(f"Weights digest (sha256): {model.weights_digest[:16]}")


def show_questions() -> None:
    """Lead on to the other pages."""
    st.header("Where to go from here")
    known = st.session_state.get(KNOWN_PAGES, {})
    for name, question in QUESTIONS.items():
        if name in known:
            st.page_link(known[name], label=question, icon=known[name].icon)
        else:
            st.markdown(question)
