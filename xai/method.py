"""What an entry of the registry says about one explanation method, and about each of its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xai.compute.attribution import Attribution
from xai.errors import UserError, one_of
from xai.hohman import Categories
from xai.model import Model

Value = bool | int | float | str


@dataclass(frozen=True)
class Param:
    """One option of a method; widgets, flags and checks are made from it.

    Attributes:
        name: keyword of the function; its default is `default`, whose type is the option's type.
        help: one line for people.
        low, high, step: for numbers.
        choices: for texts.
    """

    name: str
    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None

    def check(self, value: object) -> Value:
        """Return the value in the option's type; texts such as "true" or "50" are understood.

        Raises:
            UserError: it is of another type, out of range, or no valid choice.
        """
        if self.choices is not None and value not in self.choices:
            raise one_of(self.name, value, self.choices)
        kind = type(self.default)
        try:
            converted: Any = _CONVERT[kind](value)
        except (TypeError, ValueError, OverflowError):
            kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
            raise UserError(f"Option {self.name} must be {kinds[kind]}, not {value!r}.") from None
        below = self.low is not None and converted < self.low
        above = self.high is not None and converted > self.high
        if below or above or converted != converted:
            bounds = {"at least": self.low, "at most": self.high}
            wanted = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
            raise UserError(f"Option {self.name} must be {wanted or 'a number'}, not {value}.")
        return converted


def _as_bool(value: Any) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in known:
        raise ValueError(value)
    return known[str(value).lower()]


def _as_int(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError(value)
    return int(float(value))


_CONVERT: Mapping[type, Callable[[Any], Value]] = {bool: _as_bool, int: _as_int, float: float, str: str}


@dataclass(frozen=True)
class Method:
    """One explanation method.

    Attributes:
        key, aliases, label: its names in code, what else people type, and its name in print.
        function: `f(trace, targets, *, layer, on_progress, **params) -> Attribution`.
        family: heading it stands under.
        needs_layer: whether it explains at a chosen layer.
        signed: whether its maps may be negative with the default options.
        speed: "live" (a slider may drag it) or "slow" (it wants a button and progress).
        supports: None if the method is right for a model, else the reason why not in one sentence.
        paper: source.
        limits: what it cannot show, in one sentence.
        hohman: its categories in the survey.
        params: its options.
        random: whether it draws random numbers; the function then takes `seed`.
        reads_class: False where the map is the same for every class.
        from_pixels: whether it differentiates the traced pass itself by the pixels, where the trace starts there.
        within: share of the values that a colour scale holds: maps of single pixels have a few far above all others.
        total: what the values should add up to, in words; empty where the method promises nothing.
    """

    key: str
    aliases: tuple[str, ...]
    label: str
    function: Callable[..., Attribution]
    family: str
    needs_layer: bool
    signed: bool
    speed: Literal["live", "slow"]
    supports: Callable[[Model], str | None]
    paper: str
    limits: str
    hohman: Categories
    params: tuple[Param, ...] = ()
    random: bool = False
    reads_class: bool = True
    from_pixels: bool = False
    within: float = 1.0
    total: str = ""

    @property
    def defaults(self) -> dict[str, Value]:
        """Every option with its default."""
        return {param.name: param.default for param in self.params}

    def check_params(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return all options with their values, defaults filled in.

        Raises:
            UserError: an option is unknown or its value is not valid.
        """
        known = {param.name: param for param in self.params}
        for name in given:
            if name not in known:
                raise one_of(f"option of {self.key}", name, known)
        return {name: param.check(given.get(name, param.default)) for name, param in known.items()}

    def is_signed(self, params: Mapping[str, object]) -> bool:
        """Whether maps made with these options may be negative."""
        if params.get("positive_only"):
            return False
        if "channels" in params:
            return params["channels"] == "sum"
        return not params["relu"] if "relu" in params else self.signed


def any_model(model: Model) -> str | None:
    """Support every model."""
    return None
