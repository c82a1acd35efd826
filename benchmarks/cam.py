"""Compare the cost of Grad-CAM here with torch-cam, captum and pytorch-grad-cam, as ratios to one forward pass.

One process, one network (ResNet-50 with random weights: speed does not depend on them), one picture, one memory
layout, the same threads. Rounds are interleaved, so that a busy moment of the machine meets every row alike.

    python benchmarks/cam.py [--rounds 15] [--model resnet50] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import xai
from xai.compute.cam import grad_cam
from xai.compute.trace import score_pixels, trace_pixels
from xai.memory import keep_freed_memory

GOALS = {
    "ours, cold": (1.15, "of a forward, and 1.05 x the fastest peer"),
    "ours, cold, all layers kept": (1.15, "of a forward, and 1.05 x the fastest peer"),
    "ours, new class on the trace": (0.05, "of a forward"),
    "ours, new layer (layer3) on the trace": (0.6, "of a forward"),
    "ours, 100 classes, cold": (1.3, "of a forward"),
}


def peers(network: torch.nn.Module, normalised: torch.Tensor, layer: str) -> dict[str, Callable[[], object]]:
    """Return one call per installed peer, each for one class at the layer."""
    module = network.get_submodule(layer)
    calls: dict[str, Callable[[], object]] = {}

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

    for name, call in (
        ("torch-cam", torchcam_call),
        ("captum LayerGradCam", captum_call),
        ("pytorch-grad-cam", grad_cam_call),
    ):
        try:
            call()
        except ImportError as error:
            print(f"{name} is left out: {error} (pip install '.[bench]')", file=sys.stderr)
        else:
            calls[name] = call
    return calls


def ours(model: xai.Model, pixels: torch.Tensor) -> dict[str, Callable[[], object]]:
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


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call over interleaved rounds, after two rounds of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 2):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if round_ >= 2:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, print a Markdown table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    model = xai.load_model(options.model, weights=None, device="cpu")
    pixels = model.prepare(xai.load_image("cat")).pixels
    normalised = ((pixels - model.classifier.mean) / model.classifier.std).contiguous(
        memory_format=torch.channels_last
    )
    calls = ours(model, pixels) | peers(model.network, normalised, model.default_layer)
    medians = measure(calls, options.rounds)
    forward = medians["plain forward"]
    ratios = {name: seconds / forward for name, seconds in medians.items()}
    threads = torch.get_num_threads()
    print(f"Grad-CAM, {options.model}, {tuple(pixels.shape)}, {threads} threads, torch {torch.__version__}\n")
    print("| what | ms (median) | forwards | goal |\n|---|---:|---:|---|")
    for name, seconds in medians.items():
        goal = GOALS.get(name)
        print(f"| {name} | {seconds * 1000:.1f} | {ratios[name]:.2f} | {f'<= {goal[0]} {goal[1]}' if goal else ''} |")
    others = [ratios[name] for name in ("torch-cam", "captum LayerGradCam", "pytorch-grad-cam") if name in ratios]
    if others:
        both = (ratios[name] / min(others) for name in ("ours, cold", "ours, cold, all layers kept"))
        print("\nCold against the fastest peer: {:.2f} x; with all layers kept {:.2f} x".format(*both))
    if options.json:
        facts = {"model": options.model, "rounds": options.rounds, "threads": torch.get_num_threads()}
        facts |= {"torch": torch.__version__, "machine": platform.machine()}
        options.json.write_text(json.dumps({**facts, "seconds": medians, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
