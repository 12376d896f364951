"""Follows the ledger's routing, off the event loop: loads, verifies and warms, then swaps one immutable object."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from types import MappingProxyType

from everloop.bundle import Bundle
from everloop.errors import EverloopError, NotFound
from everloop.ledger import Ledger
from everloop.rollout import load_routing
from everloop.serving.live import Live, LiveModel, live_model
from everloop.serving.open_model import OpenModel
from everloop.serving.patience import Patience
from everloop.serving.rounds import Rounds

__all__ = ["Watcher"]

_LOG = logging.getLogger("everloop.serving")
_STOP_S = 2.0


class Watcher:
    """Polls the routing revision of every model and keeps `live` up to date.

    What cannot be loaded is not served: the old routing answers on, and the problem is told in `live.problems`.
    A ledger that cannot be reached changes nothing but `live.ledger`; one that does not answer at all changes nothing,
    and `patience` knows since when. looked_s: the last look that was answered, on the machine's monotonic clock.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        load: Callable[[str], Bundle],
        models: Iterable[str],
        unserved: Callable[[str], OpenModel | str] = lambda name: "",
        on_look: Callable[[Live], None] = lambda live: None,
        every_s: float = 0.25,
        retry_s: float = 5.0,
    ) -> None:
        """load: the bundle of a bundle id, verified. unserved: what is known of a model that has no champion.

        on_look: called after every look, in the watcher's thread.

        retry_s: how long a revision that could not be loaded is left alone.
        """
        self._ledger = ledger
        self._load = load
        self._unserved = unserved
        self._on_look = on_look
        self._retry_s = retry_s
        self._failed: dict[str, tuple[int, float]] = {}
        self._rounds = Rounds(self.look, name="everloop-watcher", every_s=every_s, join_s=_STOP_S)
        self.patience = Patience(ledger.hang_up)
        self.live = Live(names=frozenset(models))
        self.looked_s: float | None = None

    def start(self) -> None:
        """Look once, here, then go on in a thread."""
        self.look()
        self._rounds.start()

    def stop(self) -> None:
        """Stop looking; a look that the ledger or a store keeps waiting is not waited for for long."""
        self._rounds.stop()

    def look(self) -> None:
        """Ask the ledger once and swap `live` for what it says now."""
        live = self.live
        models, wanted, problems = dict(live.models), dict(live.wanted), dict(live.problems)
        trouble: str | None = None
        for name in sorted(live.names):
            try:
                with self.patience.asking():
                    wanted[name] = self._ledger.routing_revision(name)
            except Exception as error:  # whatever the database says: what is served now is served on
                trouble = _first_line(error)
                break
            if wanted[name] != live.revision(name) and not self._rests(name, wanted[name]):
                served, problem = self._follow(name, models.get(name))
                known = problems.pop(name, None)
                if served is not None:
                    models[name] = served
                if problem is not None:
                    problems[name] = problem
                    self._failed[name] = (wanted[name], time.monotonic())
                    if problem != known:  # told once, however often it is tried again
                        _LOG.error("routing revision %d of %s is not served: %s", wanted[name], name, problem)
            elif wanted[name] == live.revision(name):
                problems.pop(name, None)
        if trouble is None:
            self.looked_s = time.monotonic()
        if trouble != live.ledger:
            _LOG.warning(
                "the ledger cannot be read: %s" if trouble else "the ledger can be read again%s", trouble or ""
            )
        self.live = Live(
            names=live.names,
            models=MappingProxyType(models),
            wanted=MappingProxyType(wanted),
            problems=MappingProxyType(problems),
            ledger=trouble,
            unserved=MappingProxyType({name: self._unserved(name) for name in live.names if name not in models}),
        )
        self._on_look(self.live)

    def _rests(self, name: str, revision: int) -> bool:
        """Whether this revision failed a moment ago."""
        failed = self._failed.get(name)
        return failed is not None and failed[0] == revision and time.monotonic() - failed[1] < self._retry_s

    def _follow(self, name: str, before: LiveModel | None) -> tuple[LiveModel | None, str | None]:
        try:
            with self.patience.asking():
                routing = load_routing(self._ledger, name)
            if routing.champion is None:
                return None, None
            return live_model(routing, lambda version: self._bundle(name, version), before=before), None
        except EverloopError as error:
            return None, str(error)
        except Exception as error:  # a bundle of another making may fail anywhere: it must not stop the endpoint
            return None, f"{type(error).__name__}: {_first_line(error)}"

    def _bundle(self, name: str, version: int) -> Bundle:
        try:
            with self.patience.asking():
                bundle = self._ledger.version(name, version).bundle
            return self._load(bundle)
        except NotFound as error:
            other = f"or 'everloop rollback {name}' answers with the version before; 'everloop doctor' tells more"
            raise NotFound(f"{name}/v{version} cannot answer: {error}, {other}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
