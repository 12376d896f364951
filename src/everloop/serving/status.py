"""What can be read of the endpoint: health, readiness, metrics, the API's description, the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from everloop.clock import Clock, to_us
from everloop.serving.batcher import Reply
from everloop.serving.counters import Counters, Moment, SlotRecord, SlotRouting
from everloop.serving.docs_page import docs_page
from everloop.serving.inference import Target, described, metadata_of, ready_of
from everloop.serving.ledger_state import LedgerState
from everloop.serving.live import Live, served_model
from everloop.serving.metrics import metrics_text
from everloop.serving.open_model import OpenModel
from everloop.serving.openapi import Described, openapi
from everloop.serving.requests import Requests
from everloop.serving.slots import is_living
from everloop.traffic import Pending

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
        keyed: bool = False,
        max_rows: int = 10_000,
        requests: Requests | None = None,
        pending: Callable[[], Pending | None] = lambda: None,
        ledger: Callable[[], LedgerState] = LedgerState,
        moment: Callable[[], Moment | None] = lambda: None,
        lost_lines: Callable[[], int] = lambda: 0,
        slots: Callable[[], list[SlotRecord]] | None = None,
    ) -> None:
        """keyed: whether callers show a key. max_rows: of one request.

        pending: what is not in the log yet, as last counted; it must not read the spool. slots: every worker's record,
        this one's among them; None: there is no other. lost_lines: of the access log. ledger: how it answers.
        """
        self._live = live
        self._max_rows = max_rows
        self._pending = pending
        self._requests = requests
        self._moment = moment
        self._ledger = ledger
        self._lost_lines = lost_lines
        self._slots = slots
        self._described: tuple[object, dict[str, Any]] | None = None
        self._counters = counters
        self._slot = slot
        self._clock = clock
        self._keyed = keyed

    def record(self) -> SlotRecord:
        """This worker's counts and routings, as its slot's file holds them."""
        return self._counters.record(
            slot=self._slot,
            at=self._clock.now(),
            routing=slot_routing(self._live()),
            requests=self._requests,
            lost_lines=self._lost_lines(),
            moment=self._moment(),
        )

    def healthz(self) -> Reply:
        """200 while the process answers at all."""
        return _json(200, {"status": "ok"})

    def readyz(self) -> Reply:
        """200 when every model that has a champion in the ledger is served, 503 else.

        `current` says whether it is served at the ledger's newest revision; an older one goes on answering while a
        newer one cannot be loaded, and `problem` says why. `ledger` is null, or why it cannot be read;
        `ledger_look_age_s` is how long ago it last told what holds. `degraded`: either of these is so, and what was
        known last goes on.
        """
        live, ledger = self._live(), self._ledger()
        routing = slot_routing(live)
        served = _is_ready(live, routing)
        models = {
            name: msgspec.to_builtins(one) | {"current": one.revision == one.wanted} for name, one in routing.items()
        }
        degraded = ledger.trouble is not None or any(one.problem is not None for one in routing.values())
        body = {
            "ready": served,
            "degraded": degraded,
            "slot": self._slot,
            "ledger": ledger.trouble,
            "ledger_look_age_s": None if ledger.look_age_s is None else round(ledger.look_age_s, 3),
            "models": models,
        }
        return _json(200 if served else 503, body)

    def bare_readyz(self) -> Reply:
        """The same status, and no more than that."""
        live = self._live()
        ready = _is_ready(live, slot_routing(live))
        return _json(200 if ready else 503, {"ready": ready})

    def metrics(self) -> Reply:
        """Prometheus's text format: of all workers together, and the spool of all as last counted."""
        records = [self.record()] if self._slots is None else self._slots()
        living = [record for record in records if record.slot == self._slot or is_living(record)]
        text, content_type = metrics_text(records, living, pending=self._pending(), now_us=to_us(self._clock.now()))
        return Reply(status=200, body=text, content_type=content_type)

    def openapi(self) -> Reply:
        """OpenAPI 3.1, with each served model's contract."""
        return _json(200, self._description())

    def docs(self) -> Reply:
        """The same as a page, with a form to try it; it fetches nothing from elsewhere."""
        page = docs_page(self._description())
        return Reply(status=200, body=page.html.encode(), content_type="text/html; charset=utf-8", headers=page.headers)

    def _description(self) -> dict[str, Any]:
        """Made anew only where a model changed."""
        live = self._live()
        models = {name: OpenModel.of(one) for name, one in live.models.items()}
        models |= {name: one for name, one in live.unserved.items() if isinstance(one, OpenModel)}
        key = tuple((name, models[name].routing.revision, models[name].contract) for name in sorted(models))
        if self._described is None or self._described[0] != key:
            told = (Described.of(models[name]) for name in sorted(models))
            self._described = (key, openapi(told, max_rows=self._max_rows, keyed=self._keyed))
        return self._described[1]

    def models(self) -> Reply:
        """The project's models, and what is served of each."""
        live = self._live()
        routing = slot_routing(live)
        listed = [{"name": name} | msgspec.to_builtins(routing[name]) for name in sorted(routing)]
        return _json(200, {"models": listed})

    def inference(self, target: Target) -> Reply:
        """What the Open Inference Protocol tells of the server or a model. Raises Problem."""
        if target.what == "server":
            return described()
        if target.what == "live":
            return _json(200, {"live": True})
        if target.what == "metadata":
            return metadata_of(served_model(self._live(), target.model), target.version)
        if not target.model:
            status = self.readyz().status
            return _json(status, {"ready": status == 200})
        return ready_of(served_model(self._live(), target.model), target.version)


def _is_ready(live: Live, routing: Mapping[str, SlotRouting]) -> bool:
    return all(name in live.models for name, one in routing.items() if one.problem is not None)


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
