"""Clusters: what did the network put together without being told, and why?"""

import streamlit as st

from xai.ui import runs
from xai.ui.panels import clusters

st.markdown(
    "A network has sorted pictures into clusters without labels (SCAN). See what each cluster holds, what sets it "
    "apart from the others, which places of a picture decide, and how coarse and fine clusterings fit together."
)
run = runs.choose_run()
clusters.show_clusters(run, runs.choose_head(run))
st.caption("A cluster is what the network found alike; nothing says that it is what a person would call a kind.")
