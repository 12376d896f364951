"""The arithmetic of what is shown."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from everloop.replay.spans import AFTER, Span, measured, spans_of
from everloop.replay.world import WorldPlan

OPENS = datetime(2025, 3, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def plan(change_day: float | None, days: int = 93) -> WorldPlan:
    return WorldPlan(
        seed=0,
        history_days=56,
        days=days,
        rows_per_day=100,
        delay=timedelta(days=7),
        change_at=None if change_day is None else OPENS + change_day * DAY,
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_recall_and_precision_are_the_shares_they_are_called(rows: list[tuple[bool, bool]]) -> None:
    truth = np.array([row[0] for row in rows], dtype=bool)
    decision = np.array([row[1] for row in rows], dtype=bool)
    found = measured(truth, decision)
    hits = sum(t and d for t, d in rows)
    assert (found.rows, found.positives, found.flagged) == (len(rows), truth.sum(), decision.sum())
    assert (found.recall is None) == (found.positives == 0)
    assert (found.precision is None) == (found.flagged == 0)
    if found.recall is not None:
        assert found.recall.point == hits / found.positives
        assert 0 <= found.recall.low <= found.recall.point <= found.recall.high <= 1
    if found.precision is not None:
        assert found.precision.point == hits / found.flagged


def test_spans_with_a_change() -> None:
    world = plan(26.5)
    before, drifted, after = spans_of(world, first_exposure_at=OPENS + 45 * DAY)
    assert world.change_at is not None
    assert (before.start, before.end) == (OPENS, world.change_at)
    assert (drifted.start, drifted.end) == (world.change_at, OPENS + 45 * DAY)
    assert (after.start, after.end) == (world.closes_at - AFTER, world.closes_at)
    assert after.end + world.delay == world.ends_at


def test_a_change_that_nothing_answered_goes_on_until_after() -> None:
    _, drifted, after = spans_of(plan(26.5), first_exposure_at=None)
    assert drifted.end == after.start


def test_without_a_change_there_is_nothing_between() -> None:
    before, after = spans_of(plan(None), first_exposure_at=None)
    assert before.end == after.start


def test_spans_never_overlap_however_short_the_world() -> None:
    for days in (3, 20, 30, 93):
        spans = spans_of(plan(26.5, days=days), first_exposure_at=OPENS + 60 * DAY)
        for earlier, later in pairwise(spans):
            assert earlier.start <= earlier.end <= later.start <= later.end


def test_a_span_is_half_open() -> None:
    span = Span(name="x", start=OPENS, end=OPENS + DAY)
    naive = [at.replace(tzinfo=None) for at in (OPENS - DAY, OPENS, OPENS + DAY / 2, OPENS + DAY)]
    assert span.among(np.array(naive, dtype="datetime64[us]")).tolist() == [False, True, True, False]
