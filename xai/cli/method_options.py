"""Read the options that only the chosen method has: its entry in the registry says which, and checks the values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from xai.cli.browse import flag_of
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.registry import Method


def refuse_stray_words(words: Sequence[str]) -> None:
    """Refuse a first word that belongs to no option, which is what a picture without --img is."""
    if words and not words[0].startswith("--"):
        raise UserError(f"{words[0]!r} belongs to no option; pictures are given with --img.")


def read_method_options(method: Method, context: typer.Context) -> dict[str, Any]:
    """Return the options of a method from what the command line holds beyond the command's own options.

    Raises:
        UserError: something there is no option of the method, has no value, or has one that is not valid.
    """
    own = [flag for parameter in context.command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
    given: dict[str, Any] = {}
    words = list(context.args)
    while words:
        refuse_stray_words(words)
        word = words.pop(0)
        flag, has_value, value = word[2:].partition("=")
        param = next((p for p in method.params if flag in _spellings(p.name, p.default)), None)
        if param is None:
            raise _no_such_option(method, f"--{flag}", own)
        if isinstance(param.default, bool) and not has_value:
            given[param.name] = flag == param.name.replace("_", "-")
            continue
        if not has_value and not words:
            raise UserError(f"--{flag} of {method.key} needs a value.")
        given[param.name] = value if has_value else words.pop(0)
    method.check_params(given)
    return given


def _spellings(name: str, default: object) -> tuple[str, ...]:
    flag = name.replace("_", "-")
    return (flag, f"no-{flag}") if isinstance(default, bool) else (flag,)


def _no_such_option(method: Method, flag: str, own: Sequence[str]) -> UserError:
    theirs = [flag_of(param) for param in method.params]
    known = [*own, *(part for each in theirs for part in each.split("/"))]
    close = difflib.get_close_matches(flag, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return UserError(f"{method.key} has no option {flag}{meant}; its options are {', '.join(theirs) or 'none'}.")
