"""Rule on the environment: what code and notebooks import is what environment.yml installs."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from xai.report.project import NOTEBOOKS, Finding, Project
from xai.report.source import read_notebook

ENVIRONMENT = "environment.yml"
CODE = ("app.py", "pages/*.py", "xai/**/*.py")
OWN = {"xai": "xai-dashboard"}  # our import name, and what it is called where it is installed


def complete(project: Project) -> Iterator[Finding]:
    """Find imports of notebooks and package that the environment file does not install."""
    path = project.root / ENVIRONMENT
    if not path.is_file():
        yield Finding(ENVIRONMENT, 0, "The environment file is missing.")
        return
    installed = set(_installed(project.root, path))
    owners = _owners()
    local = {path.stem for path in project.root.glob("*.py")} | {
        path.parent.name for path in project.root.glob("*/__init__.py")
    }
    missing: dict[str, Finding] = {}
    for file, line, module in _imports(project.root):
        names = {_canonical(owner) for owner in owners.get(module, [OWN.get(module, module)])}
        if module in local or module in sys.stdlib_module_names or names & installed or module in missing:
            continue
        sentence = f"'{module}' is imported, but {ENVIRONMENT} does not install {' or '.join(sorted(names))}."
        missing[module] = Finding(file, line, sentence)
    yield from missing.values()


@cache
def _owners() -> Mapping[str, list[str]]:
    """Name the distributions that bring a top-level module."""
    return importlib.metadata.packages_distributions()


def _installed(root: Path, path: Path) -> Iterator[str]:
    """Name the distributions that an environment file installs, also through requirement files and the project."""
    for line in path.read_text(encoding="utf-8").splitlines():
        item = re.match(r"^\s*-\s*(.+?)\s*(?:#.*)?$", line)
        if item is None:
            continue
        text = item[1].strip("\"'")
        if text.startswith(("-r ", "--requirement ")):
            yield from _requirements(root / text.split()[1])
        elif text in (".", "-e .", "--editable .") and (root / "pyproject.toml").is_file():
            told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
            yield from map(requirement_name, [told.get("name", ""), *told.get("dependencies", [])])
        elif not text.startswith("-") and not text.endswith(":"):
            yield requirement_name(text)


def _requirements(path: Path) -> Iterator[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    yield from (requirement_name(line) for line in lines if line.strip() and not line.lstrip().startswith(("#", "-")))


def _imports(root: Path) -> Iterator[tuple[str, int, str]]:
    """List (file, line, top-level module) of every import in notebooks and code; a notebook's line is 0."""
    for path in sorted((root / NOTEBOOKS).glob("*.ipynb")):
        for cell in read_notebook(path).cells:
            if cell.cell_type == "code":
                source = "\n".join(
                    "" if line.lstrip().startswith(("%", "!")) else line for line in cell.source.split("\n")
                )
                yield from ((f"{NOTEBOOKS}/{path.name}", 0, module) for _, module in _modules(source))
    for pattern in CODE:
        for path in sorted(root.glob(pattern)):
            found = _modules(path.read_text(encoding="utf-8"))
            yield from ((path.relative_to(root).as_posix(), line, module) for line, module in found)


def _modules(source: str) -> list[tuple[int, str]]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []  # the rule on executed cells tells about it
    found = [(node.lineno, alias.name) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    found += [(node.lineno, node.module or "") for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return [(line, name.partition(".")[0]) for line, name in found]


def requirement_name(requirement: str) -> str:
    """Give the canonical name of what a line such as "numpy>=2.1" asks for."""
    return _canonical(re.split(r"[\s\[<>=!~;@]", requirement.strip(), maxsplit=1)[0])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
