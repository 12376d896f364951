"""The pipeline of an endpoint over a real project, bundles and spool, without a process around it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from everloop.clock import SystemClock
from everloop.rollout import Exposure, Routing
from everloop.serving.batcher import Ask, Reply
from everloop.serving.counters import Counters
from everloop.serving.live import Live, live_model
from everloop.serving.pipeline import Pipeline
from everloop.serving.rows import Form
from everloop.traffic import Moved, Mover, Spool, TrafficLog
from tests.serving.place import Place


class Rig:
    """Asks are answered one batch after another; `route` says by whom."""

    def __init__(self, place: Place, *, max_rows: int = 100) -> None:
        self.place = place
        self.live = Live(names=frozenset(["fraud"]))
        spool = Spool.open(place.project.paths.spool, clock=SystemClock())
        self.spool = spool
        self.counters = Counters()
        self.pipeline = Pipeline(
            live=lambda: self.live, spool=spool, clock=SystemClock(), counters=self.counters, max_rows=max_rows
        )

    def route(self, champion: int, *challengers: Exposure) -> None:
        routing = Routing(model="fraud", revision=1, champion=champion, challengers=challengers)
        bundles = {v: self.place.ledger.version("fraud", v).bundle for v in routing.live}
        model = live_model(routing, lambda version: self.place.store.load(bundles[version]))
        self.live = Live(names=frozenset(["fraud"]), models={"fraud": model})

    def ask(self, body: Any, form: Form | None = None) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        (reply,) = self.pipeline([Ask(model="fraud", kind="predict", body=content, form=form)])
        return reply

    def batches(self) -> int:
        """How many batches were scored."""
        record = self.counters.record(slot=0, at=SystemClock().now(), routing={})
        return sum(record.batch_rows["fraud"].counts) if "fraud" in record.batch_rows else 0

    def logged(self) -> pl.DataFrame:
        """What was captured, by prediction id; the rig is of no use after it."""
        self.spool.close()
        paths = self.place.project.paths
        with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=SystemClock()) as mover:
            while mover.move_once() != Moved():
                pass
        return TrafficLog(paths.traffic, "fraud").predictions().sort("prediction_id").collect()
