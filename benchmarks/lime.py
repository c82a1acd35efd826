"""Compare LIME here with the lime package: calls of the network, and seconds, until superpixels are ranked right.

"Right" is the rank correlation (Spearman, over superpixels) with the limit: what the lime package itself finds with
very many samples, on the same superpixels, kept in benchmarks/cache once it is made. Calls are counted on mean curves
over several runs; runs of the package are disjoint parts of the samples behind the limit, which flatters it a little.
Seconds are calls times the median seconds of a call in interleaved rounds, plus those of the fits.

    python benchmarks/lime.py [--weights FILE] [--pictures cat,coffee] [--limit-only] [--json FILE]

The network is MobileNet-V2 with the weights given, else the bundled one, else an untrained MobileNet-V2.

--limit-only makes the limit and stops; it takes under two minutes per picture, and can be broken off and
taken up again.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lime_limit import CACHE, Asked, Case, ask_package, find_limit, fit_package, make_case, new_explainer
from scipy.stats import spearmanr
from side_by_side import load, medians, normalised, options_parser, table, time_rounds, title, write_numbers

import xai
from xai.compute.lime import lime
from xai.compute.lime_sampling import Neighbours, Plan, ask_neighbours
from xai.compute.lime_solve import Fit
from xai.compute.segments import Segmenter
from xai.io.samples import sample_names

ENOUGH = 0.9  # rank correlation
FIRST, STEP = 40, 1.12  # samples at the first fit, and the factor to the next


@dataclass(frozen=True)
class Curve:
    """How near to the limit the fits come, on the mean over runs.

    Attributes:
        counts: numbers of samples.
        correlations: rank correlation with the limit.
        errors: root mean square error of the coefficients, in standard deviations of the limit's.
    """

    counts: list[int]
    correlations: list[float]
    errors: list[float]

    def calls(self) -> int | None:
        """Return the first number of samples from which the correlation stays high enough."""
        low = [i for i, each in enumerate(self.correlations) if each < ENOUGH]
        first = low[-1] + 1 if low else 0
        return self.counts[first] if first < len(self.counts) else None


def counts_up_to(most: int) -> list[int]:
    """List the numbers of samples to fit at, the last being `most`."""
    counts, count = [], float(FIRST)
    while count < most:
        counts.append(int(count))
        count *= STEP
    return [*counts, most]


def curve(runs: Sequence[Callable[[int], np.ndarray]], most: int, limit: np.ndarray) -> Curve:
    """Fit runs, each of which gives coefficients (d,) for a number of samples, at ever more samples."""
    counts = counts_up_to(most)
    found = [[run(count) for count in counts] for run in runs]
    ranked = np.array([[spearmanr(each, limit).statistic for each in fits] for fits in found])
    ranked = np.nan_to_num(ranked)  # a fit whose coefficients are all alike ranks nothing
    missed = np.array([[np.mean((each - limit) ** 2) / limit.var() for each in fits] for fits in found])
    return Curve(counts, ranked.mean(0).tolist(), np.sqrt(missed.mean(0)).tolist())


def package_runs(asked: Asked, most: int) -> list[Callable[[int], np.ndarray]]:
    """Cut the samples behind the limit into runs of `most` samples."""
    explainer = new_explainer()
    starts = range(0, len(asked.samples) - most + 1, most)
    return [lambda count, start=start: fit_package(asked.part(start, start + count), explainer) for start in starts]


def our_runs(case: Case, most: int, runs: int) -> list[Callable[[int], np.ndarray]]:
    """Draw and ask ours, once for each seed."""
    made = []
    for seed in range(runs):
        plan = Plan(most, False, 0.25, "cosine", seed, smooth=True)
        known = ask_neighbours(case.masked, case.segments, plan, on_check=None, on_progress=None)
        made.append(lambda count, known=known: _fit_first(known, count))
    return made


def _fit_first(known: Neighbours, count: int) -> np.ndarray:
    rows = torch.arange(len(known.samples)) < count
    return known.part(rows).fit_target(0, Fit()).coefficients.numpy()


def seconds_of_a_call(model: xai.Model, case: Case, count: int, rounds: int) -> dict[str, float]:
    """Return median seconds for one sample: with the package and the network as it comes, and with ours."""
    network = copy.deepcopy(model.network).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        module._forward_hooks.clear()
    target = case.masked.targets[0]

    def classify(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w)
        with torch.no_grad():
            return network(normalised(model, batch).contiguous()).softmax(1)[:, [target]].numpy()

    explainer = new_explainer()
    plan = Plan(count, False, 0.25, "cosine", 0)
    calls = {
        "lime": lambda: ask_package(case, count, 0, classify, explainer),
        "ours": lambda: ask_neighbours(case.masked, case.segments, plan, on_check=None, on_progress=None),
    }
    return {name: each / count for name, each in medians(time_rounds(calls, rounds, warm_up=1)).items()}


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Row:
    """What was found about one picture; calls are None where `most` samples were too few."""

    picture: str
    superpixels: int
    noise: float
    lime_calls: int | None
    lime_seconds: float | None
    our_calls: int | None
    our_seconds: float | None
    lime_error: float
    our_error: float
    lime_missing: float
    our_missing: float
    auto_calls: int
    auto_seconds: float
    auto_correlation: float
    curves: dict[str, Curve]


def measure(case: Case, limit: np.ndarray, asked: Asked, per_call: dict[str, float], most: int, runs: int) -> Row:
    """Compare both on one picture."""
    halves = [fit_package(Asked(asked.samples[i::2], asked.outputs[i::2]), new_explainer()) for i in range(2)]
    theirs_runs, our = package_runs(asked, most), our_runs(case, most, runs)
    curves = {"lime": curve(theirs_runs, most, limit), "ours": curve(our, most, limit)}
    calls = {name: each.calls() for name, each in curves.items()}
    fits = {"lime": theirs_runs[0], "ours": our[0]}
    seconds = {
        name: None if count is None else count * per_call[name] + seconds_of(lambda: fits[name](count))  # noqa: B023
        for name, count in calls.items()
    }
    begun = time.perf_counter()
    auto = lime(case.masked.trace, case.masked.targets).details
    took = time.perf_counter() - begun
    return Row(
        picture=case.name,
        superpixels=case.features,
        noise=1 - float(spearmanr(*halves).statistic),
        lime_calls=calls["lime"],
        lime_seconds=seconds["lime"],
        our_calls=calls["ours"],
        our_seconds=seconds["ours"],
        lime_error=curves["lime"].errors[-1],
        our_error=curves["ours"].errors[-1],
        lime_missing=1 - curves["lime"].correlations[-1],
        our_missing=1 - curves["ours"].correlations[-1],
        auto_calls=auto.samples[0],
        auto_seconds=took,
        auto_correlation=float(spearmanr(auto.coefficients[0].numpy(), limit).statistic),
        curves=curves,
    )


def show(rows: Sequence[Row], most: int) -> str:
    """Write the table, the medians last."""

    def number(value: float | None, form: str, beyond: str) -> str:
        return beyond if value is None else format(value, form)

    lines = []
    for row in rows:
        ratio = row.lime_seconds / row.our_seconds if row.lime_seconds and row.our_seconds else None
        lines.append(
            [
                *(row.picture, str(row.superpixels)),
                *(number(row.lime_calls, "d", f"> {most}"), number(row.lime_seconds, ".1f", "")),
                *(number(row.our_calls, "d", f"> {most}"), number(row.our_seconds, ".1f", "")),
                number(ratio, ".1f", ""),
                *(f"{row.lime_missing:.3f} / {row.our_missing:.3f}", f"{row.lime_error:.2f} / {row.our_error:.2f}"),
                *(str(row.auto_calls), f"{row.auto_seconds:.1f}", f"{row.auto_correlation:.2f}"),
            ]
        )
    head = ["picture", "superpixels", "lime: calls", "s", "ours: calls", "s", "ratio of s"]
    head += [f"1 - correlation at {most}", f"error at {most}", "auto: calls", "s", "correlation"]
    return table(head, lines)


def main() -> None:
    """Measure, print a Markdown table, and write JSON where asked."""
    parser = options_parser(__doc__, model="", rounds=5)
    parser.add_argument("--pictures", default=",".join(sample_names()[:6]), help="samples or files, commas between")
    parser.add_argument("--limit", type=int, default=8000, help="samples of the lime package behind the limit")
    parser.add_argument("--most", type=int, default=1000, help="samples of one run")
    parser.add_argument("--runs", type=int, default=4, help="runs of ours; of the package as many as --limit gives")
    parser.add_argument("--timed", type=int, default=60, help="samples in a timed round")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--limit-only", action="store_true", help="make the limit and stop")
    options = parser.parse_args()
    if not options.model:
        ships = not options.weights and "bundled" in xai.MODELS
        options.model, options.weights = ("bundled", "default") if ships else ("mobilenet_v2", options.weights)
    model = load(options)
    cases = [make_case(model, picture, Segmenter()) for picture in options.pictures.split(",")]
    limits = [find_limit(case, options.limit, options.cache) for case in cases]
    if options.limit_only:
        return
    per_call = seconds_of_a_call(model, cases[0], options.timed, options.rounds)
    rows = [
        measure(case, *limit, per_call, options.most, options.runs) for case, limit in zip(cases, limits, strict=True)
    ]
    print(title("LIME", model, cases[0].masked.pixels[None]) + f"; limit: {options.limit} samples of the package\n")
    print(f"a call: lime {per_call['lime'] * 1000:.1f} ms, ours {per_call['ours'] * 1000:.1f} ms\n")
    print(show(rows, options.most))
    ratios = [row.lime_seconds / row.our_seconds for row in rows if row.lime_seconds and row.our_seconds]
    if ratios:
        print(f"\nMedian: {statistics.median(ratios):.1f} times fewer seconds to a correlation of {ENOUGH}")
    missing = [statistics.mean(row.our_missing for row in rows), statistics.mean(row.lime_missing for row in rows)]
    print(f"At {options.most} samples 1 - correlation is {missing[0] / missing[1]:.2f} times that of lime (means)")
    numbers = {"seconds_of_a_call": per_call, "pictures": [asdict(row) for row in rows]}
    write_numbers(options.json, model, options.rounds, limit=options.limit, **numbers)


if __name__ == "__main__":
    main()
