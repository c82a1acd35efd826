"""What LIME found beside its map: the linear model, the superpixels cut out, and the table of them."""

import streamlit as st

from xai import Explanation
from xai.figures.sheets import encode_jpeg
from xai.figures.superpixels import cut_out, outline, place_labels
from xai.superpixels import SHOWN, lime_details, strongest, tabulate_models, tabulate_superpixels, weights_of
from xai.ui import state
from xai.ui.pictures import display


@st.fragment
def show_superpixels(made: Explanation) -> None:
    """Show the superpixels of one of the classes: what is chosen here asks nothing of the network again."""
    found = lime_details(made)
    assert found is not None, "called for LIME only"
    target = _pick_target(made)
    _show_model(made, target)
    weights = weights_of(made, target)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        signs = st.segmented_control(
            "Superpixels", ["both signs", "positive only"], default="both signs", required=True
        )
        state.start_with("superpixels_shown", min(int(made.params["top"]) or SHOWN, len(weights)))
        state.clamp("superpixels_shown", 1, len(weights))
        count = st.slider("The strongest", 1, max(2, len(weights)), key="superpixels_shown")
        hide = st.toggle("Hide the rest", key="hide_rest", help="Grey: how much of the picture the linear model needs.")
    kept = strongest(weights, count, positive_only=signs == "positive only")
    shown = display(made.image)
    height, width = shown.pixels.shape[:2]
    labels = place_labels(found.segments.numpy(), (width, height), shown.box(made.box))
    name = made.target_names[target]
    left, right = st.columns(2)
    left.image(
        encode_jpeg(outline(shown.pixels, labels)), width="stretch", caption=f"{len(weights)} superpixels",
        alt=f"{made.image.name} with the boundaries of {len(weights)} superpixels",
    )  # fmt: skip
    right.image(
        encode_jpeg(cut_out(shown.pixels, labels, weights, kept, hide_rest=hide)),
        width="stretch",
        caption=f"{len(kept)} superpixels; red: for {name}, blue: against it",
        alt=f"The {len(kept)} strongest superpixels for {name} outlined" + (", all else grey" if hide else ""),
    )
    table = tabulate_superpixels(made)
    st.dataframe(table, hide_index=True, width="stretch", height=240, key="superpixel_table")
    st.download_button(
        "Superpixels as CSV", lambda: table.to_csv(index=False).encode(), f"superpixels-{made.image.name}.csv",
        "text/csv", icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def _pick_target(made: Explanation) -> int:
    """Return the place of the class whose superpixels are shown; there is a choice where several were asked about."""
    places = range(len(made.target))
    if len(places) == 1:
        return 0
    state.keep_valid("superpixels_of", places, 0)
    place = st.segmented_control(
        "Superpixels of", places, key="superpixels_of", format_func=made.target_names.__getitem__, required=True
    )
    assert place is not None, "it is required"
    return place


def _show_model(made: Explanation, target: int) -> None:
    """Show how good the linear model of a class is; R² says how far its weights may be believed."""
    model = tabulate_models(made).iloc[target]
    unit = "probability" if made.params["output"] == "probability" else "score"
    facts = {
        "Superpixels": f"{model['superpixels']}",
        "Pictures scored": f"{model['samples']:,}",
        "Weighted R²": f"{model['r2']:.3f}",
        "Intercept": f"{model['intercept']:.3g}",
        f"Linear model's {unit}": f"{model['local_prediction']:.3g}",
        f"Network's {unit}": f"{model['network']:.3g}",
    }
    with st.container(horizontal=True):
        for label, text in facts.items():
            st.metric(label, text, width="content")
