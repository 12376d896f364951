"""Who was to answer when: for any instant, from the facts alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everloop.clock import SimulatedClock
from everloop.ledger import Exposure, Ledger, VersionRegistered
from everloop.rollout import ServedPeriod, served_periods

BEGIN = datetime(2026, 5, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(BEGIN)


@pytest.fixture
def ledger(tmp_path: Path, clock: SimulatedClock) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db", clock=clock) as opened:
        for number in (1, 2, 3):
            payload = VersionRegistered(model="fraud", bundle=f"b{number}", run="r", spec="fraud-s1", spec_hash="h")
            opened.register_version("fraud", payload, actor="worker")
        yield opened


def route(ledger: Ledger, champion: int | None, *tried: Exposure, previous: int | None = None) -> None:
    now = ledger.routing("fraud")
    ledger.change_routing(
        "fraud",
        expected_revision=0 if now is None else now.revision,
        champion=champion,
        previous=previous,
        challengers=tried,
        reason="because",
        actor="control",
    )


def at(ledger: Ledger, moment: datetime) -> dict[int, tuple[str, str, float]]:
    (period, *_) = reversed(served_periods(ledger, "fraud", start=moment, end=moment))
    return {one.version: (one.role, one.mode, round(one.keys, 6)) for one in period.shares}


def life(ledger: Ledger, clock: SimulatedClock) -> None:
    """v1 from 01:00; v2 in shadow from 02:00, at 10 % from 03:00, champion from 04:00; back to v1 at 05:00."""
    steps: tuple[tuple[int, tuple[Exposure, ...]], ...] = (
        (1, ()),
        (1, (Exposure(version=2, share=0.0, mode="shadow"),)),
        (1, (Exposure(version=2, share=0.1),)),
        (2, ()),
        (1, ()),
    )
    for champion, tried in steps:
        clock.advance(HOUR)
        route(ledger, champion, *tried)


def test_any_instant_has_its_answer(ledger: Ledger, clock: SimulatedClock) -> None:
    life(ledger, clock)
    assert at(ledger, BEGIN) == {}
    assert at(ledger, BEGIN + HOUR - timedelta(microseconds=1)) == {}
    assert at(ledger, BEGIN + HOUR) == {1: ("champion", "", 1.0)}
    assert at(ledger, BEGIN + 2.5 * HOUR) == {1: ("champion", "", 1.0), 2: ("challenger", "shadow", 0.0)}
    assert at(ledger, BEGIN + 3.5 * HOUR) == {1: ("champion", "", 0.9), 2: ("challenger", "canary", 0.1)}
    assert at(ledger, BEGIN + 4 * HOUR) == {2: ("champion", "", 1.0)}
    assert at(ledger, BEGIN + 500 * HOUR) == {1: ("champion", "", 1.0)}
    assert at(ledger, BEGIN - timedelta(days=9)) == {}


def test_a_model_that_nobody_ever_answered_for(ledger: Ledger) -> None:
    (period,) = served_periods(ledger, "fraud", start=BEGIN, end=BEGIN + HOUR)
    assert (period.shares, period.start, period.end, period.revision) == ((), BEGIN, None, 0)


def cut(ledger: Ledger, start: datetime, end: datetime) -> list[ServedPeriod]:
    found = served_periods(ledger, "fraud", start=start, end=end)
    return [part for one in found if (part := one.cut(start, end)) is not None and part.start < end]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(-30, 400), length=st.integers(1, 400))
def test_the_periods_of_a_span_cover_it_without_gap_or_overlap(
    ledger: Ledger, clock: SimulatedClock, first: int, length: int
) -> None:
    if ledger.routing("fraud") is None:
        life(ledger, clock)
    start = BEGIN + timedelta(minutes=first)
    end = start + timedelta(minutes=length)
    parts = cut(ledger, start, end)
    assert parts[0].start == start
    assert parts[-1].end == end
    assert all(one.end == two.start for one, two in pairwise(parts))
    for part in parts:
        assert {one.version: one.keys for one in part.shares} == {
            version: keys for version, (_, _, keys) in at(ledger, part.start).items()
        }
        assert not part.shares or sum(one.keys for one in part.shares) == pytest.approx(1.0)


def test_a_clock_that_was_put_back_leaves_no_instant_with_two_answers(
    ledger: Ledger, clock: SimulatedClock, tmp_path: Path
) -> None:
    clock.advance(2 * HOUR)
    route(ledger, 1)
    with Ledger.open(tmp_path / "ledger.db", clock=SimulatedClock(BEGIN + HOUR)) as behind:
        route(behind, 2, previous=1)
    clock.advance(HOUR)
    route(ledger, 3, previous=2)
    assert at(ledger, BEGIN + 1.5 * HOUR) == {}
    assert at(ledger, BEGIN + 2 * HOUR) == {2: ("champion", "", 1.0)}
    assert at(ledger, BEGIN + 3 * HOUR) == {3: ("champion", "", 1.0)}
    parts = cut(ledger, BEGIN, BEGIN + 4 * HOUR)
    assert [part.revision for part in parts] == [0, 2, 3]
