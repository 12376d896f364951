"""What a worker sees to every quarter of a second, whatever the ledger, a store or a spool keeps waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

__all__ = ["Beat"]

_LOG = logging.getLogger("everloop.serving")


class Beat:
    """Calls each of its duties in turn, in a thread of its own; none of them waits for anything but the disk."""

    def __init__(self, duties: Sequence[Callable[[], object]], *, every_s: float = 0.25) -> None:
        self._duties = tuple(duties)
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everloop-beat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            for duty in self._duties:
                try:
                    duty()
                except Exception:  # one that fails keeps no other from its turn
                    _LOG.exception("the endpoint could not see to something")
