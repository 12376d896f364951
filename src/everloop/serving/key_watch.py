"""Follows the ledger's keys for the endpoint, off the event loop."""

from __future__ import annotations

import logging
import threading

from everloop.actors import KEY_KINDS, key_states
from everloop.errors import EverloopError
from everloop.ledger import Ledger
from everloop.serving.callers import Callers

__all__ = ["KeyWatch"]

_LOG = logging.getLogger("everloop.serving")


class KeyWatch:
    """Asks every 250 ms for the newest fact of a key, and for all of them where it is another.

    A thread of its own beside the watcher of routings: that one loads bundles, for seconds where they are large, and a
    revoked key must not count for so long. A ledger that cannot be read changes nothing: the last known keys go on.
    """

    def __init__(self, *, ledger: Ledger, callers: Callers, every_s: float = 0.25) -> None:
        self._ledger = ledger
        self._callers = callers
        self._every_s = every_s
        self._seq = -1
        self._trouble = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everloop-keys", daemon=True)

    def start(self) -> None:
        """Look once, here, then go on in a thread. Raises EverloopError where the ledger cannot be read."""
        if self._callers.required:
            self.look()
            self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Ask the ledger once. Raises EverloopError where it cannot be read."""
        seq = self._ledger.last_seq(KEY_KINDS)
        if seq != self._seq:  # also a smaller one, of a ledger that was put back
            self._callers.know(key_states(self._ledger))
            self._seq = seq  # asked before the keys: what came in between is seen by the next look

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.look()
                self._trouble = False
            except Exception as error:  # whatever the database says: the keys that are known go on
                if not self._trouble:  # told once
                    said = error if isinstance(error, EverloopError) else type(error).__name__
                    _LOG.warning("keys cannot be read from the ledger, those known go on: %s", said)
                self._trouble = True
