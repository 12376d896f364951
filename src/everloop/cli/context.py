"""What commands open: the project, its ledger, its engine."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.actors import Action, Actor
    from everloop.clock import Clock
    from everloop.ledger import Ledger
    from everloop.project import Project

__all__ = ["Opened", "approve_line", "login_name", "me", "opened", "project_here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A project with its ledger open, and who acts in it."""

    project: Project
    ledger: Ledger
    clock: Clock
    actor: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """Who was let in. to_change: whether for more than reading."""

    actor: Actor
    to_change: bool


_ADMITTED: ContextVar[_Admitted | None] = ContextVar("admitted", default=None)


def login_name() -> str:
    """The name of whoever runs the command, as the operating system has it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def me() -> str:
    """Who acts: where the project has roles the name that a key has proven, else the login name."""
    admitted = _ADMITTED.get()
    if admitted is None:
        return login_name()
    if not admitted.to_change:  # no assert: this must also hold where they are left out
        raise AssertionError("a command that writes under someone's name says so: opened(may=…)")
    return admitted.actor.name


def project_here(*, may: Action | None = "read", **flags: Any) -> Project:
    """The project of the current folder or of one above; flags win over variables and file.

    may: what is going to be done there; None where nothing of the project is shown or changed, or where what follows
    asks by itself. Raises Refused where the roles do not allow it.
    """
    project = _found(**flags)
    if may is not None and project.settings.roles:
        from everloop.actors import is_open

        if not is_open(project, may):
            with _ledger_of(project) as ledger:
                _admitted(project, ledger, may)
    return project


def _found(**flags: Any) -> Project:
    from everloop.project import Project

    return Project.find(flags={name.replace("__", "."): value for name, value in flags.items() if value is not None})


@contextmanager
def _ledger_of(project: Project) -> Iterator[Ledger]:
    from everloop.ledger import Ledger

    assert project.state.is_dir()
    with Ledger.open(project, clock=project.clock()) as ledger:
        yield ledger


def _admitted(project: Project, ledger: Ledger, may: Action | None) -> Actor:
    from everloop.actors import Actor, admit

    return Actor.named(login_name()) if may is None else admit(project, ledger, may, login=login_name())


@contextmanager
def opened(*, may: Action | None = "read", **flags: Any) -> Iterator[Opened]:
    """The project here with its ledger, closed at the end, for someone who may do this.

    may: the one thing that the command is going to do; every command that changes something says it here, and is
    refused here. None: what follows asks by itself.
    """
    project = _found(**flags)
    with _ledger_of(project) as ledger:
        actor = _admitted(project, ledger, may)
        changes = may != "read" or not project.settings.roles
        before = _ADMITTED.set(_Admitted(actor=actor, to_change=changes))
        try:
            yield Opened(project=project, ledger=ledger, clock=project.clock(), actor=actor)
        finally:
            _ADMITTED.reset(before)


def approve_line(project: Project, spec: str) -> str:
    """The command that approves a spec here."""
    return f"everloop approve {spec}" + ("" if project.settings.roles else f" --by {login_name()}")
