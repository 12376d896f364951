"""A worker's signs of life, for those on other machines who wait for it to fall silent."""

from __future__ import annotations

import threading

from everloop.clock import Clock
from everloop.errors import EverloopError
from everloop.ledger import Ledger

__all__ = ["Alive", "is_silent"]


def _name(identity: str) -> str:
    return f"worker:{identity}"


def is_silent(ledger: Ledger, identity: str) -> bool:
    """Whether the worker's last sign of life has run out."""
    return ledger.is_silent(_name(identity))


class Alive:
    """Says three times within `ttl_s` that this worker lives, from a thread of its own, until it is closed.

    A worker that could not say so in time may have been taken for dead: it begins nothing, and asks whose its runs are.
    """

    def __init__(self, ledger: Ledger, clock: Clock, identity: str, *, ttl_s: float) -> None:
        self._ledger = ledger
        self._clock = clock
        self._name = _name(identity)
        self._ttl_s = ttl_s
        self._until_s = float("-inf")
        self._stop = threading.Event()
        self.say()
        self._thread = threading.Thread(target=self._run, name="everloop-alive", daemon=True)
        self._thread.start()

    @property
    def believed(self) -> bool:
        """Whether nobody can have taken this worker for dead."""
        return self._clock.monotonic_s() < self._until_s

    def say(self) -> None:
        """Say it now. Raises LedgerUnreadable."""
        begun_s = self._clock.monotonic_s()  # before the word is out: the others' time runs later
        self._ledger.say_alive(self._name, ttl_s=self._ttl_s)
        self._until_s = begun_s + self._ttl_s

    def _run(self) -> None:
        while not self._stop.wait(self._ttl_s / 3):
            try:
                self.say()
            except EverloopError:
                continue  # the ledger is away for a moment; `believed` tells when it was away for too long

    def close(self) -> None:
        """Fall silent at once: this worker has nothing left to do."""
        self._stop.set()
        self._thread.join()
        self._until_s = float("-inf")
        try:
            self._ledger.say_gone(self._name)
        except EverloopError:
            return  # then the others wait until the sign of life runs out
