"""Commands that show which places of a picture speak for a class: explain, and its short form cam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.method_options import read_method_options, refuse_stray_words
from xai.cli.network import announce, load_network
from xai.cli.options import DrawingOptions, NetworkOptions, RunOptions
from xai.cli.pictures import check_resize, find_pictures, report_failures, run_over
from xai.cli.remake import refuse_choices, remake
from xai.cli.saving import Keeper
from xai.cli.text import Tell, progress
from xai.errors import UserError, one_of

if TYPE_CHECKING:
    from xai.explanation import Explanation
    from xai.io.images import Image
    from xai.model import Model
    from xai.registry import Method

BATCH = 8  # pictures in one pass; more do not make it faster on a processor
CAMS = "Class activation maps"


def explain(
    context: typer.Context,
    run: RunOptions,
    network: NetworkOptions,
    drawing: DrawingOptions,
    method: Annotated[
        str | None, typer.Option("--method", metavar="KEY", help="See `xai methods` (default: grad_cam).")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", metavar="FILE", help="Make the figure beside this .json again.")
    ] = None,
) -> None:
    """Show which places of pictures speak for a class, by any method.

    Writes the overlay at the picture's own size and, beside it, a .json from which --spec makes it again.
    """
    if spec is None:
        _run(context, method or "grad_cam", run, network, drawing)
        return
    chosen = {"method": method, "layer": run.layer, "target": run.target, "resize": run.resize, "seed": run.seed}
    refuse_choices(context.args, chosen)
    remake(spec, run, network, drawing.given())


def cam(
    context: typer.Context,
    run: RunOptions,
    network: NetworkOptions,
    drawing: DrawingOptions,
    method: Annotated[
        str, typer.Option("--method", metavar="hirescam|gradcam", help="Kind of class activation map.")
    ] = "hirescam",
) -> None:
    """Draw a class activation map over pictures.

    Short for `xai explain` with HiResCAM, Grad-CAM and their relatives.
    """
    _run(context, method, run, network, drawing, family=CAMS)


def _run(
    context: typer.Context,
    name: str,
    run: RunOptions,
    network: NetworkOptions,
    drawing: DrawingOptions,
    *,
    family: str | None = None,
) -> None:
    refuse_stray_words(context.args)
    pictures = find_pictures(run.img)  # before torch is loaded: the most common mistake shows at once

    from xai.registry import METHODS, find_method

    method = find_method(name)
    if family is not None and method.family != family:
        raise one_of("class activation map", name, [key for key, each in METHODS.items() if each.family == family])
    params = read_method_options(method, context)
    if run.layer and not method.needs_layer:
        raise UserError(f"{method.key} looks at the whole network; leave out --layer.")
    mode = check_resize(run.resize)
    keeper = Keeper(run.output, run.save_raw, pictures.sources, drawing.given())
    model = load_network(network, quiet=run.quiet, announced=False)
    ask = _Question(model, method, params, run.target or (), run.layer or (), mode, run.seed or 0)
    ask.check(drawing.colormap)
    announce(model, chosen=network.model is not None)
    apart = keeper.pictures.is_folder and len(ask.targets) > 1
    slow = method.speed == "slow"
    batch = 1 if len(ask.targets) > 1 or mode == "keep" or slow else BATCH
    with progress(method.label, quiet=run.quiet or not slow) as tell:
        if slow:
            ask.watch(tell, len(pictures) * (len(ask.targets) if apart else 1))
        failures = run_over(
            pictures,
            lambda images: ask.answer(images, apart=apart),
            keeper.keep,
            batch=batch,
            label=method.label,
            quiet=run.quiet or slow,
        )
    keeper.show(model, failures, as_json=run.json)
    report_failures(failures, len(pictures))


class _Question:
    """What is asked about every picture."""

    def __init__(
        self,
        model: Model,
        method: Method,
        params: dict[str, Any],
        targets: Sequence[str],
        layers: Sequence[str],
        resize: str,
        seed: int,
    ) -> None:
        self.model, self.method, self.params = model, method, params
        self.targets = tuple(model.find_class(each) for each in targets)
        self.layers = [model.layer(each).name for each in layers]
        self.options: dict[str, Any] = {"layer": self.layers or None, "resize": resize, "seed": seed}
        self.told: dict[str, Any] = {}

    def watch(self, tell: Tell, total: int) -> None:
        """Tell how far a slow method is, over so many explanations that are made one by one."""
        done = 0

        def told(fraction: float, _: object) -> None:
            nonlocal done
            tell(min(1.0, (done + fraction) / total), f"{done} of {total}")
            done += fraction >= 1

        self.told = {"on_progress": told}

    def check(self, colormap: str | None) -> None:
        """Find out before the first picture what would fail for all of them."""
        from xai.figures.style import find_colormap

        reason = self.method.supports(self.model)
        if reason is not None:
            raise UserError(f"{self.method.label} is not right for {self.model.name}: {reason}")
        params = self.method.check_params(self.params)
        find_colormap(colormap, signed=self.method.is_signed(params) and len(self.layers) <= 1)

    def answer(self, images: list[Image], *, apart: bool) -> list[list[Explanation]]:
        """Explain every picture: all targets in one explanation, or each in its own."""
        from xai.explanation import explain, explain_batch

        options = {**self.options, **self.params}
        if len(images) > 1:
            target = self.targets[0] if self.targets else None
            return [[each] for each in explain_batch(self.model, images, self.method.key, target=target, **options)]
        asked = [(each,) for each in self.targets] if apart else [self.targets or None]
        return [
            [explain(self.model, image, self.method.key, target=each, **options, **self.told) for each in asked]
            for image in images
        ]
