"""Where a notebook works: a project's model, read anew by every call, and its ledger, open no longer than a call."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from everloop.actors import admit, is_open
from everloop.clock import Clock
from everloop.ledger import Ledger
from everloop.project import Model, Project

__all__ = ["Place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A project and one of its models as their files are now."""

    project: Project
    model: Model
    clock: Clock

    @classmethod
    def of(cls, root: Path, name: str) -> Place:
        """The model `name` of the project in `root`.

        Raises ConfigurationError with every mistake in the files, Refused where the roles do not let one read.
        """
        project = Project.open(root)
        place = cls(project=project, model=project.model(name), clock=project.clock())
        if not is_open(project, "read"):
            with place.ledger() as ledger:
                admit(project, ledger, "read", login=_login_name())
        return place

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger, closed at the end: what runs beside the notebook is never kept waiting."""
        assert self.project.state.is_dir()
        with Ledger.open(self.project, clock=self.clock) as ledger:
            yield ledger

    @contextmanager
    def writing(self) -> Iterator[tuple[Ledger, str]]:
        """The ledger, and the name of who writes there. Raises Refused where the roles do not let them search."""
        with self.ledger() as ledger:
            yield ledger, admit(self.project, ledger, "search", login=_login_name()).name

    def shown(self, path: Path) -> str:
        """A path as people name it, from the project's folder."""
        return path.relative_to(self.project.root).as_posix()


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
