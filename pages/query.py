"""Query: where does a picture belong in a clustering, and is it like anything the network has seen?"""

import streamlit as st

from xai.ui import runs
from xai.ui.panels import query

st.markdown(
    "Give a picture to a clustering run: its cluster at each head, its neighbours, the places that decide, the words "
    "of its clusters, and what would have to change. A picture unlike all training pictures is said to be so."
)
run = runs.choose_run()
query.show_query(run, runs.choose_head(run))
st.caption("Every picture falls into some cluster, also one that shows nothing the network was trained on.")
