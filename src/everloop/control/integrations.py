"""Outside systems that follow the ledger, found by entry point, fed by a thread of the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from everloop.errors import EverloopError

if TYPE_CHECKING:
    from everloop.clock import Clock
    from everloop.ledger import Ledger
    from everloop.project import Project

__all__ = ["GROUP", "Integration", "followed"]

GROUP = "everloop.integrations"
_EVERY_S = 1.0

Say = Callable[[str], None]


class Integration(Protocol):
    """What an entry point of the group `everloop.integrations` names: a class made of project, ledger and clock.

    Its class method `wanted(project)` says whether the project asks for it.
    """

    def sync(self) -> int:
        """Take over some more facts; how many. Raises IntegrationError, and paces its own repetition."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


@contextmanager
def followed(project: Project, ledger: Ledger, clock: Clock, *, say: Say) -> Iterator[None]:
    """Every integration that the project asks for follows the ledger within the block, in a thread of its own."""
    chosen = list(_wanted(project, ledger, clock))
    stop = threading.Event()
    threads = [
        threading.Thread(target=_follow, args=(one, stop, say), name="everloop-integration", daemon=True)
        for one in chosen
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=10)


def _wanted(project: Project, ledger: Ledger, clock: Clock) -> Iterator[Integration]:
    for point in entry_points(group=GROUP):
        kind = point.load()
        if kind.wanted(project):
            yield kind(project, ledger, clock)


def _follow(integration: Integration, stop: threading.Event, say: Say) -> None:
    pause_s = 0.0
    while not stop.wait(pause_s):
        pause_s = _EVERY_S
        try:
            if integration.sync():
                pause_s = 0.0
        except EverloopError as error:
            say(str(error))
    integration.close()
