"""A group of commands that, asked for one it does not have, says which it has."""

from __future__ import annotations

import difflib
from typing import Any

import typer
from typer.core import TyperGroup

from everloop.errors import UsageError

__all__ = ["Commands", "group"]

_NEAR = 0.7  # so that `start` is not taken for `abort`


class Commands(TyperGroup):
    """Typer's group; an unknown command is a UsageError with the likely one, or else all there are."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the first word."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(word, known, n=1, cutoff=_NEAR)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"'{ctx.command_path}' has no command {word!r}; {hint}")
        return super().resolve_command(ctx, args)


def group(name: str, about: str) -> typer.Typer:
    """A noun: a group of commands."""
    return typer.Typer(name=name, help=about, cls=Commands, no_args_is_help=True, rich_markup_mode=None)
