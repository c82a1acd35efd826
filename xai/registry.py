"""The one list of explanation methods; app, command line, comparison, tests and report all read it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xai.entries import cams, controls, gradients, perturbation
from xai.errors import one_of
from xai.method import Method, Param, Value

__all__ = ["METHODS", "Method", "Param", "Value", "find_method"]

_ENTRIES = (*cams.ENTRIES, *gradients.ENTRIES, *perturbation.ENTRIES, *controls.ENTRIES)

_BY_KEY = {method.key: method for method in _ENTRIES}
METHODS: Mapping[str, Method] = MappingProxyType(_BY_KEY)


def find_method(name: str) -> Method:
    """Return the method of that key or alias, in any case and with - or _.

    Raises:
        UserError: there is none; the sentence lists the valid keys.
    """
    wanted = str(name).strip().lower()
    for method in METHODS.values():
        if wanted in (method.key, method.key.replace("_", "-"), *method.aliases):
            return method
    raise one_of("method", name, METHODS)
