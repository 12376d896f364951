"""Outcomes told by entity and event time say what the same ones say by id, whatever comes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.traffic import OutcomeRecord, OutcomesWanted, Tail, TrafficLog, export, known_rows
from everloop.traffic.delta import DeltaLog
from everloop.traffic.tables import OUTCOMES, open_table

from .world import MODEL, START, World, batch, hours, row, said, said_of

DELAY = timedelta(days=2)
LATE = START + hours(200)
US = timedelta(microseconds=1)


def record(world: World, *told: dict[str, Any] | OutcomeRecord) -> None:
    """Predictions and outcomes, a second after another, in the log."""
    with world.spool() as spool:
        for one in told:
            world.clock.advance(timedelta(seconds=1))
            if isinstance(one, OutcomeRecord):
                spool.append_outcomes(MODEL, [one])
            else:
                spool.append_predictions(batch([one]))
    world.move()


def known(log: TrafficLog, as_of: datetime = LATE, *, name: str = "fraud") -> dict[str, float | None]:
    frame = log.known(as_of, name=name).collect()
    return dict(zip(frame["prediction_id"], frame["outcome"], strict=True))


def test_it_is_of_every_prediction_of_the_entity_at_exactly_that_time(world: World) -> None:
    record(
        world,
        row("a", at=START + US),
        row("twin", at=START + US, amount=2.0),
        row("before", at=START),
        row("after", at=START + 2 * US),
        row("other", at=START + US, card="c2"),
        row("nobody", at=START + US, card=None),
        said_of("c1", START + US, True, START + hours(5)),
    )
    assert known(world.log) == {"a": 1.0, "twin": 1.0}
    assert world.log.outcomes().collect().height == 2
    assert world.log.count() == (6, 1), "it is kept once"
    assert known(world.log, START + hours(5) - US) == {}


def test_it_counts_once_its_prediction_is_there(world: World) -> None:
    record(world, said_of("c1", START, True, START + hours(1)))
    log = world.log
    assert (known(log), log.outcomes().collect().height) == ({}, 0)
    record(world, row("b", at=START + hours(3)), said("b", False, START + hours(4)))
    assert known(log) == {"b": 0.0}
    record(world, row("a"))
    assert known(log) == {"a": 1.0, "b": 0.0}


def test_told_both_ways_is_one_stream_of_which_the_newest_counts(world: World) -> None:
    record(
        world,
        row("a"),
        said_of("c1", START, True, START + hours(60)),
        said("a", False, START + hours(70)),
        said_of("c1", START, True, START + hours(80)),
        said("a", True, START + hours(85)),
        said_of("c1", START, None, START + hours(90)),
        said_of("c1", START, "declined", START + hours(50), name="action"),
    )
    log = world.log
    at = {n: known(log, START + hours(n)) for n in (59, 60, 70, 80, 90)}
    assert at == {59: {}, 60: {"a": 1.0}, 70: {"a": 0.0}, 80: {"a": 1.0}, 90: {}}
    assert log.outcomes(name="fraud").collect()["value"].to_list() == ["true", "false", "true", None], "no repeat"
    action = log.known(LATE, name="action").collect()
    assert action.select("prediction_id", "outcome_text").rows() == [("a", "declined")]


def test_it_is_joined_wherever_outcomes_are(world: World, tmp_path: Path) -> None:
    record(
        world, row("a"), row("b", at=START + hours(30)), said_of("c1", START, True, START + hours(5)),
        said_of("c1", START + hours(30), True, START + hours(50)),
    )  # fmt: skip
    log = world.log
    rows = known_rows(log, as_of=LATE, delay=DELAY, absent="unknown", target="fraud").collect()
    assert rows.select("prediction_id", "fraud").rows() == [("a", 1.0), ("b", 1.0)]
    assert log.outcomes(ids=pl.Series(["b"])).collect()["prediction_id"].to_list() == ["b"]
    labelled = log.labelled(START + hours(1), None, as_of=LATE, delay=DELAY, absent="negative", target="fraud")
    assert labelled.collect().select("prediction_id", "outcome").rows() == [("b", 1.0)]
    written = export(log, tmp_path / "all.csv", outcomes=OutcomesWanted(target="fraud", as_of=LATE, delay=DELAY))
    assert (written.rows, written.known) == (2, 2)


def test_a_log_without_such_outcomes_is_not_searched_for_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record(world, row("a"), said("a", True, START + hours(5)))
    log, scanned = world.log, list[str]()
    scan = DeltaLog.scan

    def counted(self: DeltaLog, files: Sequence[Any]) -> pl.LazyFrame:
        scanned.append(self.time)
        return scan(self, files)

    monkeypatch.setattr(DeltaLog, "scan", counted)
    assert known(log) == {"a": 1.0}
    assert known(log) == {"a": 1.0}
    assert scanned == ["observed_at"] * 3, "the file is asked once whether it has some, and then only read"


def test_a_table_of_before_is_read_and_takes_such_outcomes(world: World) -> None:
    """Its columns come with the first outcome that is moved."""
    old = DeltaLog(
        open_table(world.traffic, MODEL, OUTCOMES)._place,
        schema=pl.Schema({k: v for k, v in OUTCOMES.schema.items() if k not in ("entity", "event_time")}),
        partition=OUTCOMES.partition,
        time=OUTCOMES.time,
    )
    old.create()
    frame = pl.DataFrame({"prediction_id": ["a"], "name": ["fraud"], "value": ["true"], "number": [1.0],
                          "observed_at": [START], "recorded_at": [START], "source": [""]})  # fmt: skip
    old.commit(add=old.write(frame.with_columns(pl.col("observed_at", "recorded_at").dt.cast_time_unit("us"))))
    log = world.log
    assert known(log) == {"a": 1.0}
    tail = Tail(world.traffic, world.spools, MODEL, clock=world.clock, kinds=("outcomes",))
    assert [one.row["prediction_id"] for one in tail.newest(5)] == ["a"]
    assert world.forgetting("c1").found().outcomes == 0
    record(world, row("b"), said_of("c1", START, False, START + hours(1)))
    assert known(log) == {"a": 1.0, "b": 0.0}
    assert [(one.row["entity"], one.row["event_time"]) for one in tail.more()] == [("c1", START)]


def test_each_is_told_once_by_a_tail(world: World) -> None:
    with world.spool() as spool:
        spool.append_outcomes(MODEL, [said_of(card, START, True, START) for card in ("c1", "c2")])
    tail = Tail(world.traffic, world.spools, MODEL, clock=world.clock, kinds=("outcomes",))
    assert [one.row["entity"] for one in tail.newest(5)] == ["c1", "c2"]
    world.move()
    assert list(tail.more()) == []


def test_whose_they_are_is_forgotten_also_where_no_prediction_is(world: World) -> None:
    record(world, row("kept", card="else"), said_of("else", START, True, START), said_of("gone", START, True, START))
    with world.spool() as spool:
        spool.append_outcomes(MODEL, [said_of(card, START + hours(1), False, START) for card in ("gone", "else")])
    work = world.forgetting("gone")
    found = work.found()
    assert (found.predictions, found.outcomes, found.waiting) == (0, 1, 1)
    assert work.erase() == []
    found = work.found()
    assert (found.predictions, found.outcomes, found.waiting) == (0, 0, 0)
    world.move()
    for path in world.root.rglob("*"):
        if path.suffix == ".parquet" and "_delta_log" not in path.parts:
            assert "gone" not in pl.read_parquet(path)["entity"].to_list(), path
        elif path.is_file():
            assert b"gone" not in path.read_bytes(), path
    assert (known(world.log), world.log.count()) == ({"kept": 1.0}, (1, 2))


IDS = [f"p{n}" for n in range(6)]
OF = {name: (f"c{n % 3}", START + (n % 2) * hours(1)) for n, name in enumerate(IDS)}
"""Each of the six has an entity and a time of its own."""
QUARTERS = st.integers(0, 300).map(lambda n: START + n * timedelta(minutes=15))
EVENT = st.one_of(
    st.tuples(st.just("prediction"), st.sampled_from(IDS)),
    st.tuples(st.just("outcome"), st.sampled_from(IDS), st.sampled_from([True, False, None]), QUARTERS, st.booleans()),
    st.tuples(st.sampled_from(["move", "compact"])),
)


def lived(world: World, events: Sequence[Any], *, by_entity: bool) -> pl.DataFrame:
    """What is joined at the end, where some of the outcomes are told by entity and time, or all by id."""
    with world.spool() as spool, world.mover() as mover:
        for kind, *event in [*events, *(("prediction", name) for name in IDS), ("move",)]:
            world.clock.advance(timedelta(seconds=1))
            if kind == "prediction":
                card, at = OF[event[0]]
                spool.append_predictions(batch([row(event[0], at=at, card=card)]))
            elif kind == "outcome":
                name, value, at, so = event
                told = said_of(*OF[name], value, at) if so and by_entity else said(name, value, at)
                spool.append_outcomes(MODEL, [told])
            elif kind == "move":
                mover.move_once()
            else:
                mover.compact()
    log = world.log
    told = [log.outcomes().collect()]
    for as_of in (START + hours(49), LATE):
        for window in ((None, None), (START + hours(1), None), (None, START + hours(1))):
            rows = log.labelled(*window, as_of=as_of, delay=DELAY, absent="negative", target="fraud")
            told.append(rows.select("prediction_id", "event_time", "outcome", "outcome_text", "outcome_at").collect())
    return pl.concat(told, how="diagonal")


@settings(max_examples=12, deadline=None)
@given(events=st.lists(EVENT, min_size=3, max_size=16))
def test_told_by_entity_and_time_is_told_by_id(events: list[Any]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        by_entity = lived(World(Path(one)), events, by_entity=True)
        by_id = lived(World(Path(other)), events, by_entity=False)
    assert by_entity.equals(by_id)
