"""The two exceptions this package raises on purpose: a user's mistake, and a user's wish to stop."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can put right, told in one sentence.

    The sentence names the argument, the value and the valid choices. The command line prints it and exits
    with 2; the app shows it. Any other exception is a bug.
    """


class Cancelled(Exception):
    """Raised by an ``on_progress`` callback to stop slow work."""


def one_of(what: str, value: object, choices: Iterable[str]) -> UserError:
    """Build the error for a name that is not among the valid ones.

    Args:
        what: the thing that was to be chosen, such as "layer" or "method".
        value: what the user gave instead.
        choices: the valid names, in the order to show them.

    Returns:
        A UserError to raise: "Unknown layer 'x'. Choose one of: a, b (did you mean 'a'?)".
    """
    names = list(choices)
    text = str(value)
    shown = text if len(text) <= 80 else text[:79] + "…"
    sentence = f"Unknown {what} {shown!r}. Choose one of: {', '.join(names)}"
    by_lower_case = {name.lower(): name for name in names}
    close = difflib.get_close_matches(shown.lower(), by_lower_case, n=1)
    if close:
        sentence += f" (did you mean {by_lower_case[close[0]]!r}?)"
    return UserError(sentence + ".")
