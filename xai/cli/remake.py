"""Make a figure again from the spec beside it, and refuse when weights or picture are not the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai.cli.attacking import remake_attack
from xai.cli.comparing_again import remake_comparison
from xai.cli.concepts import show_concepts, write_concepts
from xai.cli.drawing import check_drawing
from xai.cli.dreaming import remake_dream
from xai.cli.feature_maps import show_records, write_feature_maps
from xai.cli.filters import show_filters, write_filters
from xai.cli.network import announce, load_network
from xai.cli.options import NetworkOptions, RunOptions
from xai.cli.pictures import Source, find_pictures
from xai.cli.results import Destination
from xai.cli.saving import Keeper
from xai.cli.text import say
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.io.images import Image
    from xai.model import Model
    from xai.spec import RunSpec


def refuse_choices(extra: Sequence[str], chosen: Mapping[str, object]) -> None:
    """Refuse options that a spec already answers.

    Raises:
        UserError: there is one.
    """
    said = [f"--{name}" for name, value in chosen.items() if value is not None]
    said += extra[:1]
    if said:
        raise UserError(f"--spec already says what is asked; leave out {', '.join(said)}.")


def remake(path: Path, run: RunOptions, network: NetworkOptions, drawing: Mapping[str, Any]) -> None:
    """Do again what a spec says; the network's files and the picture may be named anew.

    Raises:
        UserError: there is no such spec, or its network or picture are not there or not the same.
    """
    from xai.spec import RunSpec

    spec = RunSpec.load(path)
    drawn = check_drawing(spec.drawing) | dict(drawing)
    options = _network_of(spec, network, path.parent)
    model = load_network(options, quiet=run.quiet, announced=False)
    _compare("weights are", spec.weights_digest, model.weights_digest)
    announce(model, chosen=True)
    _tell_versions(spec)
    if spec.method == "filters":
        params = spec.params
        record = write_filters(
            Destination(run.output),
            model,
            next(iter(spec.layers()), None),
            show=str(params.get("show", "auto")),
            input_channel=_whole(params.get("input_channel", 0), "input_channel"),
            drawing=drawn,
        )
        show_filters(model, record, as_json=run.json)
        return
    if spec.method in ("dream", "fgsm"):
        again = remake_dream if spec.method == "dream" else remake_attack
        again(spec, model, run, path.parent, drawn)
        return
    if spec.method == "dff":
        _remake_concepts(spec, model, drawn, run, path.parent)
        return
    source = _source_of(spec, run.img, path.parent)
    image = _load(source, spec)
    if spec.method == "compare":
        remake_comparison(spec, model, source, image, drawn, run, options, path.parent)
    elif spec.method == "feature_maps":
        _remake_feature_maps(spec, model, source, image, drawn, run)
    else:
        _remake_explanation(spec, model, source, image, drawn, run)


def _remake_feature_maps(
    spec: RunSpec, model: Model, source: Source, image: Image, drawing: Mapping[str, Any], run: RunOptions
) -> None:
    from xai.tracing import trace

    layer = model.layer(next(iter(spec.layers()), model.default_layer)).name
    record = write_feature_maps(
        Destination(run.output, [source]),
        source,
        trace(model, image, [layer], resize=spec.resize),
        layer,
        sort=str(spec.params.get("sort", "mean")),
        target=next(iter(spec.target), None),
        drawing=drawing,
    )
    show_records(model, [record], as_json=run.json)


def _remake_concepts(spec: RunSpec, model: Model, drawing: Mapping[str, Any], run: RunOptions, folder: Path) -> None:
    digests = spec.params.get("digests", [])
    if not isinstance(spec.params.get("others", []), list) or not isinstance(digests, list):
        raise UserError("The spec's 'others' and 'digests' must be lists.")
    sources = _sources_of(spec, run.img, folder)
    expected = [spec.image_digest, *map(str, digests), *[""] * len(sources)][: len(sources)]
    images = [_load(each, replace(spec, image_digest=digest)) for each, digest in zip(sources, expected, strict=True)]
    whole = {name: _whole(spec.params.get(name, default), name) for name, default in (("components", 5), ("top_k", 2))}
    asked = {**whole, "layer": next(iter(spec.layers()), None), "resize": spec.resize, "seed": spec.seed}
    where = Destination(run.output, sources)
    show_concepts(write_concepts(where, model, images, asked, drawing, quiet=run.quiet), as_json=run.json)


def _remake_explanation(
    spec: RunSpec, model: Model, source: Source, image: Image, drawing: Mapping[str, Any], run: RunOptions
) -> None:
    from xai.explanation import explain
    from xai.registry import find_method

    params = find_method(spec.method).check_params(spec.params)
    keeper = Keeper(run.output, run.save_raw, [source], drawing)
    explanation = explain(
        model,
        image,
        spec.method,
        target=spec.target or None,
        layer=spec.layers() or None,
        resize=spec.resize,
        seed=spec.seed,
        **params,
    )
    keeper.keep(source, [explanation])
    keeper.show(model, as_json=run.json)


def _network_of(spec: RunSpec, given: NetworkOptions, folder: Path) -> NetworkOptions:
    """Complete the options by what the spec says; options that were given win."""
    if ":" in spec.model and given.model is None:
        raise UserError(
            f"The spec runs the code {spec.model}; if you trust it, say so: --model {spec.model}."
        )  # a spec may come from anybody, a command line may not
    told: dict[str, Any] = {
        name: "x".join(map(str, value)) if name == "input_size" else ",".join(map(str, value))
        for name, value in spec.model_options.items()
        if isinstance(value, list)
    }
    told["output_kind"] = str(spec.model_options.get("output", "softmax"))
    told["device"] = "cpu" if spec.device == "cpu" else "auto"
    told |= {"model": spec.model, "weights": _weights_of(spec, folder) if given.weights is None else ""}
    fields = vars(given)
    return replace(given, **{name: value for name, value in told.items() if fields[name] is None})


def _weights_of(spec: RunSpec, folder: Path) -> str:
    argument = spec.weights_argument()
    if argument is None:
        return "none"
    if not spec.weights.startswith("file "):
        return argument
    found = next((path for path in (Path(argument), folder / argument) if path.is_file()), None)
    if found is None:
        raise UserError(f"The spec was made with the weights in '{argument}'; say where they are: --weights FILE.")
    return str(found)


def _source_of(spec: RunSpec, img: Sequence[str] | None, folder: Path) -> Source:
    from xai.io.samples import SAMPLES

    if img:
        named = find_pictures(img).sources
        if len(named) > 1:
            raise UserError(f"--spec is about one picture; --img names {len(named)}.")
        return named[0]
    found = [path for path in (Path(spec.image), folder / spec.image) if spec.image and path.is_file()]
    if spec.image in SAMPLES:
        return spec.image
    if not found:
        raise UserError(f"The spec is about the picture '{spec.image}'; say where it is: --img FILE.")
    return found[0]


def _sources_of(spec: RunSpec, img: Sequence[str] | None, folder: Path) -> list[Source]:
    """Find all pictures of a spec; --img may name them anew, in their order, or only the first ones."""
    named = find_pictures(img).sources if img else ()
    names = spec.pictures or ("",)
    if len(named) > len(names):
        raise UserError(f"The spec is about {len(names)} pictures ({', '.join(names)}); --img names {len(named)}.")
    return [*named, *(_source_of(replace(spec, image=name), None, folder) for name in names[len(named) :])]


def _load(source: Source, spec: RunSpec) -> Image:
    from xai.io.images import load_image

    image = load_image(source)
    _compare("picture is", spec.image_digest, image.digest)
    return image


def _compare(what: str, expected: str, found: str) -> None:
    """Refuse other weights or another picture; a spec made from a link has no digests."""
    if expected and expected != found:
        raise UserError(f"The {what} not what the spec says: digest {found[:12]} instead of {expected[:12]}.")


def _tell_versions(spec: RunSpec) -> None:
    """Say which libraries differ from those of the spec, since last digits may then differ too."""
    from xai.spec import RunSpec

    now = RunSpec(model="", method="").versions
    other = [f"{name} {spec.versions[name]}" for name in now if spec.versions.get(name, now[name]) != now[name]]
    if other:
        say(f"Note: the spec was made with {', '.join(other)}; the last digits may differ here.")


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int):
        raise UserError(f"The spec's '{name}' must be a whole number, not {value!r}.")
    return value
