"""Phase 2 to 4 from the command line: up, serve, check, status, why, rollback."""

from __future__ import annotations

import typer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """The commands of this file."""
