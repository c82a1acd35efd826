"""Feature maps: which channels of a layer respond to the picture, and where?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import feature_maps

st.markdown(
    "Every layer holds a stack of channels; each is a small map of how strongly one pattern was found, place by place. "
    "Move through the layers from edges to objects, and drag through the channels of one."
)
chosen = pickers.choose()
feature_maps.show_channels(chosen)
st.caption(
    "All maps come from one real forward pass. A channel that lights up on the object shows where a pattern was found, "
    "not that the network's answer depends on it: for that, sort by contribution or open Attribution."
)
