"""The console script `xai`: every command, and how mistakes and interruptions end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from xai.cli import (
    attacking,
    browse,
    classify,
    comparing,
    concepts,
    dreaming,
    explaining,
    feature_maps,
    filters,
    reporting,
    scan,
    scan_asking,
    scan_explain,
    serving,
    training,
)
from xai.cli.options import spread
from xai.cli.text import say
from xai.errors import UserError

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C

app = typer.Typer(
    name="xai",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"xai {version('xai-dashboard')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """See what a convolutional network sees: feature maps, filters and the places that move the score of a class."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# Methods take options of their own, which stand in the registry: reading that would load torch for --help.
_OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}
_METHOD_OPTIONS = "Methods have options of their own (such as --relu, --no-relu): see `xai methods NAME`."

clustering = typer.Typer(
    help="Cluster pictures without labels, and ask what the clusters are.", no_args_is_help=True, add_completion=False
)
clustering.command()(scan.train)
clustering.command()(scan.resume)
clustering.command()(scan.status)
clustering.command()(scan.presets)
clustering.command()(scan_asking.evaluate)
clustering.command()(scan_asking.query)
clustering.command()(scan_explain.explain)
clustering.command("retrain-heads")(scan.retrain_heads)
clustering.command("choose-k")(scan_asking.choose_k)
clustering.command("import")(scan.import_)
clustering.command()(scan.export)

app.command()(spread(browse.models))
app.command()(spread(browse.layers))
app.command()(spread(browse.methods))
app.command()(spread(classify.predict))
app.command("feature-maps")(spread(feature_maps.feature_maps))
app.command()(spread(filters.filters))
app.command(context_settings=_OPEN, epilog=_METHOD_OPTIONS)(spread(explaining.explain))
app.command(context_settings=_OPEN, epilog=_METHOD_OPTIONS)(spread(explaining.cam))
app.command()(spread(comparing.compare))
app.command("dff")(spread(concepts.dff))
app.command()(spread(dreaming.dream))
app.command()(spread(attacking.fgsm))
app.command()(spread(training.train))
app.add_typer(clustering, name="scan")
app.command("app")(spread(serving.app))
app.command()(spread(serving.notebooks))

_report = typer.Typer(help="Grade the report, write its generated parts, make its figures again.", no_args_is_help=True)
app.add_typer(_report, name="report")
_report.command()(spread(reporting.check))
_report.command()(spread(reporting.build))
_report.command()(spread(reporting.recompute))
_report.command()(spread(reporting.init))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (a part was skipped), 2 (a user's mistake) or 130 (Ctrl-C).

    Args:
        arguments: as typed after `xai`; by default those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a class name may hold letters that the terminal cannot show
    given = None if arguments is None else list(arguments)
    try:
        code = app(given, prog_name="xai", standalone_mode=False)
    except UserError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "xai"
        return _refuse(f"{error.format_message().rstrip('.')} (see `{path} --help`).")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        say("Stopped.")
    return code or 0


def _refuse(sentence: str) -> int:
    say(f"Error: {' '.join(sentence.split())}")
    return 2
