"""The frame around every page: page settings, title and navigation over pages/."""

from functools import cache

import streamlit as st
from PIL import Image, ImageDraw

from xai.resources import project_file
from xai.ui.components.dials import current_page
from xai.ui.state import KNOWN_PAGES, SHOWN_PAGE

PAGES = (
    ("start", "Start", ":material/home:"),
    ("feature_maps", "Feature maps", ":material/grid_view:"),
    ("filters", "Filters", ":material/blur_on:"),
    ("attribution", "Attribution", ":material/my_location:"),
    ("compare", "Compare", ":material/compare:"),
    ("concepts", "Concepts", ":material/category:"),
    ("feature_visualization", "Feature visualisation", ":material/brush:"),
    ("adversarial", "Adversarial", ":material/shield:"),
    ("clusters", "Clusters", ":material/bubble_chart:"),
    ("query", "Query", ":material/image_search:"),
    ("report", "Report", ":material/description:"),
)


@cache
def favicon() -> Image.Image:
    """Draw the icon of the browser tab: a picture with a warm spot; no icon font is fetched for it."""
    icon = Image.new("RGBA", (256, 256))
    draw = ImageDraw.Draw(icon)
    draw.rounded_rectangle((8, 8, 247, 247), 56, fill="#0b647d")
    for radius, colour in ((88, "#56257a"), (62, "#d0453f"), (34, "#fbb61a")):
        draw.ellipse((128 - radius, 128 - radius, 128 + radius, 128 + radius), fill=colour)
    return icon.resize((64, 64), Image.Resampling.LANCZOS)


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title="xai", page_icon=favicon(), layout="wide")
    folder = project_file("pages")
    pages = {
        name: st.Page(folder / f"{name}.py", title=title, icon=icon, default=name == "start")
        for name, title, icon in PAGES
    }
    st.session_state[KNOWN_PAGES] = pages
    page = st.navigation(list(pages.values()))
    st.session_state[SHOWN_PAGE] = page, current_page()
    st.title(page.title)
    page.run()


if __name__ == "__main__":
    main()
