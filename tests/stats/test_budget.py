from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.stats import OnlineBudget
from everloop.stats.budget import alpha_per_window


def test_daily_windows_share_a_months_alarm() -> None:
    assert alpha_per_window(count=1, per_days=30, window_days=1) == pytest.approx(1 / 30, rel=0.02)
    assert alpha_per_window(count=1, per_days=3650, window_days=1) == pytest.approx(1 / 3650, rel=0.001)
    assert alpha_per_window(count=100, per_days=1, window_days=30) <= 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 3), st.booleans()), max_size=50))
def test_no_more_is_spent_than_time_allows(windows: list[tuple[float, bool]]) -> None:
    budget, days = OnlineBudget.of(count=1, per_days=30), 0.0
    for length, judged in windows:
        days += length
        budget = budget.allot(length)[1] if judged else budget.skip(length)
    assert budget.spent <= days / 30 + 1e-12


def test_a_long_pause_does_not_make_a_loose_window() -> None:
    budget = OnlineBudget.of(count=1, per_days=30).skip(300)
    alpha, after = budget.allot(1.0)
    assert alpha <= 8 / 30
    assert after.saved_days == 0


def test_checks_share_a_budget() -> None:
    parts = OnlineBudget.of(count=1, per_days=10).split({"drift": 1, "score": 1, "recall": 2})
    assert sum(part.per_day for part in parts.values()) == pytest.approx(0.1)
    assert parts["recall"].windows_per_alarm(1.0) == pytest.approx(20, rel=0.03)


def test_state_goes_through_json() -> None:
    budget = OnlineBudget.of(count=2, per_days=30).skip(1.5)
    assert OnlineBudget.from_dict(json.loads(json.dumps(budget.to_dict()))) == budget


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="more than 0 false alarms"):
        OnlineBudget(per_day=0)
    with pytest.raises(ValueError, match="must be above 0"):
        alpha_per_window(count=1, per_days=0, window_days=1)
    with pytest.raises(ValueError, match="weight must be above 0"):
        OnlineBudget(per_day=1).split({"a": 0})
    with pytest.raises(ValueError, match="per_days must be above 0"):
        OnlineBudget.of(count=1, per_days=0)
