"""The generated parts of the report: categories, the network and its answers, the comparison, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xai.errors import one_of
from xai.hohman import QUESTIONS
from xai.report.approaches import APPROACHES, PROJECT
from xai.report.project import FIGURES

Measured = Mapping[str, Any]
ORDER = ("why", "who", "what", "how", "when", "where")
CONTROLS = ("edges", "random")
DRAWING = "six_questions.svg"
DRAWING_ALT = (
    "Six boxes around a network, one for each question of the survey: why, who, what, how, when and where; each lists "
    "the categories of its answers."
)
MISSING = "*Not measured yet: `xai report build --measure` fills this in.*"


def render(name: str, measured: Measured) -> list[str]:
    """Write one generated part.

    Args:
        name: such as "model", or "figures cam" for the part of one approach.
        measured: from `read_measured`.

    Returns:
        Lines of Markdown.

    Raises:
        UserError: there is no such part, or no such approach.
    """
    what, _, key = name.partition(" ")
    if what in _OF_APPROACH:
        if key not in APPROACHES:
            raise one_of(f"approach of the generated part '{what}'", key, APPROACHES)
        return _OF_APPROACH[what](key, measured)
    if name not in _WHOLE:
        raise one_of("generated part", name, (*_WHOLE, *(f"{each} APPROACH" for each in _OF_APPROACH)))
    return _WHOLE[name](measured)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> list[str]:
    """Write a Markdown table; `right` names the columns (with spaces between) that stand flush right."""
    rules = ["---:" if name in right.split(", ") else "---" for name in head]
    lines = [head, rules, *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def picture(number: int, file: str, alt: str, caption: str) -> list[str]:
    """Write a picture with its alternative text and a numbered caption."""
    return [f"![{alt}]({FIGURES}/{file})", "", f"*Figure {number}. {caption}*"]


def _project(measured: Measured) -> list[str]:
    rows = [(question.capitalize(), name, because) for question in ORDER for name, because in PROJECT[question]]
    return table(("Question", "Criterion", "Explanation"), rows)


def _overview(measured: Measured) -> list[str]:
    rows = [
        (approach.title, *("<br>".join(approach.categories[question]) for question in ORDER))
        for approach in APPROACHES.values()
    ]
    return table(("Approach", *(question.capitalize() for question in ORDER)), rows)


def _categories(key: str, measured: Measured) -> list[str]:
    approach = APPROACHES[key]
    rows = [
        (question.capitalize(), "; ".join(approach.categories[question]), approach.reasons[question])
        for question in QUESTIONS
    ]
    return table(("Question", "Category", "Because"), rows)


def _drawing(measured: Measured) -> list[str]:
    return picture(
        1, DRAWING, DRAWING_ALT, "The six questions, drawn by this project; the categories are the survey's."
    )


def _model(measured: Measured) -> list[str]:
    network = measured.get("network")
    if not network:
        return [MISSING]
    height, width = network["input"]
    facts = [
        ("Network", network["title"]),
        ("Digest of its weights (SHA-256)", f"`{network['digest'][:16]}`"),
        ("Parameters", f"{network['parameters']:,}"),
        ("Input", f"{height} x {width} pixels, RGB"),
        ("Output", f"a score for each of {network['classes']:,} classes"),
        ("Measured accuracy", network["accuracy"] or "not known for these weights"),
    ]
    layers = [(each["name"], each["kind"], " x ".join(map(str, each["shape"]))) for each in network["layers"]]
    return [
        *table(("Fact", "Value"), facts),
        "",
        *table(("Layer", "Kind", "Shape of its maps (channels x height x width)"), layers),
    ]


def _data(measured: Measured) -> list[str]:
    shown = measured.get("pictures")
    if not shown:
        return [MISSING]
    rows = [
        (
            each["name"],
            each["title"],
            f"{each['width']} x {each['height']}",
            f"{each['answer']} ({each['probability']:.1%})",
            verdict(each),
            each["licence"],
        )
        for each in shown
    ]
    head = ("Photograph", "Shows", "Pixels", "First answer", "Verdict", "Terms")
    return [*table(head, rows), "", *_figures("data", measured)]


def verdict(each: Mapping[str, Any]) -> str:
    """Say in words what an answer is worth."""
    return each["verdict"] if each["known"] else f"{each['verdict']}: the network has no class for it"


def _figures(key: str, measured: Measured) -> list[str]:
    shown = list(measured.get("figures", ()))
    chosen = [(number, each) for number, each in enumerate(shown, start=2) if each["approach"] == key]
    lines = [picture(number, each["file"], each["alt"], each["caption"]) for number, each in chosen]
    return [line for each in lines for line in ([*each, ""])][:-1] if lines else [MISSING]


def _findings(key: str, measured: Measured) -> list[str]:
    found = measured.get("findings", {}).get(key)
    if not found:
        return [MISSING] if key in measured.get("approaches", (key,)) else ["*Not part of this version.*"]
    heads = {"correct": "Correct prediction", "wrong": "Wrong prediction", "not judged": "Prediction not judged"}
    return [f"- **{heads[each['verdict']]}**: {each['sentence']}" for each in found]


def _comparison(measured: Measured) -> list[str]:
    found = measured.get("comparison")
    if not found:
        return [MISSING]
    rows = [
        (
            each["label"],
            each["family"],
            _number(each["agreement"]),
            _number(each["edges"]),
            f"{each['runs']:,}",
            each["misses"],
        )
        for each in found["rows"]
    ]
    head = (
        "Method",
        "Approach",
        "Agreement with other methods",
        "Agreement with edges",
        "Runs (cost)",
        "What it misses",
    )
    said = (
        f"Agreement: Spearman's rank correlation of maps, mean over {', '.join(found['pictures'])}; with others: "
        "mean over methods of other families, controls left out. Runs: pictures sent "
        "through the network for one map, the one that finds the answer among them."
    )
    return [*table(head, rows, "Agreement with other methods, Agreement with edges, Runs (cost)"), "", said]


def _lessons(measured: Measured) -> list[str]:
    """Say in numbers what accuracy alone does not show: how sure wrong answers are, and what maps are worth."""
    shown, found = measured.get("pictures"), measured.get("comparison")
    if not shown or not found:
        return [MISSING]
    lines = []
    for said in ("correct", "wrong", "not judged"):
        sure = [each["probability"] for each in shown if each["verdict"] == said]
        if sure:
            mean = sum(sure) / len(sure)
            lines.append(f"- {len(sure)} of {len(shown)} answers are {said}, at a mean probability of {mean:.0%}.")
    strange = [each["name"] for each in shown if not each["known"]]
    if strange:
        lines.append(f"- The network has no class for {', '.join(strange)}, and answers all the same.")
    rows = {row["key"]: row for row in found["rows"]}
    best = max((row for key, row in rows.items() if key not in CONTROLS), key=lambda row: row["agreement"] or 0)
    edges = f", with edges {_number(best['edges'])}" if best["edges"] is not None else ""
    lines.append(f"- Of all methods {best['label']} agrees most with the others ({_number(best['agreement'])}{edges}).")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


_WHOLE: Mapping[str, Callable[[Measured], list[str]]] = {
    "drawing": _drawing,
    "project": _project,
    "overview": _overview,
    "model": _model,
    "data": _data,
    "comparison": _comparison,
    "lessons": _lessons,
}
_OF_APPROACH: Mapping[str, Callable[[str, Measured], list[str]]] = {
    "categories": _categories,
    "figures": _figures,
    "findings": _findings,
}
