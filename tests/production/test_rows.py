"""What is known at a time: the source's rows and those of live traffic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everloop.clock import SimulatedClock, to_us
from everloop.data import EVENT_TIME, Contract, decode_rows, load_rows, read_contract
from everloop.errors import NotEnoughData
from everloop.ids import uuid7
from everloop.production import everything_known
from everloop.project import Model, Project
from everloop.traffic import Mover, OutcomeRecord, PredictionBatch, Spool, TrafficLog, row_digest

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


# Which rows a training may use: of source and log alike those whose outcome is due, and of them the newest window.

BEGUN = datetime(2024, 1, 1, tzinfo=UTC)  # of the source; ten minutes a row
SOURCE_DAYS, LOG_FROM, LOG_DAYS = 20, 15, 20
"""The log begins before the source ends, as where an export of it became the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A source and a log of one row an hour, whose outcomes were said when they were known."""

    project: Project
    model: Model
    contract: Contract
    log: TrafficLog


@pytest.fixture(scope="module")
def known_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    found, model = project(tmp_path_factory.mktemp("rows") / "shop", payments(SOURCE_DAYS * 144, positives=0.3))
    clock = SimulatedClock(BEGUN + timedelta(days=LOG_FROM))
    rows = [
        {f"v{at}": 0.5 for at in range(4)}
        | {"amount": 3, "payment": f"live{hour}", "paid_at": (clock.now() + timedelta(hours=hour)).isoformat()}
        for hour in range(LOG_DAYS * 24)
    ]
    clock.set(clock.now() + timedelta(days=LOG_DAYS))
    ids = answered(found, model, rows, clock)
    said = [
        OutcomeRecord(
            prediction_id=one,
            name="fraud",
            value=hour % 3 == 0,
            observed_at_us=to_us(BEGUN + timedelta(days=LOG_FROM, hours=hour + hour % 50)),  # up to two days later
            source="test",
        )
        for hour, one in enumerate(ids)
        if hour % 5
    ]
    with Spool.open(found.paths.spool, clock=clock) as spool:
        spool.append_outcomes("fraud", said)
    with Mover.open(spool=found.paths.spool, traffic=found.paths.traffic, clock=clock) as mover:
        mover.move_once()
    return Shop(project=found, model=model, contract=read_contract(model), log=TrafficLog(found.paths.traffic, "fraud"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    delay=st.integers(0, 10 * 24).map(lambda hours: timedelta(hours=hours)),
    window=st.none() | st.integers(6, 30 * 24).map(lambda hours: timedelta(hours=hours)),
    as_of=st.integers(11 * 24, 90 * 24).map(lambda hours: BEGUN + timedelta(hours=hours)),
    absent=st.sampled_from(["negative", "unknown"]),
)
def test_a_training_uses_matured_rows_alone_and_all_of_its_window(
    known_shop: Shop, delay: timedelta, window: timedelta | None, as_of: datetime, absent: Any
) -> None:
    shop = known_shop
    model = shop.model.model_copy(
        update={
            "outcome": shop.model.outcome.model_copy(update={"delay": delay, "absent": absent}),
            "train": shop.model.train.model_copy(update={"window": window}),
        }
    )
    try:
        rows = everything_known(model, shop.contract, shop.log, as_of=as_of).frame
    except NotEnoughData:
        assert window is not None  # of one class alone
        assert window < timedelta(days=1)
        return
    times = rows[EVENT_TIME]
    # the law: no outcome is used before it is due
    assert times.max() <= as_of - delay  # type: ignore[operator]
    assert times.is_sorted()
    assert rows["payment"].n_unique() == rows.height
    # and every row that may be used is: by hand, from both whole
    source = load_rows(model, shop.contract, as_of=as_of, both_classes=False).frame
    live = shop.log.labelled(as_of=as_of, delay=delay, absent=absent, target="fraud").collect()
    expected = dict(zip(source["payment"], source[EVENT_TIME], strict=True))
    expected |= dict(zip(live["prediction_id"], live["event_time"], strict=True))
    if window is not None:
        expected = {one: at for one, at in expected.items() if at >= max(expected.values()) - window}
    assert dict(zip(rows["payment"], times, strict=True)) == expected
    # what is said of them was known by then
    late = live.filter(pl.col("outcome_at") > as_of)
    assert late.is_empty()
