"""What commands open: the project, its ledger, its engine."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.clock import Clock
    from everloop.ledger import Ledger
    from everloop.project import Project

__all__ = ["Opened", "me", "opened", "project_here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A project with its ledger open."""

    project: Project
    ledger: Ledger
    clock: Clock


def me() -> str:
    """Who acts: the name of whoever runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def project_here(**flags: Any) -> Project:
    """The project of the current folder or of one above; flags win over variables and file."""
    from everloop.project import Project

    return Project.find(flags={name.replace("__", "."): value for name, value in flags.items() if value is not None})


@contextmanager
def opened(**flags: Any) -> Iterator[Opened]:
    """The project here with its ledger, closed at the end."""
    from everloop.ledger import Ledger

    project = project_here(**flags)
    clock = project.clock()
    assert project.state.is_dir()
    with Ledger.open(project, clock=clock) as ledger:
        yield Opened(project=project, ledger=ledger, clock=clock)
