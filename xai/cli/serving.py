"""Commands that start the app and that execute the notebooks."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xai.cli.options import Json, Quiet
from xai.cli.text import print_json, progress
from xai.errors import UserError
from xai.resources import project_file


def app(
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="Open with this network.")] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", "-w", metavar="NAME|FILE|none", help="And with these weights of it."),
    ] = None,
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Where it listens.")] = 8501,
    host: Annotated[
        str,
        typer.Option("--host", "--address", metavar="ADDRESS", help="0.0.0.0 opens it to the network: no log-in!"),
    ] = "127.0.0.1",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser, if there is a display.")
    ] = True,
) -> None:
    """Serve the app on this computer until Ctrl-C."""
    os.environ.update(app_environment(model, weights))
    _check_port(host, port)
    from streamlit.web.cli import main

    arguments = app_arguments(host, port, browser=browser and _has_display())
    try:
        code = main(arguments, prog_name="streamlit", standalone_mode=False)
    except RuntimeError as stop:  # click's Abort
        if isinstance(stop.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    raise typer.Exit(code or 0)


def app_environment(model: str | None, weights: str | None) -> dict[str, str]:
    """Check the network to open with, and return the variables by which the app gets to know it.

    Raises:
        UserError: the names are unknown, or there is no such file.
    """
    if model is None:
        if weights is not None:
            raise UserError("--weights says nothing without --model; name the network too.")
        return {}
    from xai.io.model_files import is_model_file, read_model_file

    if is_model_file(model):
        file = read_model_file(model)
        model, weights = file.architecture, str(file.weights)
    if ":" in model:
        raise UserError(f"The app does not run code such as {model!r}; --model takes a name from `xai models`.")

    from xai.io.models import find_model
    from xai.io.weights import WEIGHT_SUFFIXES

    entry = find_model(model)
    if weights in (None, "default"):
        return {"XAI_MODEL": model}
    assert weights is not None
    if weights == "none":
        return {"XAI_MODEL": model, "XAI_WEIGHTS": "none"}
    if not weights.endswith(WEIGHT_SUFFIXES):
        return {"XAI_MODEL": model, "XAI_WEIGHTS": entry.preset(weights).name}
    path = Path(weights).resolve()
    if not path.is_file():
        raise UserError(f"Weights file '{weights}' does not exist.")
    return {"XAI_MODEL": model, "XAI_WEIGHTS": str(path)}


def app_arguments(host: str, port: int, *, browser: bool) -> list[str]:
    """Return what Streamlit is told: nothing is asked at the start, nothing is sent anywhere."""
    settings = {
        "server.address": host,
        "server.port": port,
        "server.headless": str(not browser).lower(),
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
    }
    return ["run", str(project_file("app.py")), *(f"--{name}={value}" for name, value in settings.items())]


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"Port {port} of {host} is not available ({error.strerror})"
            raise UserError(f"{reason}; choose another with --port.") from error


def _has_display() -> bool:
    shown = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return shown and sys.stdout.isatty()


def notebooks(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Such as 01 or 01_feature_maps (default: all).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="In place of the notebooks' own network.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", metavar="NAME|FILE|none", help="In place of their own weights.")
    ] = None,
    img: Annotated[
        list[str] | None, typer.Option("--img", "-i", metavar="FILE", help="In place of their own pictures.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--origin", metavar="SENTENCE", help="Where the weights come from; pages show it.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Folder of other notebooks than the project's own.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Gets pages, executed notebooks, index.")
    ] = Path("exported_html"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Execute the notebooks and write them as self-contained pages."""
    from xai.report.notebooks import export_all

    asked: dict[str, Any] = {"model": model, "weights": weights, "images": img, "origin": origin, "only": names or ()}
    with progress("Notebooks", quiet=quiet) as tell:
        exports = export_all(folder or project_file("notebooks"), output, on_progress=tell, **asked)
    made = [{"page": str(each.page), "notebook": str(each.notebook)} for each in exports]
    if json:
        print_json({"pages": made, "index": str(output / "index.html")})
        return
    for each in made:
        print(each["page"])
    print(output / "index.html")
