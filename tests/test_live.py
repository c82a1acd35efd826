"""Pictures beside the page: who may ask, what is answered, and that it is what a run of the page would show."""

from __future__ import annotations

import asyncio
import gc
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from starlette.requests import Request
from streamlit.testing.v1 import AppTest

from xai.errors import UserError
from xai.ui import live
from xai.ui.components import dials
from xai.ui.components.dials import Dial, Moving

ROOT = Path(__file__).resolve().parent.parent
COMPONENTS = {"attribution": "explanation", "feature_maps": "scrubber"}


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XAI_MODEL", "resnet18")
    monkeypatch.setenv("XAI_WEIGHTS", "none")
    live.serve()
    yield
    live._served.clear()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict]:
    """Make a fresh session the current one; the caller holds it."""

    def begin() -> dict:
        state: dict = {}
        monkeypatch.setattr(live, "st", SimpleNamespace(session_state=state))
        return state

    return begin


def ask(token: str, **question: str) -> tuple[int, dict]:
    status, body = live.answer(token, question)
    return status, json.loads(body)


def echo(question) -> dict[str, object]:
    return dict(question)


# Who may ask


def test_unknown_token_is_404_and_says_so_in_one_sentence():
    for token in ("", "nix", "../../etc/passwd", "a" * 10_000):
        status, said = ask(token)
        assert status == 404 and said["problem"].endswith(".") and set(said) == {"problem"}


def test_tokens_are_long_and_differ_between_sessions_that_offer_the_same(session):
    one = session()
    first = live.offer("cat", lambda _: {"mine": 1})
    other = session()
    second = live.offer("cat", lambda _: {"mine": 2})
    assert one and other and first["token"] != second["token"] and min(map(len, (first["token"], second["token"]))) > 40
    assert ask(first["token"])[1] == {"mine": 1} and ask(second["token"])[1] == {"mine": 2}


def test_an_offer_goes_with_its_session(session):
    state = session()
    token = live.offer("cat", echo)["token"]
    assert ask(token)[0] == 200
    state.clear()
    gc.collect()
    assert ask(token)[0] == 404


def test_a_session_keeps_few_offers_and_the_unused_go_first(session):
    state = session()
    tokens = [live.offer(i, echo)["token"] for i in range(live.PER_SESSION)]
    assert live.offer(0, echo)["token"] == tokens[0], "the same offer keeps its token"
    live.offer("one more", echo)
    gc.collect()
    assert state and [ask(token)[0] for token in tokens] == [200, 404] + [200] * (live.PER_SESSION - 2)


def test_an_offer_that_is_not_used_expires(session, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    state = session()
    token = live.offer("cat", echo)["token"]
    now[0] += live.LIFE - 1
    assert ask(token)[0] == 200, "used in time: it stands for longer"
    now[0] += live.LIFE - 1
    assert ask(token)[0] == 200
    now[0] += live.LIFE + 1
    assert ask(token)[0] == 404
    assert state and live.offer("cat", echo)["token"] != token


def test_nothing_is_offered_where_nobody_serves(session):
    live._served.clear()
    assert live.offer("cat", echo) is None and not session()


# What is answered


def test_mistake_is_one_sentence_and_a_bug_tells_nothing(session, caplog):
    def make(question):
        if "bad" in question:
            raise UserError("Unknown layer 'bad'. Choose one of: a, b.")
        raise RuntimeError("secret path")

    state = session()
    token = live.offer("cat", make)["token"]
    assert ask(token, bad="1") == (422, {"problem": "Unknown layer 'bad'. Choose one of: a, b."})
    status, said = ask(token)
    assert state and status == 500 and "secret" not in said["problem"] and "secret path" in caplog.text
    for wrong in ({"n": "x"}, {"n": "-1"}, {"layer": "x" * 3000}):
        status, said = ask(token, **wrong)
        assert status == 422 and said["problem"] == "This question cannot be read."


def over_http(token: str, query: str) -> tuple[int, dict, dict[str, str]]:
    scope = {"type": "http", "method": "GET", "path": live.ADDRESS, "query_string": query.encode()}
    answer = asyncio.run(live.respond(Request({**scope, "headers": [(b"x-xai-view", token.encode())]})))
    return answer.status_code, json.loads(answer.body), dict(answer.headers)


def test_route_reads_the_header_drops_what_is_overtaken_and_forbids_caches(session):
    state = session()
    token = live.offer("cat", echo)["token"]
    status, said, headers = over_http(token, "layer=layer1&n=20")
    assert (status, said) == (200, {"layer": "layer1"}) and headers["cache-control"] == "no-store"
    assert over_http(token, "layer=layer2&n=19")[0] == 409, "a newer question came in before"
    assert over_http(token, "layer=layer3&n=20")[0] == 200, "made ahead for the same move"
    assert state and over_http("nix", "layer=layer1&n=21")[0] == 404


# What the page would show


def open_page(page: str, **query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=120)
    for name, text in query.items():
        at.query_params[name] = text
    return at.run()


def shown(at: AppTest, page: str) -> dict:
    return json.loads(at.get_by_key(COMPONENTS[page]).proto.json)


def picture_of(data: dict) -> dict:
    return {name: value for name, value in data.items() if name not in ("dials", "live", "serial")}


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("attribution", {"relu": "false"}),
        ("attribution", {"method": "input_x_gradient", "compare": "tabby", "opacity": "80"}),
        ("feature_maps", {"sort": "contribution", "over": "true"}),
        ("feature_maps", {"sort": "variance"}),
    ],
)
def test_answer_is_exactly_what_a_run_of_the_page_shows(page, query):
    at = open_page(page, **query)
    offered = shown(at, page)["live"]
    moved = {"layer": "layer2", "target": 285}
    names = [dial["name"] for dial in shown(at, page)["dials"]]
    status, answer = ask(offered["token"], **{name: str(moved[name]) for name in names})
    assert status == 200
    before = picture_of(shown(at, page))
    for name in names:
        at.session_state[name] = moved[name]
    if page == "feature_maps":
        at.session_state["channel"] = None
    at.run()
    assert not at.exception
    assert picture_of(shown(at, page)) == answer != before
    assert shown(at, page)["live"] == offered, "the offer stands while only the sliders move"
    at.session_state["resize"] = "squash"
    at.run()
    assert shown(at, page)["live"]["token"] != offered["token"], "what else changed is another view"


@pytest.mark.parametrize("page", ["attribution", "feature_maps"])
def test_bad_positions_are_one_sentence(page):
    at = open_page(page, sort="contribution")
    token = shown(at, page)["live"]["token"]
    for wrong in ({"layer": "nix"}, {"target": "99999"}, {"target": "-1"}, {"target": "tabby"}, {"colour": "red"}):
        status, said = ask(token, **wrong)
        [text] = wrong.values()
        assert status == 422 and set(said) == {"problem"}
        assert said["problem"].endswith(".") and "\n" not in said["problem"]
        assert (text if "colour" not in wrong else "colour") in said["problem"]


def test_a_slow_method_goes_by_runs_and_shows_its_sliders_from_the_start():
    at = open_page("attribution", method="occlusion")
    data = shown(at, "attribution")
    assert not at.exception and data["live"] is None and "panels" not in data
    assert [dial["name"] for dial in data["dials"]] == ["target"]


def test_an_upload_is_answered_to_its_own_session_only():
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(buffer, "PNG")
    mine, other = open_page("attribution"), open_page("attribution")
    mine.button_group(key="source").set_value("upload").run()
    mine.file_uploader(key="upload").upload("mine.png", buffer.getvalue(), "image/png")
    mine.run()
    tokens = [shown(at, "attribution")["live"]["token"] for at in (mine, other)]
    labels = [ask(token, target="285")[1]["label"] for token in tokens]
    assert "mine.png" in labels[0] and "mine.png" not in labels[1]
    token = tokens[0]
    del mine
    gc.collect()
    assert ask(token)[0] == 404, "it goes with the session"


def test_many_questions_at_once_are_answered_as_one_after_another():
    at = open_page("attribution", relu="false")
    token = shown(at, "attribution")["live"]["token"]
    questions = [{"layer": layer, "target": str(t)} for layer in ("layer2", "layer3") for t in (5, 281, 900, 17)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda question: ask(token, **question), questions))
    from xai.ui import caching

    caching._explained.cache.clear()
    assert together == [ask(token, **question) for question in questions]


# What a component says


def say(monkeypatch, message: object, page: str = "") -> tuple[dict, dials.Move]:
    state = {"view": {"moved": message}}
    monkeypatch.setattr(dials, "st", SimpleNamespace(session_state=state))
    layers = Dial("layer", "Layer", ("a", "b"), 0, False)
    return state, dials.take_move(Moving([layers], echo), "view", page)


def test_a_move_is_read_and_numbered(monkeypatch):
    state, said = say(monkeypatch, {"serial": 7, "values": {"layer": "b"}, "index": 3, "shown": True})
    assert said == dials.Move({"layer": "b"}, 3, True)
    assert dials.moving_data(None, "view")["serial"] == 7 and state
    assert say(monkeypatch, {"serial": 8, "values": {"layer": "b"}}, page="another")[1].leaving


@pytest.mark.parametrize(
    "message",
    [None, "x", {}, {"serial": "7"}, {"serial": 1, "values": {"layer": "nix"}}, {"serial": 1, "values": {"x": "y"}}],
)
def test_nonsense_from_a_browser_moves_nothing(message, monkeypatch):
    assert say(monkeypatch, message)[1] == dials.Move({})
    assert say(monkeypatch, {"serial": 1, "values": [], "index": -4, "shown": "yes"})[1] == dials.Move({})
