"""Filters: which patterns does a convolution look for?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import filters

st.markdown(
    "The kernels of a convolution are what it learned, the same for every picture. The first layer reads colours, so "
    "its kernels are small pictures; deeper ones read channels, and are shown by their strongest pattern or one input "
    "channel at a time."
)
chosen = pickers.choose()
filters.show_filters(chosen)
st.caption(
    "Kernels show what a filter multiplies, not what it ends up responding to: deeper ones see the world through all "
    "layers before."
)
