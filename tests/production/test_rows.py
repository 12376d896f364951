"""What is known at a time: the source's rows and those of live traffic."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from everloop.clock import SimulatedClock
from everloop.data import EVENT_TIME, decode_rows, read_contract
from everloop.ids import uuid7
from everloop.production import everything_known
from everloop.project import Model, Project
from everloop.traffic import Mover, PredictionBatch, Spool, TrafficLog, row_digest

from ..experiment.made import payments, project
from .shop import NOW


def answered(found: Project, model: Model, rows: list[dict[str, Any]], clock: SimulatedClock) -> list[str]:
    """Rows as the endpoint decodes and records them; the ids they got."""
    frame, problems = decode_rows(read_contract(model), rows, now=clock.now())
    assert problems == []
    n = len(rows)
    ids = [uuid7(clock) if given is None else given for given in frame["payment"]]
    batch = PredictionBatch(
        model="fraud",
        routing_revision=1,
        ids=ids,
        digests=[row_digest(row) for row in rows],
        answers=[b"{}"] * n,
        event_time_us=frame[EVENT_TIME].to_physical().to_numpy(),
        entities=[None] * n,
        versions=(1,),
        thresholds=(0.5,),
        scores=np.full((n, 1), 0.1, dtype=np.float32),
        decisions=np.zeros((n, 1), dtype=bool),
        answered=np.zeros(n, dtype=np.int64),
        sides=["champion"] * n,
        propensities=np.ones(n),
        inputs=frame.drop(EVENT_TIME),
    )
    assert found.state.is_dir()
    with Spool.open(found.paths.spool, clock=clock) as spool:
        spool.append_predictions(batch)
    with Mover.open(spool=found.paths.spool, traffic=found.paths.traffic, clock=clock) as mover:
        mover.move_once()
    return ids


def test_whatever_the_endpoint_answers_can_be_learnt_from(tmp_path: Path) -> None:
    found, model = project(tmp_path / "shop", payments(300), more="outcome: {delay: 1d, absent: negative}\n")
    clock = SimulatedClock(NOW)
    plain: dict[str, Any] = {f"v{at}": 0.5 for at in range(4)} | {"amount": 3, "paid_at": "2024-03-31T10:00:00Z"}
    rows = [plain, plain | {"payment": None}, plain | {"payment": 77}, plain | {"id": "x"}, plain | {"more": [1]}]
    rows.append({name: value for name, value in plain.items() if name != "paid_at"})
    ids = answered(found, model, rows, clock)
    clock.advance(timedelta(days=2))
    known = everything_known(
        model, read_contract(model), TrafficLog(found.paths.traffic, "fraud"), as_of=clock.now()
    ).frame
    assert known.height == 300 + len(rows)
    assert set(ids) < set(known["payment"])
    assert known["payment"].null_count() == 0
