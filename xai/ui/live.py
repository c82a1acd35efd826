"""Views that follow a slider without a run of the page: a page offers one under a token, the server answers for it.

A token cannot be guessed and is told to one session only. What it opens lives in that session: it goes with it, when it
has not been used for a while, or when the session has offered enough others since. Everything else is answered by 404,
and the browser then takes the ordinary way, a run of the page.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from weakref import WeakValueDictionary

import streamlit as st
from starlette.requests import Request
from starlette.responses import Response

from xai.errors import UserError

ADDRESS = "/api/view"
TOKEN = "x-xai-view"  # a header: an address would be written to logs
NUMBER = "n"  # parameter that numbers the questions of one browser, later ones higher
LIFE = 3600.0  # seconds after the last use
PER_SESSION = 3  # each holds a network and a picture
LONGEST = 2000  # characters of a question

Make = Callable[[Mapping[str, str]], Mapping[str, object]]
_OFFERS = "_live_offers"  # in the session, which alone keeps them alive
_served = Event()


class Offer:
    """One view on offer: what makes it from the texts of a question, until when, and the newest question so far."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.token = secrets.token_urlsafe(32)
        self.expires = time.monotonic() + LIFE
        self.newest = 0

    def touch(self) -> bool:
        """Say whether the offer still stands, and let it stand for longer."""
        now = time.monotonic()
        if now > self.expires:
            return False
        self.expires = now + LIFE
        return True


_offered: WeakValueDictionary[str, Offer] = WeakValueDictionary()


def serve() -> None:
    """Say that this process has the route; without it every move is a run of the page."""
    _served.set()


def offer(about: Hashable, make: Make) -> dict[str, str] | None:
    """Offer a view to the browser of this session.

    Args:
        about: all that determines the view besides the question; the same again keeps its token.
        make: turns a question into what the component shows; runs in another thread, so it must not touch Streamlit.
            Raises UserError where the question has no answer.

    Returns:
        Address and token for the component, or None where nobody serves them.
    """
    if not _served.is_set():
        return None
    offers: OrderedDict[Hashable, Offer] = st.session_state.setdefault(_OFFERS, OrderedDict())
    known = offers.pop(about, None)
    standing = known if known is not None and known.touch() else Offer(make)
    standing.make = make
    offers[about] = standing
    _offered[standing.token] = standing
    while len(offers) > PER_SESSION:
        offers.popitem(last=False)
    return {"address": ADDRESS, "token": standing.token}


def answer(token: str, question: Mapping[str, str]) -> tuple[int, bytes]:
    """Answer a question about an offered view: an HTTP status, and JSON.

    Status 200 has what the component shows; 404: no such view; 409: a newer question was asked meanwhile; 422: a
    question without an answer, 500: a bug; these two say so in one sentence, as `problem`.
    """
    view = _offered.get(token)
    if view is None or not view.touch():
        return 404, _problem("This view is not on offer (any more).")
    number = question.get(NUMBER, "0")
    if not number.isdecimal() or sum(map(len, question.values())) > LONGEST:
        return 422, _problem("This question cannot be read.")
    if int(number) < view.newest:
        return 409, _problem("A newer question was asked meanwhile.")
    try:
        made = json.dumps(view.make({name: text for name, text in question.items() if name != NUMBER}))
    except UserError as error:
        return 422, _problem(str(error))
    except Exception:
        logging.getLogger(__name__).exception("A view could not be made.")
        return 500, _problem("The view could not be made; the server's log says why.")
    return 200, made.encode()


def _problem(sentence: str) -> bytes:
    return json.dumps({"problem": sentence}).encode()


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # see caching.all_cores


_workers = ThreadPoolExecutor(2, "live-view", _use_one_thread)


async def respond(request: Request) -> Response:
    """Answer over HTTP, in a thread of its own; a question that waits there while a newer one comes in is dropped."""
    token, question = request.headers.get(TOKEN, ""), dict(request.query_params)
    view, number = _offered.get(token), question.get(NUMBER, "")
    if view is not None and number.isdecimal():
        view.newest = max(view.newest, int(number[:18]))
    status, body = await asyncio.get_running_loop().run_in_executor(_workers, answer, token, question)
    # Pictures and levels are compressed already; said to be encoded, they are not compressed once more on the way.
    headers = {"Cache-Control": "no-store", "Content-Encoding": "identity"}
    return Response(body, status, headers, "application/json")
