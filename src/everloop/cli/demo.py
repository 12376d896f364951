"""`everloop demo`: a company's quarter, played through the real thing in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.output import show

if TYPE_CHECKING:
    from everloop.replay import Audience

__all__ = ["add_to", "demo"]


def add_to(app: typer.Typer) -> None:
    """The command of this file."""
    app.command()(demo)


def demo(
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same history on any machine.")] = 0,
    drift: Annotated[
        bool, typer.Option("--drift/--no-drift", help="Whether a new fraud pattern appears on a hidden date.")
    ] = True,
    keep: Annotated[
        Path | None, typer.Option(help="Make the project here; in a temporary folder where left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Play a company's three months, measured at the end."""
    from everloop.errors import TrafficError
    from everloop.replay import DemoPlan, run_demo

    result = run_demo(DemoPlan(seed=seed, drift=drift), folder=keep, audience=_audience())
    if as_json:
        show(result.to_dict())
    else:
        from rich.console import Console

        from everloop.replay import SCREEN_WIDTH, demo_screen

        Console(width=SCREEN_WIDTH, highlight=False).print(demo_screen(result))
    if result.lost or result.failures:
        raise TrafficError(
            f"{result.failures:,} requests failed and {result.lost:,} acknowledged rows are lost; neither may happen: "
            f"{result.root}/.everloop/logs/endpoint.log says more"
        )


def _audience() -> Audience:
    """A live view on a terminal, plain lines elsewhere; both on stderr."""
    import sys

    from rich.console import Console

    from everloop.replay import Lines, LiveView

    console = Console(stderr=True)
    return LiveView(console) if console.is_terminal else Lines(sys.stderr)
