"""Compare the cost of Grad-CAM here with torch-cam, captum and pytorch-grad-cam, as ratios to one forward pass.

One process, one network (ResNet-50 with random weights: speed does not depend on them), one picture, one memory
layout, the same threads. Rounds are interleaved, so that a busy moment of the machine meets every row alike.

    python benchmarks/cam.py [--rounds 15] [--model resnet50] [--json FILE]
"""

from __future__ import annotations

import torch
from side_by_side import (
    Call,
    installed,
    load,
    medians,
    normalised,
    options_parser,
    table,
    time_rounds,
    title,
    write_numbers,
)

import xai
from xai.compute.cam import grad_cam
from xai.compute.trace import score_pixels, trace_pixels

GOALS = {
    "ours, cold": (1.15, "of a forward, and 1.05 x the fastest peer"),
    "ours, cold, all layers kept": (1.15, "of a forward, and 1.05 x the fastest peer"),
    "ours, new class on the trace": (0.05, "of a forward"),
    "ours, new layer (layer3) on the trace": (0.6, "of a forward"),
    "ours, 100 classes, cold": (1.3, "of a forward"),
}


def peers(network: torch.nn.Module, normalised: torch.Tensor, layer: str) -> dict[str, Call]:
    """Return one call per installed peer, each for one class at the layer."""
    module = network.get_submodule(layer)

    def torchcam_call() -> object:
        from torchcam.methods import GradCAM

        with GradCAM(network, target_layer=module) as extractor:
            return extractor(3, network(normalised.requires_grad_()))

    def captum_call() -> object:
        from captum.attr import LayerGradCam

        return LayerGradCam(network, module).attribute(normalised, target=3, relu_attributions=True)

    def grad_cam_call() -> object:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with GradCAM(model=network, target_layers=[module]) as extractor:
            return extractor(input_tensor=normalised, targets=[ClassifierOutputTarget(3)])

    return installed(
        {
            "torch-cam": torchcam_call,
            "captum LayerGradCam": captum_call,
            "pytorch-grad-cam": grad_cam_call,
        }
    )


def ours(model: xai.Model, pixels: torch.Tensor) -> dict[str, Call]:
    """Return our rows: the plain forward, then Grad-CAM cold and warm."""
    classifier, last = model.classifier, model.default_layer
    offered = list(model.layers())
    warm = trace_pixels(classifier, pixels, offered, input_gradient=True)
    stages = [name for name, layer in model.layers().items() if layer.group == "stage"]

    def cold() -> object:
        return grad_cam(trace_pixels(classifier, pixels, offered, input_gradient=True), [3], layer=last)

    return {
        "plain forward": lambda: score_pixels(classifier, pixels),
        "ours, cold": lambda: grad_cam(trace_pixels(classifier, pixels, [last]), [3], layer=last),
        "ours, cold, all layers kept": cold,
        "ours, new class on the trace": lambda: grad_cam(warm, [7], layer=last),
        f"ours, new layer ({stages[-2]}) on the trace": lambda: grad_cam(warm, [7], layer=stages[-2]),
        "ours, 100 classes, cold": lambda: grad_cam(
            trace_pixels(classifier, pixels, offered, input_gradient=True), list(range(100)), layer=last
        ),
    }


def main() -> None:
    """Measure, print a Markdown table, and write JSON where asked."""
    options = options_parser(__doc__, model="resnet50", rounds=15).parse_args()
    model = load(options)
    pixels = model.prepare(xai.load_image("cat")).pixels
    calls = ours(model, pixels) | peers(model.network, normalised(model, pixels), model.default_layer)
    seconds = medians(time_rounds(calls, options.rounds))
    forward = seconds["plain forward"]
    ratios = {name: each / forward for name, each in seconds.items()}
    print(title("Grad-CAM", model, pixels) + "\n")
    goals = {name: f"<= {GOALS[name][0]} {GOALS[name][1]}" if name in GOALS else "" for name in seconds}
    rows = [[name, f"{each * 1000:.1f}", f"{ratios[name]:.2f}", goals[name]] for name, each in seconds.items()]
    print(table(["what", "ms (median)", "forwards", "goal"], rows))
    others = [ratios[name] for name in ("torch-cam", "captum LayerGradCam", "pytorch-grad-cam") if name in ratios]
    if others:
        both = (ratios[name] / min(others) for name in ("ours, cold", "ours, cold, all layers kept"))
        print("\nCold against the fastest peer: {:.2f} x; with all layers kept {:.2f} x".format(*both))
    write_numbers(options.json, model, options.rounds, seconds=seconds, ratios=ratios)


if __name__ == "__main__":
    main()
