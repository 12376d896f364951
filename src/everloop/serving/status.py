"""What can be read of the endpoint: health, readiness, metrics, the API's description, the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from everloop.clock import Clock
from everloop.serving.batcher import Reply
from everloop.serving.counters import Counters, SlotRecord, SlotRouting, slot_metrics, spool_metric
from everloop.serving.live import Live
from everloop.serving.openapi import openapi

__all__ = ["Status", "slot_routing"]


class Status:
    """The endpoint's pages. Each reads one snapshot, in whatever thread asks."""

    def __init__(
        self,
        *,
        live: Callable[[], Live],
        counters: Counters,
        slot: int,
        clock: Clock,
        spool_rows: Callable[[], int | None] = lambda: None,
        keyed: bool = False,
    ) -> None:
        """spool_rows: how many recorded rows are not in the log yet, as last counted; it must not read files.

        keyed: whether callers show a key.
        """
        self._live = live
        self._spool_rows = spool_rows
        self._counters = counters
        self._slot = slot
        self._clock = clock
        self._keyed = keyed

    def record(self) -> SlotRecord:
        """This worker's counts and routings, as its slot's file holds them."""
        return self._counters.record(slot=self._slot, at=self._clock.now(), routing=slot_routing(self._live()))

    def healthz(self) -> Reply:
        """200 while the process answers at all."""
        return _json(200, {"status": "ok"})

    def readyz(self) -> Reply:
        """200 when every model that has a champion in the ledger is served, 503 else.

        `current` says whether it is served at the ledger's newest revision; an older one goes on answering while a
        newer one cannot be loaded, and `problem` says why. `ledger` is null, or why it cannot be read.
        """
        live = self._live()
        routing = slot_routing(live)
        served = _is_ready(live, routing)
        models = {
            name: msgspec.to_builtins(one) | {"current": one.revision == one.wanted} for name, one in routing.items()
        }
        body = {"ready": served, "slot": self._slot, "ledger": live.ledger, "models": models}
        return _json(200 if served else 503, body)

    def bare_readyz(self) -> Reply:
        """The same status, and no more than that."""
        live = self._live()
        ready = _is_ready(live, slot_routing(live))
        return _json(200 if ready else 503, {"ready": ready})

    def metrics(self) -> Reply:
        """Prometheus's text format; of this worker, whose slot is a label, and the spool of all as last counted."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        families = list(slot_metrics([self.record()]))
        rows = self._spool_rows()
        if rows is not None:
            families.append(spool_metric(rows))
        registry.register(_Families(families))
        return Reply(status=200, body=generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    def openapi(self) -> Reply:
        """OpenAPI 3.1, with each served model's contract."""
        models = self._live().models
        served = ((name, models[name].contract, models[name].decides) for name in sorted(models))
        return _json(200, openapi(served, keyed=self._keyed))

    def models(self) -> Reply:
        """The project's models, and what is served of each."""
        live = self._live()
        routing = slot_routing(live)
        listed = [{"name": name} | msgspec.to_builtins(routing[name]) for name in sorted(routing)]
        return _json(200, {"models": listed})


def _is_ready(live: Live, routing: Mapping[str, SlotRouting]) -> bool:
    return all(name in live.models for name, one in routing.items() if one.problem is not None)


class _Families:
    """Families as a Prometheus collector."""

    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Any:
        return self._families


def slot_routing(live: Live) -> dict[str, SlotRouting]:
    """What is served and what is wanted, by model."""
    found = {}
    for name in sorted(live.names):
        model = live.models.get(name)
        routing = None if model is None else model.routing
        found[name] = SlotRouting(
            revision=0 if routing is None else routing.revision,
            champion=None if routing is None else routing.champion,
            challengers=() if routing is None else tuple(one.version for one in routing.challengers),
            wanted=live.wanted.get(name, 0),
            problem=live.problems.get(name),
        )
    return found


def _json(status: int, body: Any) -> Reply:
    return Reply(status=status, body=msgspec.json.encode(body))
