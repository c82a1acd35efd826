"""Feature visualisation: which picture would excite a channel, a layer or a class most?"""

import streamlit as st

from xai.ui import pickers
from xai.ui.panels import dreams

st.markdown(
    "Turn the network round: begin with noise and change it, step by step, so that one channel, a whole layer or a "
    "class answers more strongly. Beside a channel's picture stand the parts of photographs that excite it most."
)
chosen = pickers.choose()
dreams.show_dreams(chosen)
st.caption(
    "Such a picture shows what excites the network without limit, not what it usually sees; another start gives "
    "another picture, and the regularisers (smooth frequencies, small shifts and turns) have their part in it."
)
