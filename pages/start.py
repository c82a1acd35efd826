"""Start: which network, which picture, and what does the network say?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import start

st.markdown(
    "An image classifier turns a picture into a list of class names. The pages here let you look inside: at what its "
    "layers respond to, at the patterns its filters carry, and at the places that speak for a class. "
    "Pick a network and a picture in the menu on the left; everything follows at once."
)
chosen = pickers.choose()
start.show_prediction(chosen)
start.show_model_card(chosen)
start.show_questions()
