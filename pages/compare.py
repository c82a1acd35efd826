"""Compare: do different methods point at the same places?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import compare

st.markdown(
    "Set methods, layers and networks side by side on one picture and one class. Where methods that work in different "
    "ways point at the same places, the finding is worth more; the controls (random, centre, edges) show what "
    "agreement is worth nothing."
)
chosen = pickers.choose()
compare.show_comparison(chosen)
st.caption("Agreement is no proof: methods can share a blind spot, and some must coincide by arithmetic.")
