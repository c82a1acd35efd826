"""Keep explanations: draw and write each, remember what was written where, print it in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai.cli.drawing import captions, draw_explanation
from xai.cli.pictures import Source
from xai.cli.results import ARRAYS, Destination, write_array, write_figure, write_picture, write_table
from xai.cli.text import print_json, print_table, say

if TYPE_CHECKING:
    from xai.explanation import Explanation
    from xai.model import Model

ROUNDING = 1e-5  # values that differ by less, relative to the largest, are one value in float32


class Keeper:
    """Writes explanations and their records.

    Args:
        output, save_raw: as the user wrote them.
        sources: the pictures that are read.
        drawing: what was said of how to draw.

    Raises:
        UserError: the results cannot go there.
    """

    def __init__(
        self, output: str, save_raw: str | None, sources: Sequence[Source], drawing: Mapping[str, Any]
    ) -> None:
        many = len(sources) > 1
        self.pictures = Destination(output, sources, many=many)
        self.arrays = (
            Destination(save_raw, sources, many=many, flag="--save-raw", suffixes=ARRAYS) if save_raw else None
        )
        self.drawing = dict(drawing)
        self.records: list[dict[str, Any]] = []

    def keep(self, source: Source, explanations: Sequence[Explanation]) -> None:
        """Write the explanations of one picture: one file each, drawn on one scale."""
        drawing = dict(self.drawing)
        if len(explanations) > 1:
            drawing.setdefault("limit", max(each.limit for each in explanations))
        for each in explanations:
            tag = f"{each.method.key}_{each.target[0]}" if len(explanations) > 1 else each.method.key
            self._write(source, each, tag, drawing)

    def _write(self, source: Source, explanation: Explanation, tag: str, drawing: dict[str, Any]) -> None:
        spec = replace(explanation.spec, drawing=drawing)
        stem = Path(explanation.image.name).stem
        trained = spec.weights != "untrained"
        path = self.pictures.place(stem, tag, spec)
        write_picture(path, draw_explanation(explanation, drawing, trained=trained))
        spec.save(path.with_suffix(".json"))
        raw = None
        if self.arrays is not None:
            raw = self.arrays.place(stem, tag, spec)
            write_array(raw, explanation.map)
            spec.save(raw.with_suffix(".json"))
        _warn_of_constant_maps(source, explanation)
        record = _record(source, explanation, path, raw)
        self.records.append(record | _write_superpixels(explanation, path))

    def show(self, model: Model, failures: Sequence[str] = (), *, as_json: bool) -> None:
        """Print what was written."""
        if as_json:
            about = {"model": model.name, "weights": model.weights, "weights_digest": model.weights_digest}
            print_json({**about, "results": self.records, "skipped": list(failures)})
            return
        if self.records:
            print_table(("file", "class:probability", "layer", "values"), [_row(record) for record in self.records])
        for record in (each for each in self.records if each["adds_up"]):
            where = f"{record['output']}: " if len(self.records) > 1 else ""
            print(where + record["adds_up"])
        _show_superpixels(self.records)


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    low = min(target["lowest"] for target in record["targets"])
    high = max(target["highest"] for target in record["targets"])
    return record["output"], ", ".join(record["captions"]), " + ".join(record["layer"]), f"{low:.3g} to {high:.3g}"


def _record(source: Source, explanation: Explanation, path: Path, raw: Path | None) -> dict[str, Any]:
    names, probabilities = explanation.target_names, explanation.probabilities
    layer = explanation.layer
    return {
        "picture": str(source),
        "output": str(path),
        "spec": str(path.with_suffix(".json")),
        "raw": str(raw) if raw else None,
        "method": explanation.method.key,
        "layer": [] if layer is None else [layer] if isinstance(layer, str) else list(layer),
        "captions": captions(explanation, trained=explanation.spec.weights != "untrained"),
        "targets": [
            {
                "index": index,
                "name": name,
                "probability": probability,
                "lowest": float(values.min()),
                "highest": float(values.max()),
            }
            for index, name, probability, values in zip(
                explanation.target, names, probabilities, explanation.map, strict=True
            )
        ],
        "adds_up": explanation.totals_text,
        "seconds": explanation.seconds,
    }


def _write_superpixels(explanation: Explanation, path: Path) -> dict[str, Any]:
    """Write what LIME found beside its map: NAME_superpixels.png (_2, _3 ... for further classes) and .csv.

    Returns what there is to say of it: the files, and how good each linear model is.
    """
    from xai.superpixels import draw_superpixels, lime_details, tabulate_models, tabulate_superpixels

    if lime_details(explanation) is None:
        return {}
    table = path.with_name(f"{path.stem}_superpixels.csv")
    write_table(table, tabulate_superpixels(explanation))
    models = []
    for place, model in enumerate(tabulate_models(explanation).to_dict("records")):
        figure = table.with_name(f"{table.stem}_{place + 1}.png") if place else table.with_suffix(".png")
        write_figure(figure, draw_superpixels(explanation, place))
        models.append({"figure": str(figure), **model})
    return {"superpixels": models[0]["figure"], "superpixel_table": str(table), "linear_models": models}


def _show_superpixels(records: Sequence[Mapping[str, Any]]) -> None:
    models = [model for record in records for model in record.get("linear_models", ())]
    if not models:
        return
    _, target, *numbers = models[0]
    cells = [[f"{v:.3g}" if isinstance(v, float) else v for v in model.values()] for model in models]
    print()
    print_table(("file", target, *numbers), cells, right=" ".join(numbers))


def _warn_of_constant_maps(source: Source, explanation: Explanation) -> None:
    for name, values in zip(explanation.target_names, explanation.map, strict=True):
        low, high = float(values.min()), float(values.max())
        if high - low <= ROUNDING * max(abs(low), abs(high)):
            say(f"WARNING: {source}: the map for {name} is {high:g} everywhere, so it shows no place.")
