"""RunSpec: the small record that says how a result was made, the same in URL, command, notebook and file."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from xai.errors import UserError
from xai.io.files import write_atomic

FORMAT = 1
COMMANDS = {
    "feature_maps": "feature-maps",
    "filters": "filters",
    "compare": "compare",
    "dff": "dff",
    "dream": "dream",
    "fgsm": "fgsm",
}  # every other method is run by `xai explain`
JOINT = ("others", "digests")  # params of a result about several pictures: names and digests of those after the first
NETWORKS = ("models", "model_digests")  # and about several networks: how --model names those after the first, digests
MAX_BYTES = 1_000_000


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "torchvision", "numpy")}


@dataclass(frozen=True)
class RunSpec:
    """How one result was made.

    Attributes:
        model, weights: names to load again; weights is an official name, "file NAME", "own" or "untrained".
        weights_digest: sha256 of parameters and buffers; empty in a link.
        image: name of a sample or file, only a hint; empty where no image takes part.
        image_digest: sha256 of shape and 8-bit RGB pixels; empty in a link.
        resize: how the working pixels were made.
        method: key of a method in METHODS, "feature_maps", "filters", "compare", "dff", "dream" or
            "fgsm".
        target: class indices.
        layer: name, several names (fused; in a comparison: side by side), or None.
        params: all options of the method with their values.
        seed, device, versions: the rest of what a run depends on.
        model_options: what `load_model` was told beyond that: mean, std, input_size, output.
        drawing: how the figure was drawn, as flags of the command; no part of the result.
    """

    model: str
    method: str
    weights: str = "default"
    image: str = ""
    resize: str = "center-crop"
    target: tuple[int, ...] = ()
    layer: str | tuple[str, ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    weights_digest: str = ""
    image_digest: str = ""
    versions: Mapping[str, str] = field(default_factory=_versions)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    drawing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Network and weights for headings, as `Model.title` has it."""
        return f"{self.model} (untrained)" if self.weights == "untrained" else f"{self.model} · {self.weights}"

    def to_json(self) -> str:
        """Return the spec as JSON text."""
        return json.dumps({"runspec": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a spec from JSON text.

        Raises:
            UserError: the text is no spec, or one of a later format.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or endless brackets
            raise UserError(f"The spec is no valid JSON: {error}.") from error
        if not isinstance(data, dict) or data.get("runspec") != FORMAT:
            found = data.get("runspec") if isinstance(data, dict) else None
            raise UserError(f"This is no RunSpec of format {FORMAT} (found {found!r}).")
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        for name in ("model", "method"):
            if not isinstance(known.get(name), str):
                raise UserError(f"The spec lacks '{name}'.")
        return cls(**_checked(known))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the spec to a JSON file."""
        write_atomic(path, self.to_json().encode())
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a spec from a JSON file.

        Raises:
            UserError: there is no such file, or it holds no spec.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"Spec file '{path}' does not exist.")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"Spec file '{path}' is larger than {MAX_BYTES // 1000} kB.")
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"Spec file '{path}' is no text file.") from error

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of all pictures: `image`, and the others that a joint result is about."""
        return (self.image, *map(str, self.params.get("others", ()))) if self.image else ()

    def about(self, names: Sequence[str], digests: Sequence[str]) -> Self:
        """Return the same spec about one or more pictures, given by names and digests."""
        others = {"others": list(names[1:]), "digests": list(digests[1:])} if len(names) > 1 else {}
        return replace(self, image=names[0], image_digest=digests[0], params={**self.params, **others})

    def layers(self) -> tuple[str, ...]:
        """Return the layers as names: none, one, or several that are fused."""
        return () if self.layer is None else (self.layer,) if isinstance(self.layer, str) else tuple(self.layer)

    def to_query(self, defaults: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Return the query parameters of a link; options equal to `defaults` are left out."""
        query = {"model": self.model, "weights": self.weights, "image": self.image, "method": self.method}
        query |= {
            "resize": self.resize,
            "layer": ",".join(self.layers()),
            "target": ",".join(map(str, self.target)),
        }
        query |= {"seed": str(self.seed) if self.seed else "", "others": ",".join(self.pictures[1:])}
        query |= {"models": ",".join(self.other_networks())}
        query |= {name: _text(value) for name, value in self._changed(defaults).items()}
        return {name: text for name, text in query.items() if text}

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Read a spec from query parameters; unknown parameters become options of the method, still as texts."""
        own, several = {f.name for f in fields(cls)}, ("others", "models")
        layers = tuple(filter(None, query.get("layer", "").split(",")))
        targets = query.get("target", "").split(",")
        return cls(
            model=query.get("model", ""),
            weights=query.get("weights", "default"),
            image=query.get("image", ""),
            method=query.get("method", ""),
            resize=query.get("resize", "center-crop"),
            layer=(layers if len(layers) > 1 else layers[0]) if layers else None,
            target=_integers(targets),
            seed=next(iter(_integers([query.get("seed", "")])), 0),
            params={n: text.split(",") if n in several else text for n, text in query.items() if n not in own},
        )

    def to_command(self, defaults: Mapping[str, Any] | None = None) -> str:
        """Return the shell command that makes the result again; options equal to `defaults` are left out."""
        command = COMMANDS.get(self.method, "explain")
        words = ["xai", command, *self._source_words()]
        words += ["--method", self.method] if command == "explain" else []
        words += [word for name in self.layers() for word in ("--layer", name)]
        words += [word for index in self.target for word in ("--target", str(index))]
        words += ["--resize", self.resize] if self.resize != "center-crop" else []
        words += ["--seed", str(self.seed)] if self.seed else []
        options = {**self.model_options, **self._changed(defaults), **self.drawing}
        return shlex.join([*words, *(word for name, value in options.items() for word in _flag(name, value))])

    def _source_words(self) -> list[str]:
        words = [word for name in self.pictures for word in ("--img", name)]
        if self.other_networks():
            networks = (self.network_argument(), *self.other_networks())
            return [*words, *(word for name in networks for word in ("--model", name))]
        return [*words, "--model", self.model, "--weights", self.weights_argument() or "none"]

    def weights_argument(self) -> str | None:
        """Return what `load_model` takes as weights: a name, a file name, or None for an untrained network."""
        if self.weights == "untrained":
            return None
        return "default" if self.weights == "own" else self.weights.removeprefix("file ")

    def network_argument(self) -> str:
        """Return network and weights in one word, as `xai compare --model` takes them: "resnet18:none"."""
        return f"{self.model}:{self.weights_argument() or 'none'}"

    def other_networks(self) -> tuple[str, ...]:
        """Return the networks of a comparison after the first, each in one word."""
        named = self.params.get("models", ())
        return tuple(map(str, named)) if isinstance(named, (list, tuple)) else ()

    def beside(self, others: Sequence[Self]) -> Self:
        """Return the same spec about further networks, which the other specs name."""
        if not others:
            return self
        named = {
            "models": [each.network_argument() for each in others],
            "model_digests": [each.weights_digest for each in others],
        }
        return replace(self, params={**self.params, **named})

    def to_cell(self, defaults: Mapping[str, Any] | None = None) -> str:
        """Return Python lines for a notebook that make the result again."""
        changed = "".join(f", {name}={value!r}" for name, value in self._changed(defaults).items())
        told = "".join(f", {name}={value!r}" for name, value in self.model_options.items())
        load = f"model = xai.load_model({self.model!r}, weights={self.weights_argument()!r}{told})"
        picture = f"image = xai.load_image({self.image!r})"
        layer = list(self.layers()) if len(self.layers()) > 1 else self.layer
        target = list(self.target) if len(self.target) > 1 else next(iter(self.target), None)
        if self.method == "filters":
            return "\n".join(("import xai", "", load, f"xai.filters(model, layer={layer!r}{changed}).figure()"))
        if self.method == "dff":
            options = f"layer={layer!r}, resize={self.resize!r}, seed={self.seed}{changed}"
            call = f"concepts(model, {list(self.pictures)!r}, {options}).figure()"
            return "\n".join(("import xai", "from xai.concepts import concepts", "", load, call))
        if self.method == "dream":
            options = f"layer={layer!r}, target={target!r}, seed={self.seed}{changed}"
            return "\n".join(("import xai", "", load, f"xai.dream(model, {options}).figure()"))
        if self.method == "fgsm":
            sweep = bool(self.params.get("sweep"))
            return "\n".join(("import xai", "", load, self._attack_sweep() if sweep else self._attack()))
        if self.method == "feature_maps":
            aim = "" if target is None else f", target={target!r}"
            call = f"xai.feature_maps(model, image, layer={layer!r}{aim}, resize={self.resize!r}{changed}).figure()"
        elif self.method == "compare":
            return "\n".join(("import xai", "", load, *self._comparison(picture, target, told)))
        else:
            options = f"target={target!r}, layer={layer!r}, resize={self.resize!r}, seed={self.seed}{changed}"
            call = f"xai.explain(model, image, {self.method!r}, {options}).figure()"
        return "\n".join(("import xai", "", load, picture, call))

    def _comparison(self, picture: str, target: object, told: str) -> list[str]:
        options = f"methods={str(self.params.get('methods', '')).split(',')!r}, target={target!r}"
        options += f", layers={list(self.layers())!r}" if self.layer is not None else ""
        lines = [picture]
        if self.other_networks():
            named = [each.rpartition(":") for each in self.other_networks()]
            loads = [f"xai.load_model({n!r}, weights={(None if w == 'none' else w)!r}{told})" for n, _, w in named]
            lines.append(f"others = [{', '.join(loads)}]")
            options += ", models=others"
        return [*lines, f"xai.compare(model, image, {options}, resize={self.resize!r}, seed={self.seed})"]

    def _attack(self) -> str:
        kind = "pgd" if "steps" in self.params else "fgsm"
        options = f"target={next(iter(self.target), None)!r}, layer={self.layer!r}, resize={self.resize!r}"
        given = "".join(f", {name}={value!r}" for name, value in self._changed(None).items())
        return f"xai.attack(model, {self.image!r}, {kind!r}, {options}, seed={self.seed}{given}).figure()"

    def _attack_sweep(self) -> str:
        names = {"epsilon": "epsilons"}  # as `attack_sweep` calls what the command calls --epsilon
        given = {names.get(name, name): value for name, value in self._changed(None).items() if name != "sweep"}
        given |= {"method": "pgd" if "steps" in self.params else "fgsm", "target": next(iter(self.target), None)}
        given |= {"resize": self.resize, "seed": self.seed}
        options = "".join(f", {name}={value!r}" for name, value in given.items())
        return f"xai.attack_sweep(model, {list(self.pictures)!r}{options}).figure()"

    def _changed(self, defaults: Mapping[str, Any] | None) -> dict[str, Any]:
        params = {name: value for name, value in self.params.items() if name not in JOINT + NETWORKS}
        return {name: value for name, value in params.items() if not defaults or defaults.get(name) != value}


def _integers(texts: Iterable[str]) -> tuple[int, ...]:
    """Return the texts that are whole numbers of a sensible length, as numbers."""
    return tuple(int(text) for text in texts if re.fullmatch("-?[0-9]{1,18}", text))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(name: str, value: object) -> list[str]:
    """Write an option as the command line takes it."""
    flag = {"output": "output-kind"}.get(name, name.replace("_", "-"))
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    joint = "x" if name == "input_size" else ","
    return [f"--{flag}", joint.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)]


def _checked(known: dict[str, Any]) -> dict[str, Any]:
    """Check the types of a spec read from a file, and turn lists into tuples."""
    expected = {"target": list, "seed": int}
    expected |= dict.fromkeys(("params", "versions", "model_options", "drawing"), dict)
    expected |= dict.fromkeys(("weights", "image", "resize", "device", "weights_digest", "image_digest"), str)
    for name, kind in expected.items():
        if name in known and not isinstance(known[name], kind):
            raise UserError(f"The spec's '{name}' must be a {kind.__name__}, not {known[name]!r}.")
    if not all(isinstance(index, int) for index in known.get("target", [])):
        raise UserError(f"The spec's 'target' must hold class indices, not {known['target']!r}.")
    layer = known.get("layer")
    if isinstance(layer, list):
        known["layer"] = tuple(map(str, layer))
    elif layer is not None and not isinstance(layer, str):
        raise UserError(f"The spec's 'layer' must be a name or names, not {layer!r}.")
    known["target"] = tuple(known.get("target", ()))
    return known
