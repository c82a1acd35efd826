"""Concepts: which parts does a layer tell apart, and what is each of them called?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import concepts

st.markdown(
    "A layer's channels are factorised into a few concepts, each with a colour, a place and, at the last stage, the "
    "classes that the classifier would name if it saw nothing else. Let further pictures share the concepts to see "
    "what they have in common."
)
chosen = pickers.choose()
concepts.show_concepts(chosen)
st.caption(
    "A concept is a direction that fits the activations well, not a word the network knows; another number of concepts "
    "cuts the same activations in another way."
)
