"""All places that name packages agree, and what is built from them is complete and free to use."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import re
import socket
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import streamlit.config
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from playwright.sync_api import Browser, Error

from xai.resources import project_file

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = PROJECT["project"]["name"]
CORE = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
UNTESTED = ("clip",)  # for people who bring its weights; its part runs against a stand-in
EXTRAS = {
    extra: [Requirement(line) for line in lines]
    for extra, lines in PROJECT["project"]["optional-dependencies"].items()
    if extra not in UNTESTED
}
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
DIRECT = [r for r in itertools.chain(CORE, *EXTRAS.values(), BUILD) if r.name != NAME]

PINS = {
    canonicalize_name(pin.name): pin
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for pin in [Requirement(line)]
}
# torch names these itself, exactly and per platform.
PLATFORM = re.compile(r"(nvidia|cuda)-.+|triton")
EXPECTED_CORE = "streamlit torch torchvision grad-cam lime matplotlib plotly jupyterlab nbconvert pandas"


def applies(requirement: Requirement, extra: str = "") -> bool:
    """Whether this machine needs the requirement."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def closure(requirements: Iterable[Requirement]) -> Iterator[tuple[str, Requirement]]:
    """Every (who asks, what for) pair that installing these pulls in on this machine."""
    waiting, seen = [("pyproject.toml", r) for r in requirements if r.name != NAME and applies(r)], set()
    while waiting:
        who, wanted = waiting.pop()
        yield who, wanted
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {e for n, e in seen if n == name}:
            seen.add((name, extra))
            needs = map(Requirement, importlib.metadata.requires(name) or [])
            waiting += [(name, need) for need in needs if applies(need, extra)]


def imported_packages(files: Iterable[Path]) -> set[str]:
    """Top-level modules that the files import."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names} - {"xai", "benchmarks", "conftest", *sys.stdlib_module_names}


def run(*command: str | Path) -> str:
    """Output of a command; its errors become the message of the test."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin, f"{requirement.name} has no pin in requirements.txt"
    [version] = [specifier.version for specifier in pin.specifier]
    assert requirement.specifier.contains(version), f"the pin {pin} is outside {requirement}"


def test_pins_are_exact() -> None:
    for pin in PINS.values():
        assert [s.operator for s in pin.specifier] == ["=="], f"{pin} is no exact pin"
        assert "*" not in str(pin.specifier), f"{pin} is no exact pin"


def test_pins_are_what_is_installed() -> None:
    wrong = {
        str(pin): importlib.metadata.version(name)
        for name, pin in PINS.items()
        if applies(pin) and not pin.specifier.contains(importlib.metadata.version(name))
    }
    assert not wrong, f"installed versions differ from requirements.txt: {wrong}; run `make env`"


def test_pins_are_complete_consistent_and_nothing_more() -> None:
    needed = set()
    for who, wanted in closure(DIRECT):
        name = canonicalize_name(wanted.name)
        needed.add(name)
        if PLATFORM.fullmatch(name):
            continue
        assert name in PINS, f"{name}, needed by {who}, has no pin"
        [version] = [specifier.version for specifier in PINS[name].specifier]
        assert wanted.specifier.contains(version, prereleases=True), f"{who} wants {wanted}, not {version}"
    unused = {name for name, pin in PINS.items() if applies(pin)} - needed
    assert not unused, f"nothing needs these pins: {sorted(unused)}"


def test_pins_install_on_the_oldest_python_that_the_makefile_takes() -> None:
    for name in (name for name, pin in PINS.items() if applies(pin)):
        wanted = importlib.metadata.metadata(name).get("Requires-Python") or ""
        assert SpecifierSet(wanted).contains("3.11.0"), f"{name} wants Python {wanted}"


def test_the_fixed_core_packages_are_all_there() -> None:
    assert set(EXPECTED_CORE.split()) <= {requirement.name for requirement in CORE}


def test_conda_installs_the_pins_and_the_package() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["name"] == "xai"
    assert conda == ["python=3.11", "pip"]
    assert pip == {"pip": ["-r requirements.txt", "-e ."]}


def test_make_and_ci_install_the_pins() -> None:
    makefile = (ROOT / "Makefile").read_text()
    pins, package = (line.split() for line in re.findall(r"pip install (.+)", makefile))
    assert pins[-2:] == ["--requirement", "requirements.txt"]
    assert package[-4:] == ["--no-deps", "--no-build-isolation", "--editable", "."]
    ci = (ROOT / ".ci" / "run").read_text()
    assert "REQUIRE_BROWSER=1 make test" in ci
    assert "pip install" not in ci


@pytest.mark.parametrize(
    ("folders", "declared"),
    [
        (["app.py", "pages/*.py", "xai/**/*.py"], CORE),
        (["tests/**/*.py", "benchmarks/**/*.py"], DIRECT),
    ],
    ids=["package", "tests and benchmarks"],
)
def test_every_import_is_declared(folders: list[str], declared: list[Requirement]) -> None:
    files = [file for folder in folders for file in ROOT.glob(folder)]
    owners = importlib.metadata.packages_distributions()
    allowed = {canonicalize_name(requirement.name) for requirement in declared}
    local = {file.stem for file in files}
    undeclared = {
        module
        for module in imported_packages(files) - local
        if not allowed & {canonicalize_name(owner) for owner in owners.get(module, [])}
    }
    assert not undeclared, f"imported but not named in pyproject.toml: {sorted(undeclared)}"


def test_no_core_package_forces_its_licence_on_ours() -> None:
    """GPL and AGPL are out; LGPL is allowed, since its packages are used unchanged and can be replaced."""
    for name in {canonicalize_name(wanted.name) for _, wanted in closure(CORE)}:
        metadata = importlib.metadata.metadata(name)
        stated = [metadata.get("License-Expression") or ""]
        stated += [c for c in metadata.get_all("Classifier") or [] if c.startswith("License")]
        if not any(stated):  # older packages say it in free text only; the first line names it
            stated = (metadata.get("License") or "").strip().splitlines()[:1]
        text = " ".join(stated)
        assert not re.search(r"\bA?GPL|(?<!Lesser )General Public", text), f"{name} is under {text}"


def test_the_readme_shows_the_top_level_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = re.search(r"## Where things are\n.*?```text\n(.*?)```", readme, re.DOTALL)
    assert tree, "README.md has no tree under 'Where things are'"
    named = [line.split()[0].rstrip("/") for line in tree[1].splitlines() if line.strip()]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing, f"the README names what is not there: {missing}"
    shown = {name.partition("/")[0] for name in named}
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    present = {line.partition("/")[0] for line in listed.splitlines()}
    assert present <= shown, f"the README does not say what these are: {sorted(present - shown)}"


def test_streamlit_knows_every_option_of_its_configuration() -> None:
    def names(table: dict, prefix: str = "") -> Iterator[str]:
        for key, value in table.items():
            yield from names(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]

    options = set(names(tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())))
    assert options <= set(streamlit.config.get_config_options()), "see `streamlit config show`"


def test_project_files_are_found_in_a_checkout() -> None:
    assert project_file("app.py") == ROOT / "app.py"
    assert project_file(".streamlit/config.toml") == ROOT / ".streamlit" / "config.toml"
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt is missing"):
        project_file("nothing.txt")


def test_tests_reach_this_computer_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    with pytest.raises(RuntimeError, match=r"asked for 'example\.org'"):
        urllib.request.urlopen("http://example.org")
    with pytest.raises(RuntimeError, match=r"asked for '192\.0\.2\.1'"), socket.socket() as caller:
        caller.connect(("192.0.2.1", 80))


@pytest.mark.browser
def test_the_browser_reaches_this_computer_only(chromium: Browser) -> None:
    page = chromium.new_page()
    for outside in ("http://example.org", "http://192.0.2.1"):
        with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
            page.goto(outside)
    page.close()


@pytest.mark.slow
def test_a_wheel_holds_app_pages_and_notebooks(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "wheel", *offline, "--wheel-dir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    run(*pip, "install", *offline, "--target", site, wheel)

    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = [ROOT / "app.py", ROOT / ".streamlit" / "config.toml"]
    wanted += [*(ROOT / "pages").glob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]
    wanted += [*(ROOT / "exported_html").glob("*.html")]
    missing = [path for path in wanted if f"xai/_bundle/{path.relative_to(ROOT).as_posix()}" not in held]
    assert not missing, f"not in the wheel: {missing}"
    tops = {name.partition("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"xai"}

    code = f"import sys; sys.path.insert(0, {str(site)!r}); from xai.resources import project_file; "
    found = run(sys.executable, "-I", "-c", code + "print(project_file('app.py'))")
    assert Path(found.strip()) == (site / "xai" / "_bundle" / "app.py").resolve()
