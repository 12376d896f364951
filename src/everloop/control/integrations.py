"""Outside systems that follow the ledger, found by entry point, fed by a thread of the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from everloop.control.beside import going_on
from everloop.errors import EverloopError

if TYPE_CHECKING:
    from everloop.clock import Clock
    from everloop.ledger import Ledger
    from everloop.project import Project

__all__ = ["GROUP", "Integration", "followed"]

GROUP = "everloop.integrations"
_EVERY_S = 1.0
_GOODBYE_S = 10.0

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


def followed(project: Project, ledger: Ledger, clock: Clock, *, say: Say) -> AbstractContextManager[None]:
    """Every integration that the project asks for follows the ledger within the block, in a thread of its own."""
    acts = [partial(_follow, one, say) for one in _wanted(project, ledger, clock)]
    return going_on(acts, name="everloop-integration", goodbye_s=_GOODBYE_S)


def _wanted(project: Project, ledger: Ledger, clock: Clock) -> Iterator[Integration]:
    for point in entry_points(group=GROUP):
        kind = point.load()
        if kind.wanted(project):
            yield kind(project, ledger, clock)


def _follow(integration: Integration, say: Say, stop: threading.Event) -> None:
    pause_s = 0.0
    while not stop.wait(pause_s):
        pause_s = _EVERY_S
        try:
            if integration.sync():
                pause_s = 0.0
        except EverloopError as error:
            say(str(error))
    integration.close()
