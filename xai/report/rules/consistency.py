"""Rules on the network: described with numbers, and the same one in text, figures and notebooks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from xai.errors import UserError
from xai.report.project import EXPORTED, FIGURES, MEASURED, Finding, Project
from xai.report.source import read_notebook
from xai.spec import RunSpec

MODEL = {
    "its parameters": r"parameters",
    "its input": r"\binput\b",
    "its measured accuracy": r"\d(\.\d+)? ?%",
    "a licence or terms": r"licen[cs]e|terms",
    "a layer table": r"\|.*[Ll]ayer",
}
DATA = {
    "its size": r"\d",
    "its classes": r"class(es)?\b",
    "its source": r"https?://|from|of",
    "its terms": r"licen[cs]e|terms",
}


def described(project: Project) -> Iterator[Finding]:
    """Find what a reader wants to know of network and data and is not told."""
    if not project.measured:
        yield Finding(MEASURED, 0, "Nothing was measured yet: run `xai report build --measure`.")
    for chapter, wanted in (("Model", MODEL), ("Data", DATA)):
        section = project.readme.section(chapter, project.report)
        if section is None:
            continue
        text = "\n".join(project.readme.lines[section.first - 1 : section.last])
        for what, pattern in wanted.items():
            if not re.search(pattern, text, re.IGNORECASE):
                yield project.finding(section.heading.line, f"The chapter '{chapter}' does not tell {what}.")


def one_network(project: Project) -> Iterator[Finding]:
    """Find text, figures and notebooks that speak of another network, or another clustering, than was measured."""
    network = project.measured.get("network")
    if not network:
        return
    subjects = [each for each in (network, project.measured.get("clustering")) if each]
    for number in range(project.report.first, project.report.last + 1):
        for name in _other_names(network["name"], project.readme.lines[number - 1]):
            yield project.finding(number, f"The text speaks of {name}; the report is about {network['title']}.")
    for path in sorted((project.root / FIGURES).glob("*.json")):
        yield from _check_figure(f"{FIGURES}/{path.name}", path.read_text(encoding="utf-8"), subjects)
    for path in sorted((project.root / EXPORTED).glob("*.ipynb")):
        used = read_notebook(path).metadata.get("xai", {}).get("networks", [])
        for record in used:
            if record["digest"] not in {each["digest"] for each in subjects}:
                said = f"The notebook is about {record['name']} ({record['digest'][:12]})"
                yield Finding(f"{EXPORTED}/{path.name}", 0, f"{said}; the report is about {_named(subjects)}.")


def _check_figure(name: str, text: str, subjects: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    try:
        spec = RunSpec.from_json(text)
    except UserError as error:
        yield Finding(name, 0, str(error))
        return
    if (spec.model, spec.weights_digest) not in {(each["name"], each["digest"]) for each in subjects}:
        said = f"The figure was made with {spec.title} ({spec.weights_digest[:12]})"
        yield Finding(name, 0, f"{said}; the report is about {_named(subjects)}.")


def _named(subjects: Sequence[Mapping[str, str]]) -> str:
    return " and ".join(f"{each.get('title', each['name'])} ({each['digest'][:12]})" for each in subjects)


def _other_names(own: str, line: str) -> list[str]:
    return [mark[0] for name, pattern in _patterns().items() if name != own and (mark := pattern.search(line))]


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """Match the names of known networks as people write them: ResNet-50, resnet50, MobileNet V2."""
    from xai.io.models import BUNDLED, MODELS

    found = {}
    for name in MODELS:
        parts = re.findall(r"[a-z]+|[0-9]+", name)
        if name != BUNDLED:
            found[name] = re.compile(r"(?<![\w/])" + r"[-_ .]?".join(parts) + r"(?![\w-])", re.IGNORECASE)
    return found


def generated(project: Project) -> Iterator[Finding]:
    """Find generated parts of the README that are not what building writes now."""
    from xai.report.build import stale_parts

    try:
        stale = stale_parts(project)
    except UserError as error:
        yield project.finding(0, str(error))
        return
    for name, line in stale:
        yield project.finding(line, f"The generated part '{name}' is not up to date: run `xai report build`.")
