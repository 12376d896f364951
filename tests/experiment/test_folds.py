"""Folds by time never see what was not known; folds at random have their share of positives."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.errors import NotEnoughData
from everloop.experiment.folds import plan_folds
from everloop.project import FoldsPlan

HOUR_US = 3_600_000_000


def rows(n: int = 2_000, *, positives: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One row an hour."""
    return np.arange(n) * HOUR_US, (np.random.default_rng(seed).random(n) < positives).astype(float)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 8),
    delay_hours=st.integers(0, 200),
    ties=st.integers(1, 30),
    seed=st.integers(0, 50),
)
def test_no_row_is_fitted_on_whose_outcome_was_not_known_when_the_judged_rows_began(
    count: int, delay_hours: int, ties: int, seed: int
) -> None:
    times, y = rows(seed=seed)
    times = times // (ties * HOUR_US) * (ties * HOUR_US)
    delay = timedelta(hours=delay_hours)
    found = plan_folds(times, y, FoldsPlan(count=count), delay=delay)
    assert len(found.folds) == count
    assert found.by_time
    assert found.gap in (delay, timedelta(0))
    assert (found.note is not None) == (found.gap != delay)
    gap_us = int(found.gap / timedelta(microseconds=1))
    ends = []
    for fold in found.folds:
        first = times[fold.judged[0]]
        assert times[fold.fitted].max() + gap_us <= first
        if not gap_us:
            assert times[fold.fitted].max() < first
        assert times[fold.judged].max() < times[found.test[0]]
        ends.append(fold.judged[-1])
    assert ends == sorted(ends, reverse=True)
    assert ends[0] == found.newest.judged[-1] == found.test[0] - 1
    sizes = [fold.fitted.size for fold in found.folds]
    assert sizes == sorted(sizes, reverse=True)
    seen = np.concatenate([fold.judged for fold in found.folds])
    assert np.unique(seen).size == seen.size
    assert 0.1 < found.test.size / times.size < 0.2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_folds_at_random_have_their_share_of_positives_and_every_row_is_somewhere_once(count: int) -> None:
    times, y = rows(3_000, positives=0.02)
    found = plan_folds(times, y, FoldsPlan(count=count, by_time=False), delay=timedelta(0))
    assert not found.by_time
    for fold in found.folds:
        assert np.intersect1d(fold.fitted, fold.judged).size == 0
        assert np.intersect1d(fold.fitted, found.test).size == 0
        assert abs(y[fold.judged].mean() - y.mean()) < 0.004
    if count > 1:
        everywhere = np.sort(np.concatenate([*(fold.judged for fold in found.folds), found.test]))
        assert np.array_equal(everywhere, np.arange(3_000))


def test_the_same_seed_deals_the_same_folds() -> None:
    times, y = rows()
    plan = FoldsPlan(count=3, by_time=False)
    once, again = (plan_folds(times, y, plan, delay=timedelta(0), seed=4) for _ in range(2))
    other = plan_folds(times, y, plan, delay=timedelta(0), seed=5)
    assert np.array_equal(once.test, again.test)
    assert not np.array_equal(once.test, other.test)


def test_where_all_rows_stand_at_one_time_they_are_dealt() -> None:
    _, y = rows()
    assert not plan_folds(np.zeros(2_000, dtype=np.int64), y, FoldsPlan(), delay=timedelta(0)).by_time
    with pytest.raises(NotEnoughData, match="1 different times, too few for 3 folds"):
        plan_folds(np.zeros(2_000, dtype=np.int64), y, FoldsPlan(count=3, by_time=True), delay=timedelta(0))


def test_rarer_positives_get_more_folds() -> None:
    counts = [
        len(plan_folds(*rows(40_000, positives=share), FoldsPlan(), delay=timedelta(0)).folds)
        for share in (0.3, 0.02, 0.01)
    ]
    assert counts == [2, 3, 5]
    numbers = np.random.default_rng(0).standard_normal(100_000)
    found = plan_folds(np.arange(100_000) * HOUR_US, numbers, FoldsPlan(), delay=timedelta(0), numeric=True)
    assert len(found.folds) == 2


def test_where_an_older_fold_would_count_next_to_nothing_there_is_one() -> None:
    many = rows(60_000, positives=0.3)
    assert len(plan_folds(*many, FoldsPlan(), delay=timedelta(0)).folds) == 1
    assert len(plan_folds(*many, FoldsPlan(count=2), delay=timedelta(0)).folds) == 2
    assert len(plan_folds(*many, FoldsPlan(by_time=False), delay=timedelta(0)).folds) == 2
    numbers = np.random.default_rng(0).standard_normal(200_000)
    found = plan_folds(np.arange(200_000) * HOUR_US, numbers, FoldsPlan(), delay=timedelta(0), numeric=True)
    assert len(found.folds) == 1


def test_of_many_rows_the_newest_fold_decides_and_of_few_positives_all_count_nearly_alike() -> None:
    def shares(positives: float) -> np.ndarray:
        found = plan_folds(*rows(40_000, positives=positives), FoldsPlan(count=3), delay=timedelta(0))
        worth = np.array([fold.worth for fold in found.folds])
        return np.asarray(worth / worth.sum())

    assert shares(0.3)[0] > 0.8
    assert shares(0.002)[0] < 0.45
    assert shares(0.002).min() > 0.25
    dealt = plan_folds(*rows(9_000), FoldsPlan(count=3, by_time=False), delay=timedelta(0))
    assert max(fold.worth for fold in dealt.folds) < 1.02 * min(fold.worth for fold in dealt.folds)


@pytest.mark.parametrize(
    ("said", "count", "by_time"),
    [("auto", None, None), (5, 5, None), ("3 by time", 3, True), ("4  stratified", 4, False)],
)
def test_folds_are_read_as_people_write_them(said: object, count: int | None, by_time: bool | None) -> None:
    assert FoldsPlan.parse(said) == FoldsPlan(count=count, by_time=by_time)
    assert FoldsPlan.parse(str(FoldsPlan.parse(said))) == FoldsPlan.parse(said)


@pytest.mark.parametrize("said", [0, 21, "many", "3 by luck", True, -1, 2.5])
def test_what_is_no_number_of_folds_is_told(said: object) -> None:
    with pytest.raises(ValueError, match="is no number of folds"):
        FoldsPlan.parse(said)
