"""Since when: right within a day or two where something changed, and seldom anything where nothing did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from everloop.improvement import mean_change, rate_change

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = [START + timedelta(days=k) for k in range(40)]


@pytest.mark.parametrize(("before", "after", "within"), [(0.2, 12.0, 1), (5.0, 18.0, 2), (1.0, 6.0, 3)])
def test_the_day_of_a_change_is_found(before: float, after: float, within: int) -> None:
    near, ranged = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        counts = np.concatenate([rng.poisson(before, 30), rng.poisson(after, 10)])
        change = rate_change(DAYS, counts, np.ones(40))
        assert change is not None
        near += abs((change.at - DAYS[30]).days) <= within
        ranged += change.low <= DAYS[30] <= change.high
    assert near >= 95
    assert ranged >= 88


def test_a_steady_count_has_no_change() -> None:
    found = [
        rate_change(DAYS, np.random.default_rng(seed).poisson(6, 40), np.ones(40)) is not None for seed in range(300)
    ]
    assert sum(found) <= 6


def test_more_volume_is_no_change_of_the_rate() -> None:
    volume = np.where(np.arange(40) < 20, 1.0, 5.0)
    assert rate_change(DAYS, 4 * volume, volume) is None
    assert rate_change(DAYS, 4 * volume, np.ones(40)) is not None


def test_a_fall_is_no_rise() -> None:
    assert rate_change(DAYS, np.where(np.arange(40) < 20, 20, 2), np.ones(40)) is None


def test_days_without_exposure_and_no_counts_say_nothing() -> None:
    assert rate_change(DAYS, np.zeros(40), np.ones(40)) is None
    assert rate_change(DAYS[:1], [3], [1]) is None
    assert rate_change(DAYS, [1.0] * 40, [0.0] * 39 + [1.0]) is None


def test_a_mean_that_moved_is_dated_up_or_down() -> None:
    rng = np.random.default_rng(0)
    for sign in (1, -1):
        values = 0.02 * rng.standard_normal(40) + np.where(np.arange(40) < 25, 0.1, 0.1 + sign * 0.3)
        values[3] = np.nan
        change = mean_change(DAYS, values)
        assert change is not None
        assert abs((change.at - DAYS[25]).days) <= 1
    assert mean_change(DAYS, np.full(40, 0.1)) is None
    quiet = [mean_change(DAYS, np.random.default_rng(seed).standard_normal(40)) is not None for seed in range(200)]
    assert sum(quiet) <= 6
