"""Attribution: which places of the picture speak for a class?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import attribution

st.markdown(
    "Ask the network why it scores the picture as it does. Move through layers and classes; the map shows where, in "
    "this picture, the evidence for the class lies."
)
chosen = pickers.choose()
attribution.show_explanation(chosen)
st.caption("A map of this kind shows where the score comes from, not whether the reason is a good one.")
