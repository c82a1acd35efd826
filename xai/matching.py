"""Ask several networks the same thing: the classes of one found in another by name, and the layers that each has."""

from __future__ import annotations

from collections.abc import Sequence

from xai.errors import UserError
from xai.model import Model

Layers = str | tuple[str, ...] | None  # one layer, several that are fused, or none


def match_classes(model: Model, targets: Sequence[int], other: Model) -> tuple[int, ...]:
    """Find classes of one network in another by their names, whatever their case and with spaces or underscores.

    Args:
        model: whose classes are meant.
        targets: their indices.
        other: where they are looked for.

    Raises:
        UserError: the other network has no class of that name, or a name stands for several classes.
    """
    if model.class_names == other.class_names:
        return tuple(targets)
    own, theirs = _places(model), _places(other)
    return tuple(_match(_spell(model.class_names[index]), own, theirs, model, other) for index in targets)


def _match(name: str, own: dict[str, list[int]], theirs: dict[str, list[int]], model: Model, other: Model) -> int:
    found = theirs.get(name, [])
    if len(found) == 1 and len(own[name]) == 1:
        return found[0]
    shared = [each for each in own if len(own[each]) == len(theirs.get(each, [])) == 1]
    known = f"both know {len(shared)}, such as '{shared[0]}'" if shared else "the two share none"
    said = model.class_names[own[name][0]]
    unclear = f"and {model.name} need not mean the same class by '{said}', which several of theirs are called"
    reason = unclear if found else f"has no class '{said}'"
    raise UserError(f"{other.name} {reason}; classes of different networks are matched by name, and {known}.")


def _places(model: Model) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for index, name in enumerate(model.class_names):
        places.setdefault(_spell(name), []).append(index)
    return places


def _spell(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def match_layers(model: Model, asked: Sequence[Layers]) -> tuple[Layers, ...]:
    """Return those of the asked layers that a network has; its default layer where it has none of them.

    Args:
        model: any network.
        asked: layers, each a name or several names that are fused; none for the default layer.
    """
    there = tuple(each for each in asked if each is None or all(name in model.all_layers for name in _names(each)))
    return there or (model.default_layer,)


def check_layers(models: Sequence[Model], asked: Sequence[Layers]) -> tuple[str, ...]:
    """Return a sentence for each network that has none of the asked layers, so that its default layer is taken.

    Raises:
        UserError: no network has one of the layers.
    """
    for each in asked:
        if not any(match_layers(model, [each]) == (each,) for model in models):
            for name in _names(each):
                models[0].layer(name)  # says which layers there are
            raise UserError(f"No network has all of the layers {', '.join(_names(each))}.")
    return tuple(
        f"{model.name} has no layer called {' or '.join(dict.fromkeys(n for each in asked for n in _names(each)))}; "
        f"it is asked at its default layer, {model.default_layer}."
        for model in models
        if asked and not any(each is None or match_layers(model, [each]) == (each,) for each in asked)
    )


def _names(layers: Layers) -> tuple[str, ...]:
    return () if layers is None else (layers,) if isinstance(layers, str) else layers
