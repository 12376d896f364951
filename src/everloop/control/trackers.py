"""Trackers: outside systems that people log runs in by hand. Found by entry point, as mirrors are."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from everloop.control.integrations import GROUP
from everloop.errors import NotFound
from everloop.experiment import ForeignRun
from everloop.project import Project

__all__ = ["Tracker", "tracked_run"]


class Tracker(Protocol):
    """What the class behind an entry point of `everloop.integrations` may do besides."""

    def tracked_run(self, project: Project, run: str) -> ForeignRun:
        """The run. Raises NotFound where there is none, IntegrationError where the outside does not answer."""
        ...


def tracked_run(project: Project, tracker: str, run: str) -> ForeignRun:
    """The run that `tracker` has. Raises NotFound where no such tracker is installed, else what it raises."""
    for point in entry_points(group=GROUP, name=tracker):
        found: Tracker = point.load()
        return found.tracked_run(project, run)
    raise NotFound(f"no integration called {tracker} is installed; pip install 'everloop[{tracker}]'")
