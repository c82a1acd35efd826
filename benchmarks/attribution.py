"""Compare every explanation method here with the same one in captum, pytorch-grad-cam, torch-cam or lime.

One process, one network (random weights unless given: speed does not depend on them), one picture, the same layer,
steps and samples. Times are from pixels to map, also ours, which make a trace first; rounds are interleaved. Memory is
by how much one call raises that of the process at most.

    python benchmarks/attribution.py [--methods saliency,lime] [--rounds 5] [--model resnet18] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peers import PEERS, TARGET, WITH_GAP, Setting
from side_by_side import (
    Call,
    installed,
    load,
    medians,
    options_parser,
    peak_memory,
    table,
    time_rounds,
    title,
    write_numbers,
)

import xai
from xai.compute.trace import score_pixels, trace_pixels
from xai.registry import METHODS, Method, find_method

GOAL = 1.05  # times the fastest peer
FORWARD = "plain forward"
OURS = "ours"
OURS_WITH_GAP = OURS + WITH_GAP
TRIES_CHANNELS = ("score_cam", "ablation_cam")


def ours(method: Method, here: Setting, *, gap: bool = False) -> Call:
    """Return a call that makes our map from pixels, with the options that the peers have.

    Args:
        method: which one.
        here: what it is given.
        gap: say how far the values add up, where that is an option.
    """
    layer = (here.early if method.key in TRIES_CHANNELS else here.layer) if method.needs_layer else None
    options = options_for(method, here, gap)

    def call() -> object:
        trace = trace_pixels(
            here.model.classifier, here.pixels, [layer] if layer else [], input_gradient=method.from_pixels
        )
        return method.function(trace, [TARGET], layer=layer, **options)

    return call


def options_for(method: Method, here: Setting, gap: bool) -> dict[str, Any]:
    """Return the options of a method that say how much it computes."""
    sizes = {
        "samples": here.samples if method.family == "Gradients" else here.masks,
        "steps": here.samples,
        "masks": here.masks,
        "window": here.window,
        "stride": here.window // 2,
        "gap": gap,
    }
    return {name: value for name, value in sizes.items() if name in method.defaults}


def compare(method: Method, here: Setting, rounds: int) -> dict[str, Any]:
    """Return seconds and peak memory in MiB of our call, of each peer and of a plain forward pass."""
    theirs = {name: _bind(peer, here) for name, peer in PEERS.get(method.key, {}).items()}
    plain = {FORWARD: lambda: score_pixels(here.model.classifier, here.pixels)}
    mine = {OURS: ours(method, here)}
    if "gap" in method.defaults:
        mine[OURS_WITH_GAP] = ours(method, here, gap=True)
    calls = plain | mine | installed(theirs)
    seconds = medians(time_rounds(calls, rounds, warm_up=1))
    return {"seconds": seconds, "memory": {name: peak_memory(call) for name, call in calls.items() if name != FORWARD}}


def _bind(peer: Any, here: Setting) -> Call:
    return lambda: peer(here)


def rows_of(found: Mapping[str, dict[str, Any]]) -> list[list[str]]:
    """Make the rows of the table: times in plain forwards, memory in MiB, ratio to the fastest peer."""
    rows = []
    for key, numbers in found.items():
        seconds, memory = numbers["seconds"], numbers["memory"]
        forward = seconds[FORWARD]
        peers = sorted(_peers(seconds), key=lambda name: seconds[name])
        shown = [f"{seconds[OURS] / forward:.2f}", _mib(memory[OURS])]
        ratio = f"{numbers['ratio']:.2f}" if peers else ""
        beside = [f"{seconds[peers[0]] / forward:.2f}", _mib(memory[peers[0]])] if peers else ["", ""]
        rows.append([METHODS[key].label, peers[0] if peers else "no peer", ratio, *shown, *beside])
    return rows


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def against_fastest(seconds: Mapping[str, float]) -> float | None:
    """Return our time in that of the fastest peer; None without a peer."""
    peers = [seconds[name] for name in _peers(seconds)]
    return seconds[OURS] / min(peers) if peers else None


def _peers(seconds: Mapping[str, float]) -> list[str]:
    return [name for name in seconds if name not in (FORWARD, OURS, OURS_WITH_GAP)]


def beside_gaps(found: Mapping[str, dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Return method, peer and our time in the peer's, for those peers that say how far their values add up."""
    return [
        (METHODS[key].label, name, seconds.get(OURS_WITH_GAP, seconds[OURS]) / seconds[name])
        for key, seconds in ((key, numbers["seconds"]) for key, numbers in found.items())
        for name in _peers(seconds)
        if name.endswith(WITH_GAP)
    ]


def main() -> None:
    """Measure, print a Markdown table, and write JSON where asked."""
    parser = options_parser(__doc__, model="resnet18", rounds=5)
    parser.add_argument("--methods", help="keys with commas between; all without")
    parser.add_argument("--early", help="layer whose channels Score-CAM and Ablation-CAM try; the first stage without")
    parser.add_argument("--samples", type=int, default=16, help="steps or copies of the gradient methods")
    parser.add_argument("--masks", type=int, default=128, help="pictures scored by LIME, KernelSHAP and RISE")
    parser.add_argument("--window", type=int, default=56, help="side of the square of occlusion")
    options = parser.parse_args()
    model = load(options)
    chosen = [find_method(each) for each in options.methods.split(",")] if options.methods else list(METHODS.values())
    pixels = model.prepare(xai.load_image("cat")).pixels
    stages = [name for name, layer in model.layers().items() if layer.group == "stage"]
    early = options.early or (stages or [model.default_layer])[0]
    here = Setting(model, pixels, model.default_layer, early, options.samples, options.masks, options.window)
    found = {}
    for method in chosen:
        problem = method.supports(model)
        if problem is None:
            found[method.key] = compare(method, here, options.rounds)
            found[method.key]["ratio"] = against_fastest(found[method.key]["seconds"])
        else:
            print(f"{method.label} is left out: {problem}\n")
    print(title("Explanations", model, pixels) + f"; goal: at most {GOAL} x the fastest peer\n")
    head = ["method", "fastest peer", "ours / peer", "ours (forwards)", "MiB", "peer (forwards)", "MiB"]
    print(table(head, rows_of(found), left=2))
    slower = [METHODS[key].label for key, each in found.items() if (each["ratio"] or 0) > GOAL]
    for method, peer, ratio in beside_gaps(found):
        print(f"\n{method} beside {peer}: {ratio:.2f}")
    print(f"\nSlower than {GOAL} x the fastest peer: {', '.join(slower) or 'none'}")
    write_numbers(options.json, model, options.rounds, methods=found)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
