"""Report: which approach answers which question, what was found with it, and what did you find yourself?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import report

st.markdown(
    "Every way to look into a network answers some questions and not others. Ask for the ones you have, read what each "
    "approach found in the network of the report, and write a report of your own from the views that you keep."
)
pickers.choose()
report.show_collection()
report.show_approaches()
report.show_notebooks()
st.caption("Views that you keep stay in this session: download them before you close the page.")
