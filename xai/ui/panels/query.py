"""The panel of the Query page: clusters, neighbours, maps and words of one picture, and what would move it."""

from collections.abc import Hashable
from typing import Any

import streamlit as st

from xai import clusters as views
from xai.errors import UserError
from xai.figures import cluster_flows
from xai.figures.clusters import picture_sheet
from xai.figures.sheets import encode_png
from xai.io.images import Image, load_image
from xai.scan.explain.query import Counterfactual, Story, count_votes, find_counterfactual, find_pairs
from xai.scan.explain.survey import TRAIN, main_heads
from xai.scan.run import Head, ScanRun
from xai.ui import caching, pickers, runs, state
from xai.ui.panels.clusters import kept_row, show_row

HELD_OUT, OTHER = "held out", "other picture"


def show_query(run: ScanRun, head: Head) -> None:
    """Show which picture is asked about, and all that the run says about it."""
    try:
        image = _choose(run)
        story = runs.story_of(run, image)
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return
    state.show_notices()
    _answer(story, head)


def _choose(run: ScanRun) -> Image:
    """Show where the picture comes from: the run's held-out pictures, a sample, or the user."""
    state.keep_valid("asked", (HELD_OUT, OTHER), HELD_OUT)
    with st.sidebar:
        source = st.segmented_control("Ask about", (HELD_OUT, OTHER), required=True, key="asked", bind="query-params")
    if source == OTHER:
        return pickers.choose_picture()[0]
    pictures = run.pictures("validation")
    state.start_with("number", 0)
    state.clamp("number", 0, len(pictures) - 1)
    with st.sidebar:
        number = int(st.number_input("Held-out picture", 0, len(pictures) - 1, key="number", bind="query-params"))
        image = load_image(pictures[number], name=pictures.names[number])
        st.image(_enlarged(image), width="stretch", alt=image.name)
        st.caption(image.name)
    return image


def _enlarged(image: Image) -> bytes:
    return encode_png(picture_sheet([image.pixels], tile=224))


@st.fragment
def _answer(story: Story, head: Head) -> None:
    """Show the answers, from "is it like anything?" to "what would move it?"."""
    alike = story.found.unlikeness
    if alike.unlike:
        st.warning(alike.sentence, icon=":material/warning:")
    else:
        st.success(alike.sentence, icon=":material/check:")
    _path(story)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.header("Which places decide?")
        key = runs.run_key(story.run), story.image.digest, head.name, "query maps"
        show_row(kept_row(key, lambda: _maps(story, head)))
    with right:
        _words(story, head)
    agree, others = count_votes(story, head)
    if others:
        st.caption(f"{agree} of {others} other replicas of this head put it into the corresponding cluster.")
    st.header("Its neighbours")
    show_row(views.neighbours_row(story, head))
    _what_if(story, head)
    _pairs(story, head)


def _path(story: Story) -> None:
    """Show the cluster at each head, and the way through the flow of the training pictures."""
    run = story.run
    surveys = [runs.survey_of(run, head) for head in main_heads(run)]
    columns = st.columns(len(story.path))
    for column, step, survey in zip(columns, story.path, surveys, strict=True):
        with column:
            st.metric(f"{survey.head.clusters} clusters", f"No. {step.cluster}", border=True)
            _, _, words = survey.title(step.cluster).partition(": ")
            told = f"{words.capitalize()}. " if words else ""
            told += f"{step.probability:.0%}, then cluster {step.second} with {step.second_probability:.0%}."
            if step.company is not None:
                usual = "" if step.usual else ", an unusual way"
                told += f" {step.company:.0%} of it come from the cluster before{usual}."
            st.caption(told)
    levels = views.find_levels(run, surveys, story)
    if levels is not None:
        with st.expander("Its way through the heads", icon=":material/account_tree:"):
            chart = cluster_flows.sankey(levels)
            st.plotly_chart(chart, width="stretch", key="path", config={"displayModeBar": False})
            st.caption(levels.alt)


def _maps(story: Story, head: Head) -> views.Row:
    heads = main_heads(story.run)
    made = views.cluster_maps(story.run, story.image, heads)
    pair = views.contrast_map(story.run, story.image, head)
    tiles = [*map(views.draw_map, made), views.draw_map(pair)]
    captions = [f"{each.name}: cluster {one.target[0]}" for each, one in zip(heads, made, strict=True)]
    captions.append(f"{head.name}: {pair.target_names[0].replace('cluster ', '').replace(' rather than ', ', not ')}")
    sheet = picture_sheet(tiles, captions, columns=2, tile=150)
    said = f"Each map is on its own scale. {views.contrast_sentence()}"
    return views.Row(sheet, f"Maps of clusters: {'; '.join(captions)}.", said)


def _words(story: Story, head: Head) -> None:
    survey, cluster = runs.survey_of(story.run, head), story.cluster(head.name)
    st.header(f"What is cluster {cluster}?")
    show_row(views.gallery(survey, cluster, most=12, columns=6))
    words = survey.words[cluster]
    if words:
        st.markdown(" ".join(f":gray-badge[{word.term}]" for word in words[:10] if word.term.isprintable()))


def _what_if(story: Story, head: Head) -> None:
    found = _flipped((runs.run_key(story.run), story.image.digest, head.name), story, head)
    if found is not None:
        st.header("What would move it to another cluster?")
        show_row(views.edit_row(story, found))


@caching.byte_bounded(128, lambda found: 1)
def _flipped(key: Hashable, story: Story, head: Head) -> Counterfactual | None:
    return find_counterfactual(story, head)


def _pairs(story: Story, head: Head) -> None:
    """Show which pairs of training pictures hold it in its cluster, when somebody opens it."""
    with st.expander("Which pairs of training pictures pull it there?", icon=":material/compare_arrows:"):
        raised, lowered = _paired((runs.run_key(story.run), story.image.digest, head.name), story, head)
        for title, pairs in (("Pairs that pull it there", raised), ("Pairs that pull it away", lowered)):
            row = views.pairs_row(story, pairs)
            st.markdown(f"**{title}**" if row else f"{title}: none")
            show_row(row)
        st.caption(
            "One more training step on such a pair would change the picture's score by about this much (TracIn, on the "
            f"head alone). The {len(story.run.pictures(TRAIN))} training pictures and their neighbours were searched."
        )


@caching.byte_bounded(128, lambda found: 1)
def _paired(key: Hashable, story: Story, head: Head) -> Any:
    return find_pairs(story, head)
