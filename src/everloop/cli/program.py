"""The program: its commands, and how an error becomes one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from everloop.cli import INTERRUPTED, daily, demo, notices, nouns, operate, schedules, scoring, trials
from everloop.cli.commands import Commands
from everloop.cli.output import lines, say
from everloop.errors import EverloopError, no_room

__all__ = ["app", "run"]

app = typer.Typer(
    cls=Commands,
    name="everloop",
    help="Keeps a machine-learning model good in production: experiment, production, monitoring, improvement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        lines(version("everloop"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What may stand before a command."""


demo.add_to(app)
daily.add_to(app)
scoring.add_to(app)
operate.add_to(app)
nouns.add_to(app)
notices.add_to(app)
schedules.add_to(app)
trials.add_to(app)


def run() -> None:
    """Run the command line and exit; no traceback ever reaches a user."""
    try:
        app(prog_name="everloop")
    except EverloopError as error:
        _end(f"everloop: {error}", error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt from None
        raise
    except BrokenPipeError:
        # whoever read our output has gone; there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        _end(f"everloop: {_sentence(error)}", 1)


def _end(sentence: str, code: int) -> None:
    say(sentence)
    sys.exit(code)


def _sentence(error: Exception) -> str:
    """What a person is told of an error that is none of our tree."""
    if no_room(error):
        place = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"the disk is full{place}; free some space and run the command again: nothing was half written"
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{place}"
    if isinstance(error, ModuleNotFoundError):
        from everloop.control import missing_library

        return missing_library(error) or _bug_sentence(error)
    return _bug_sentence(error)


def _bug_sentence(error: Exception) -> str:
    """One sentence for a mistake of ours; the traceback goes to a file that can be sent along."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="everloop-", suffix=".log", delete=False) as handle:
        traceback.print_exc(file=handle)
    said = " ".join(str(error).split())
    return f"a mistake of everloop itself: {type(error).__name__}: {said:.300}; the details are in {handle.name}"
