"""Follows the ledger's keys for the endpoint, off the event loop."""

from __future__ import annotations

import logging
import time

from everloop.actors import KEY_KINDS, key_states
from everloop.errors import EverloopError
from everloop.ledger import Ledger
from everloop.serving.callers import Callers
from everloop.serving.patience import Patience
from everloop.serving.rounds import Rounds

__all__ = ["KeyWatch"]

_LOG = logging.getLogger("everloop.serving")
_STOP_S = 2.0


class KeyWatch:
    """Asks every 250 ms for the newest fact of a key, and for all of them where it is another.

    A thread of its own beside the watcher of routings: that one loads bundles, for seconds where they are large, and a
    revoked key must not count for so long. A ledger that cannot be read changes nothing: the last known keys go on.
    trouble: why it cannot be read, if it cannot. looked_s: the last look that was answered, on the machine's monotonic
    clock; None before the first, and where nobody is asked for a key.
    """

    def __init__(self, *, ledger: Ledger, callers: Callers, every_s: float = 0.25) -> None:
        self._ledger = ledger
        self._callers = callers
        self._seq = -1
        self._rounds = Rounds(self._turn, name="everloop-keys", every_s=every_s, join_s=_STOP_S)
        self.patience = Patience(ledger.hang_up)
        self.trouble: str | None = None
        self.looked_s: float | None = None

    def start(self) -> None:
        """Look once, here, then go on in a thread. Raises EverloopError where the ledger cannot be read."""
        if self._callers.required:
            self.look()
            self._rounds.start()

    def stop(self) -> None:
        """Stop looking; a look that the ledger keeps waiting is not waited for for long."""
        self._rounds.stop()

    def look(self) -> None:
        """Ask the ledger once. Raises EverloopError where it cannot be read."""
        with self.patience.asking():
            seq = self._ledger.last_seq(KEY_KINDS)
        if seq != self._seq:  # also a smaller one, of a ledger that was put back
            with self.patience.asking():
                states = key_states(self._ledger)
            self._callers.know(states)
            self._seq = seq  # asked before the keys: what came in between is seen by the next look
        self.looked_s = time.monotonic()

    def _turn(self) -> None:
        try:
            self.look()
            self.trouble = None
        except Exception as error:  # whatever the database says: the keys that are known go on
            said = str(error) if isinstance(error, EverloopError) else type(error).__name__
            if self.trouble is None:  # told once
                _LOG.warning("keys cannot be read from the ledger, those known go on: %s", said)
            self.trouble = said
