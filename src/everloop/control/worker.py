"""The worker's process: runs, schedules, the controller. `python -m everloop.control.worker --project DIR`."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.control.stopping import told_to_stop
from everloop.errors import EverloopError

if TYPE_CHECKING:
    from everloop.control.resources import Resources
    from everloop.project import Project

__all__ = ["main", "work"]

LEASE = "control"
_LEASE_S = 120.0
_RENEW_EVERY_S = 10.0
_RECOVER_EVERY_S = 5.0
_AFTER_TROUBLE_S = 10.0

Say = Callable[[str], None]


def work(project: Project, stop: threading.Event, *, say: Say, poll_s: float = 1.0, runs: int | None = None) -> None:
    """Go on with runs that were left, begin those that wait, decide and act about every second until told to stop.

    Of several workers one decides, the one that holds the lease; all run what waits, each `runs` at once, as
    everloop.yaml says unless given. A run that
    goes on when the word to stop comes is left at its next step for the next worker.
    """
    from everloop.control.integrations import followed
    from everloop.control.resources import Resources
    from everloop.control.telling import telling
    from everloop.ledger import Ledger

    clock = project.clock()
    assert project.state.is_dir()
    capacity = project.settings.runs.at_once if runs is None else runs
    with (
        Ledger.open(project, clock=clock) as ledger,
        Resources.opened(project, ledger=ledger, clock=clock, slot="worker", capacity=capacity) as resources,
        followed(project, ledger, clock, say=say),
        telling(project, ledger, leads=lambda: _leads(resources), say=say),
    ):
        _Worker(resources, say).run(stop, poll_s)


def _leads(resources: Resources) -> bool:
    """Whether this worker holds the lease, by the ledger's word: asked before each notice."""
    assert resources.engine is not None
    lease = resources.ledger.lease(LEASE)
    return lease is not None and lease.alive and lease.holder == resources.engine.identity


class _Worker:
    """One worker's loop."""

    def __init__(self, resources: Resources, say: Say) -> None:
        from everloop.control.controller import Controller

        assert resources.engine is not None
        self._engine = resources.engine
        self._ledger = resources.ledger
        self._clock = resources.clock
        self._controller = Controller(resources)
        self._say = say
        # Named by its slot, not its process: started again after a crash it holds its own lease at once.
        self._holder = self._engine.identity
        self._holds: bool | None = None
        self._trouble: str | None = None
        self._renew_s = self._recover_s = float("-inf")

    def run(self, stop: threading.Event, poll_s: float) -> None:
        pause_s = 0.0
        while not stop.wait(pause_s):
            pause_s = poll_s
            trouble = self._turned()
            if trouble is not None:
                pause_s = _AFTER_TROUBLE_S
                if trouble != self._trouble:  # what lasts is said once
                    self._say(trouble)
            elif self._trouble is not None:
                self._say("the worker goes on")
            self._trouble = trouble
        if self._holds:
            self._ledger.release_lease(LEASE, self._holder)

    def _turned(self) -> str | None:
        """One turn; what went wrong with it, or None. What fails of it keeps nothing else from being done."""
        troubles = [self._tried(part) for part in (self._recover, self._decide, self._take)]
        return "; ".join(dict.fromkeys(trouble for trouble in troubles if trouble is not None)) or None

    def _tried(self, part: Callable[[], None]) -> str | None:
        try:
            part()
        except EverloopError as error:
            return str(error)
        except Exception as error:  # a worker's loop: one mistake must not end the watch over the rest
            return f"a mistake of everloop itself: {type(error).__name__}: {error}; it is tried again"
        return None

    def _recover(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._recover_s >= _RECOVER_EVERY_S:
            self._recover_s = now_s
            for run in self._engine.recover():
                self._say(f"run {run} was interrupted; it goes on where it was")

    def _decide(self) -> None:
        if self._leads():
            for sentence in self._controller.tick():
                self._say(sentence)

    def _take(self) -> None:
        for run in self._engine.take():
            self._say(f"run {run} begins")

    def _leads(self) -> bool:
        now_s = self._clock.monotonic_s()
        if self._holds and now_s - self._renew_s < _RENEW_EVERY_S:
            return True
        self._renew_s = now_s
        holds = self._ledger.acquire_lease(LEASE, self._holder, ttl_s=_LEASE_S) is not None
        if holds != self._holds:
            self._holds = holds
            self._say("the worker watches" if holds else "another worker watches; this one runs what waits")
        return holds


def main() -> int:
    """Work until SIGTERM, SIGINT or the end of the parent; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m everloop.control.worker")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--parent", type=int)
    given = parser.parse_args()

    from everloop.project import Project

    def say(sentence: str) -> None:
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()

    try:
        with told_to_stop(parent=given.parent) as stop:
            work(Project.find(given.project), stop, say=say)
    except EverloopError as error:
        say(f"the worker: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
