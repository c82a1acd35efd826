"""Adversarial: how small a change makes the network say something else?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import attacks

st.markdown(
    "Change every value of the picture by a little, each in the direction that hurts most. Epsilon is the largest "
    "change, in steps of an 8-bit picture: often one step, which nobody sees, is enough. The maps show where the "
    "network finds its reasons before and after."
)
chosen = pickers.choose()
attacks.show_attack(chosen)
st.caption(
    "That an attack fails says little: a stronger one may not. A map that stays the same while the class changes is a "
    "warning about the map."
)
