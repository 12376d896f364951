"""Outcomes late, repeated, corrected, withdrawn, out of order; and the future never leaks (law 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.traffic import TrafficLog, known_rows

from .world import MODEL, START, World, batch, hours, row, said

DELAY = timedelta(days=2)


def labels(log: TrafficLog, as_of: datetime, absent: str = "negative", **window: Any) -> dict[str, float | None]:
    frame = log.labelled(**window, as_of=as_of, delay=DELAY, absent=absent, target="fraud").collect()  # type: ignore[arg-type]
    return dict(zip(frame["prediction_id"], frame["outcome"], strict=True))


def recorded(world: World, rows: Sequence[dict[str, Any]], *outcomes: Any) -> TrafficLog:
    with world.spool() as spool:
        spool.append_predictions(batch(rows))
        for outcome in outcomes:
            world.clock.advance(timedelta(seconds=1))
            spool.append_outcomes(MODEL, [outcome])
    world.move()
    return world.log


def test_silence_is_negative_or_left_out_and_only_when_due(world: World) -> None:
    log = recorded(world, [row("a"), row("b"), row("young", at=START + hours(1))], said("a", True, START + hours(5)))
    assert labels(log, START + DELAY) == {"a": 1.0, "b": 0.0}
    assert labels(log, START + DELAY, "unknown") == {"a": 1.0}
    assert labels(log, START + DELAY - timedelta(microseconds=1)) == {}
    assert labels(log, START + DELAY + hours(1)) == {"a": 1.0, "b": 0.0, "young": 0.0}


def test_which_of_some_ids_are_recorded_is_asked_of_a_window(world: World) -> None:
    log = recorded(world, [row("a"), row("b", at=START + hours(30)), row("late", at=START + hours(99))])
    asked = pl.Series(["late", "b", "a", "none"])
    found = log.recorded_ids(asked, start=START, end=START + hours(99))
    assert sorted(found) == ["a", "b"]
    assert TrafficLog(world.root / "nowhere", MODEL).recorded_ids(asked, start=START, end=START + hours(1)).is_empty()


def test_the_newest_correction_known_by_then_wins_in_any_order_of_arrival(world: World) -> None:
    log = recorded(
        world,
        [row("a")],
        said("a", False, START + hours(70)),
        said("a", True, START + hours(60)),
        said("a", None, START + hours(80)),
        said("a", 7.5, START + hours(50), name="amount"),
    )
    assert labels(log, START + hours(59)) == {"a": 0.0}
    assert labels(log, START + hours(59), "unknown") == {}
    assert labels(log, START + hours(60)) == {"a": 1.0}
    assert labels(log, START + hours(75), "unknown") == {"a": 0.0}
    assert labels(log, START + hours(80), "unknown") == {}, "withdrawn"
    assert log.outcomes(name="fraud").collect().height == 3, "corrections are all kept"


def test_of_two_values_of_one_moment_the_later_recorded_wins(world: World) -> None:
    at = START + hours(1)
    log = recorded(world, [row("a")], said("a", True, at), said("a", False, at))
    assert labels(log, START + DELAY, "unknown") == {"a": 0.0}


def test_an_identical_repeat_is_dropped(world: World) -> None:
    once = said("a", True, START + hours(1))
    log = recorded(world, [row("a")], once, once, said("a", True, START + hours(9)))
    assert log.outcomes().select("observed_at").collect().to_series().to_list() == [START + hours(1)]
    assert log.count() == (1, 3)


def test_values_keep_their_kind(world: World) -> None:
    log = recorded(
        world,
        [row("a")],
        *(said("a", v, START, name=n) for n, v in {"b": True, "f": 2.5, "i": 3, "s": "3", "n": float("nan")}.items()),
    )
    known = {r["name"]: (r["value"], r["number"]) for r in log.outcomes().collect().iter_rows(named=True)}
    assert known == {"b": ("true", 1.0), "f": ("2.5", 2.5), "i": ("3", 3.0), "s": ("3", None), "n": (None, None)}


def test_rows_to_train_on_are_inputs_under_their_own_names(world: World) -> None:
    log = recorded(world, [row("a", amount=9.0), row("b")], said("b", True, START + hours(90)))
    rows = known_rows(log, as_of=START + DELAY, delay=DELAY, absent="negative", target="fraud").collect()
    assert rows.select("prediction_id", "amount", "country", "fraud").rows() == [
        ("a", 9.0, "AT", 0.0),
        ("b", 1.0, "AT", 0.0),
    ]
    later = known_rows(log, as_of=START + hours(90), delay=DELAY, absent="negative", target="fraud").collect()
    assert later["fraud"].to_list() == [0.0, 1.0]
    assert rows.schema["event_time"] == pl.Datetime("us", "UTC")


def test_what_was_answered_is_what_is_read(world: World) -> None:
    log = recorded(world, [row("a", amount=40.0), row("b", amount=60.0, card=None)])
    a, b = log.predictions().collect().iter_rows(named=True)
    assert (a["answered_version"], b["answered_version"]) == (1, 2)
    assert (a["score"], a["decision"], a["threshold"]) == (pytest.approx(0.4), False, 0.5)
    assert (b["score"], b["decision"], b["threshold"], b["entity"]) == (pytest.approx(1.6), None, None, None)
    assert [s["version"] for s in b["scores"]] == [1, 2]
    assert b["scores"][0] == {"version": 1, "score": pytest.approx(0.6), "decision": True}
    assert (a["side"], a["propensity"], a["routing_revision"], a["recorded_at"]) == ("champion", 0.9, 3, START)
    assert a["f_amount_log"] == pytest.approx(3.7136, abs=1e-4)


def test_an_empty_log_answers_in_its_columns(world: World) -> None:
    log = world.log
    assert log.predictions().collect().is_empty()
    assert labels(log, START) == {}
    assert (log.count(), log.span(START), log.last_recorded(), log.version) == ((0, 0), None, None, (-1, -1))
    recorded(world, [row("a")], said("a", True, START + hours(3)))
    assert (log.count(), log.span(START), log.version) == ((1, 1), (START, START), (2, 1))
    assert log.last_recorded() == START + timedelta(seconds=1)


def test_a_row_dated_ahead_of_the_clock_does_not_move_the_end_of_traffic(world: World) -> None:
    log = recorded(world, [row("a"), row("b", at=START + hours(1)), row("ahead", at=START + hours(5))])
    assert log.span(START - hours(1)) is None
    assert log.span(START + hours(4)) == (START, START + hours(1)), "the three lie in one file"
    assert log.span(START + hours(5)) == (START, START + hours(5))
    recorded(world, [row("tomorrow", at=START + hours(30))])
    assert log.span(START + hours(29)) == (START, START + hours(5)), "its file begins ahead"
    assert log.count()[0] == 4, "all are kept"


def test_when_the_first_row_of_a_span_came(world: World) -> None:
    log = recorded(world, [row("a", at=START + hours(1))])
    world.clock.advance(hours(3))
    recorded(world, [row("b"), row("c", at=START + hours(1))])
    assert log.first_recorded(START, START + hours(1)) == START + hours(3)
    assert log.first_recorded(START, START + hours(2)) == START
    assert log.first_recorded(START + hours(2), START + hours(3)) is None


def test_the_future_never_leaks(world: World) -> None:
    """Whatever is recorded with a later time, what was known before stays as it was, to the byte."""
    as_of = START + hours(72)
    log = recorded(world, [row(f"p{i}", at=START + hours(i)) for i in range(30)], said("p1", True, START + hours(71)))
    before = log.labelled(as_of=as_of, delay=DELAY, absent="negative", target="fraud").collect()
    recorded(
        world,
        [row("new", at=as_of - DELAY + timedelta(microseconds=1)), row("newer", at=as_of + hours(1))],
        *(said(f"p{i}", True, as_of + timedelta(microseconds=1 + i)) for i in range(30)),
        said("p1", False, as_of + hours(2)),
    )
    after = log.labelled(as_of=as_of, delay=DELAY, absent="negative", target="fraud").collect()
    assert after.equals(before)
    assert before["outcome_at"].drop_nulls().max() <= as_of  # type: ignore[operator]


@dataclass(frozen=True)
class Said:
    """An outcome of the plain twin."""

    prediction_id: str
    value: Any
    observed: datetime
    recorded: datetime


def plain_labels(
    rows: dict[str, datetime], outcomes: list[Said], *, as_of: datetime, start: datetime, end: datetime, absent: str
) -> dict[str, float]:
    """What `labelled` is meant to say, row by row."""
    found = {}
    for prediction_id, at in rows.items():
        if not (start <= at < end and at + DELAY <= as_of):
            continue
        known = [o for o in outcomes if o.prediction_id == prediction_id and o.observed <= as_of]
        newest = max(known, key=lambda o: (o.observed, o.recorded, o.value is not None, str(o.value)), default=None)
        if newest is not None and newest.value is not None:
            found[prediction_id] = float(newest.value)
        elif absent == "negative":
            found[prediction_id] = 0.0
    return found


IDS = [f"p{i}" for i in range(8)]
QUARTERS = st.integers(0, 4 * 96).map(lambda n: START + n * timedelta(minutes=15))
PREDICTION = st.tuples(st.just("prediction"), st.sampled_from(IDS), QUARTERS)
OUTCOME = st.tuples(st.just("outcome"), st.sampled_from(IDS), st.sampled_from([True, False, None]), QUARTERS)
ABSENT = st.sampled_from(["negative", "unknown"])
MOVE = st.tuples(st.sampled_from(["move", "compact"]))


@settings(max_examples=20, deadline=None)
@given(
    events=st.lists(st.one_of(PREDICTION, OUTCOME, OUTCOME, MOVE), min_size=3, max_size=30),
    queries=st.lists(
        st.tuples(QUARTERS, QUARTERS, QUARTERS, st.sampled_from(["negative", "unknown"])), min_size=4, max_size=4
    ),
)
def test_the_log_says_what_its_plain_twin_says(events: list[Any], queries: list[Any]) -> None:
    rows: dict[str, datetime] = {}
    outcomes: list[Said] = []
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        with world.spool() as spool, world.mover() as mover:
            for kind, *event in events:
                world.clock.advance(timedelta(seconds=1))
                if kind == "prediction":
                    spool.append_predictions(batch([row(event[0], at=event[1])]))
                    rows.setdefault(event[0], event[1])
                elif kind == "outcome":
                    spool.append_outcomes(MODEL, [said(*event)])
                    outcomes.append(Said(*event, world.clock.now()))
                elif kind == "move":
                    mover.move_once()
                else:
                    mover.compact()
            mover.move_once()
        for as_of, one, other, absent in queries:
            start, end = min(one, other), max(one, other)
            expected = plain_labels(rows, outcomes, as_of=as_of, start=start, end=end, absent=absent)
            assert labels(world.log, as_of, absent, start=start, end=end) == expected


def test_a_decision_is_kept_that_is_known_without_a_threshold(world: World) -> None:
    """Other servers tell what they decided, and not by what; a number decides nothing."""
    with world.spool() as spool:
        spool.append_predictions(batch([row("a"), row("b", amount=50.0)], decided=frozenset({2})))
        spool.append_predictions(batch([row("c"), row("d", amount=50.0)]))
    world.move()
    frame = world.log.predictions().collect().sort("prediction_id")
    assert frame["threshold"].to_list() == [0.5, None, 0.5, None]
    assert frame["decision"].to_list() == [False, True, False, None]
    told = [[one["decision"] for one in scores] for scores in frame["scores"].to_list()]
    assert told == [[False, True], [True, True], [False, None], [True, None]]
