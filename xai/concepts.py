"""Ask which concepts a layer sees in pictures, where they are, and what the classifier calls each of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai.compute.attribution import Progress
from xai.compute.factorization import ComponentChoice, Factorization, choose_components, factorize
from xai.compute.layers import Layer
from xai.errors import UserError
from xai.io.geometry import Box
from xai.io.images import Image, load_image
from xai.model import Model
from xai.spec import RunSpec
from xai.tracing import ImageTrace, Picture, trace, trace_ready

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from xai.figures.concepts import Entry

AUTO = "auto"
CHOOSING = 0.95  # share of the work that goes into finding the number of concepts


@dataclass(frozen=True, eq=False)
class Concepts:
    """The concepts of one layer in N pictures, which share them: concept 1 is the same in each.

    Attributes:
        factorization: maps, strengths and error of the k concepts, the most active first.
        layer: where.
        images, boxes: the pictures, and the part of each that its maps cover, in source pixels.
        names: for each concept its classes with their probabilities, best first; none where the layer has no class
            labels (`factorization.unlabelled` says why) or the concept is empty.
        choice: how the number of concepts was found, or None if it was given.
        seconds: how long it took, with the forward pass unless a trace was given.
        spec: the record from which all this can be made again; it names the number that was chosen.
    """

    factorization: Factorization
    layer: Layer
    images: tuple[Image, ...]
    boxes: tuple[Box, ...]
    names: tuple[tuple[tuple[str, float], ...], ...]
    choice: ComponentChoice | None
    seconds: float
    spec: RunSpec

    @property
    def components(self) -> int:
        """Number of concepts."""
        return len(self.factorization.shares)

    def legend(self) -> list[Entry]:
        """Return what there is to say about each concept: its share of the activation, and its classes."""
        from xai.figures.charts import format_share
        from xai.figures.concepts import Entry

        shares = self.factorization.shares.tolist()
        return [
            Entry(
                f"Concept {number} · {format_share(share)}" if share else f"Concept {number} · empty",
                tuple(f"{name} {format_share(probability)}" for name, probability in names),
            )
            for number, (share, names) in enumerate(zip(shares, self.names, strict=True), start=1)
        ]

    def table(self) -> pd.DataFrame:
        """Return one row per concept: its share of the activation, the picture where it peaks, its classes."""
        import pandas as pd

        from xai.figures.concepts import COLOURS

        colours, found = list(COLOURS), self.factorization
        peaks = found.cells.amax((2, 3)).argmax(0).tolist()  # (N, k, h', w') -> (k,)
        rows = []
        for index, names in enumerate(self.names):
            share = float(found.shares[index])
            row: dict[str, Any] = {"concept": index + 1, "colour": colours[index] if index < len(colours) else ""}
            row |= {"share": share, "strongest_in": self.images[peaks[index]].name if share else ""}
            for place, (name, probability) in enumerate(names, start=1):
                row |= {f"class_{place}": name, f"probability_{place}": probability}
            rows.append(row)
        return pd.DataFrame(rows)

    def figure(self, **options: Any) -> Figure:
        """Draw every picture beside itself with the concepts; options go to `figures.concepts.concept_figure`.

        Raises:
            UserError: there are more concepts than colours.
        """
        from xai.figures.concepts import concept_figure
        from xai.figures.style import count

        concepts_ = count(self.components, "concept")
        options.setdefault("suptitle", f"{self.layer.label} · {concepts_} · {self.spec.title}")
        return concept_figure(
            [image.pixels for image in self.images],
            list(self.factorization.maps.numpy()),
            [image.name for image in self.images],
            self.legend(),
            boxes=self.boxes,
            note=self.factorization.unlabelled,
            **options,
        )

    def choice_figure(self) -> Figure | None:
        """Draw error and stability against the number of concepts; None if the number was given."""
        from xai.figures.concepts import choice_chart

        if self.choice is None:
            return None
        tried = self.choice.counts, self.choice.errors, self.choice.stabilities
        return choice_chart(*tried, self.choice.chosen, title=f"{self.layer.label} · {self.spec.title}")


def concepts(
    source: Model | ImageTrace,
    images: Picture | Sequence[Picture] = None,
    *,
    layer: str | None = None,
    components: int | str = 5,
    top_k: int = 2,
    resize: str = "center-crop",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Concepts:
    """Find the concepts that pictures share at one layer (Deep Feature Factorization).

    Args:
        source: a model, or a trace of the pictures, which saves the forward pass.
        images: a picture (anything `load_image` takes) or a list of pictures; may be left out with a trace.
        layer: name of a layer, by default the model's; the last stage has class labels in most networks.
        components: number of concepts, or "auto": as many as come out alike from different starts, 2 to 8.
        top_k: classes named for each concept.
        resize: how the working pixels are made; a trace has its own.
        seed: of the factorisation's start.
        on_progress: called with (fraction, None); may raise `Cancelled`.

    Raises:
        UserError: something named does not exist, or the number of concepts or classes is not valid.

    Source: Collins, Achanta and Susstrunk 2018, arXiv 1806.10206.
    """
    begun = time.perf_counter()
    components = check_components(components)
    if top_k < 1:
        raise UserError(f"top_k must be at least 1, not {top_k}.")
    traced, found = _trace(source, images, layer, resize)
    choice, last = None, on_progress
    if components == AUTO:
        choice = choose_components(traced, layer=found.name, on_progress=_part(on_progress, 0, CHOOSING))
        components, last = choice.chosen, _part(on_progress, CHOOSING, 1)
    made = factorize(
        traced,
        layer=found.name,
        components=int(components),
        top_k=top_k,
        output=traced.model.output,
        seed=seed,
        on_progress=last,
    )
    return Concepts(
        factorization=made,
        layer=found,
        images=traced.images,
        boxes=tuple(traced.ready.boxes),
        names=_names(traced.model, made),
        choice=choice,
        seconds=time.perf_counter() - begun,
        spec=_spec(traced, found.name, int(components), top_k, seed),
    )


def check_components(components: int | str) -> int | str:
    """Read a number of concepts, as a number or as text, or "auto".

    Raises:
        UserError: it is neither.
    """
    if components == AUTO:
        return AUTO
    text = str(components)[:9]
    if isinstance(components, bool) or not (text.isascii() and text.isdecimal() and int(text)):
        raise UserError(f"The number of components must be a whole number from 1, or auto, not {components!r}.")
    return int(text)


def _trace(
    source: Model | ImageTrace, images: Picture | Sequence[Picture], layer: str | None, resize: str
) -> tuple[ImageTrace, Layer]:
    """Make or check the trace, and find the layer, which is then kept in it."""
    model = source.model if isinstance(source, ImageTrace) else source
    found = model.layer(layer or model.default_layer)
    given = () if images is None else images if isinstance(images, (list, tuple)) else (images,)
    if isinstance(source, Model):
        if not given:
            raise UserError("No picture was given; concepts are found in one picture or several.")
        return trace(source, list(given), [found.name], resize=resize), found
    digests = [image.digest for image in source.images]
    if given and [load_image(each).digest for each in given] != digests:
        raise UserError("The trace was made from other pictures; leave `images` out or trace these.")
    if found.name not in source.outputs:
        source = trace_ready(model, source.images, source.ready, [found.name])
    return source, found


def _part(on_progress: Progress | None, low: float, high: float) -> Progress | None:
    """Turn the progress of one part of the work into that of all."""
    return on_progress and (lambda fraction, partial: on_progress(low + fraction * (high - low), None))


def _names(model: Model, made: Factorization) -> tuple[tuple[tuple[str, float], ...], ...]:
    if made.labels is None:
        return ((),) * len(made.shares)
    rows = zip(made.shares.tolist(), made.labels.classes.tolist(), made.labels.probabilities.tolist(), strict=True)
    return tuple(
        tuple((model.class_label(index), p) for index, p in zip(classes, probabilities, strict=True)) if share else ()
        for share, classes, probabilities in rows  # an empty concept would get what the head says to nothing at all
    )


def _spec(traced: ImageTrace, layer: str, components: int, top_k: int, seed: int) -> RunSpec:
    params: dict[str, Any] = {"components": components, "top_k": top_k}
    if len(traced.images) > 1:
        others = traced.images[1:]
        params |= {"others": [image.name for image in others], "digests": [image.digest for image in others]}
    return traced.spec("dff", layer=layer, params=params, seed=seed)
