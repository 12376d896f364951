from __future__ import annotations

import json
import math

import numpy as np
import pytest

from everloop.errors import NotEnoughData
from everloop.stats import Calibration, calibrate, ks
from everloop.stats.budget import alpha_per_window

COLUMNS = 40
WINDOWS = 60
DAYS = 365


def simulated_alarms(rng: np.random.Generator, *, alpha: float, runs: int) -> float:
    """Alarms per run of DAYS daily windows over COLUMNS columns, half of them distances, half shares; no change."""
    alarms = 0
    for _ in range(runs):
        worst = np.full(DAYS, 1.0)
        for column in range(COLUMNS):
            draw = rng.normal(size=(WINDOWS + DAYS, 6))
            distance = column % 2 == 0
            values = np.abs(draw).max(axis=1) * 0.01 if distance else 0.05 + 0.003 * draw.sum(axis=1)
            found = calibrate(values[:WINDOWS], tail="above" if distance else "both")
            live, centre = values[WINDOWS:], found.expected()
            limit = found.threshold(alpha / COLUMNS)
            out = (live > limit) if distance else (np.abs(live - centre) > limit - centre)
            worst = np.minimum(worst, np.where(out, 0.0, 1.0))
        alarms += int((worst == 0).sum())
    return alarms / runs


def test_all_columns_and_windows_together_keep_to_one_alarm_in_thirty_days() -> None:
    alpha = alpha_per_window(count=1, per_days=30, window_days=1)
    assert simulated_alarms(np.random.default_rng(1), alpha=alpha, runs=8) <= 1.3 * DAYS / 30


def test_all_columns_and_windows_together_keep_to_one_alarm_in_ten_years() -> None:
    alpha = alpha_per_window(count=1, per_days=3650, window_days=1)
    assert simulated_alarms(np.random.default_rng(2), alpha=alpha, runs=8) <= 3 / 8


def test_a_shift_of_a_third_of_a_standard_deviation_is_found_in_its_first_window() -> None:
    rng = np.random.default_rng(3)
    edges = np.quantile(rng.normal(size=200_000), np.linspace(0, 1, 65)[1:-1])

    def counts(shift: float) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, rng.normal(shift, 1, size=10_000)), minlength=64)

    quiet = [counts(0.02 * rng.normal()) for _ in range(WINDOWS)]
    reference = np.sum(quiet, axis=0)
    found = calibrate([ks(reference, window) for window in quiet])
    alpha = alpha_per_window(count=1, per_days=3650, window_days=1) / COLUMNS
    assert found.p_value(ks(reference, counts(0.33))) < alpha
    assert found.p_value(ks(reference, counts(0.0))) > 0.01


def test_weekdays_are_held_against_their_own_kind() -> None:
    rng = np.random.default_rng(4)
    days = [str(day % 7) for day in range(70)]
    values = [0.05 + (0.02 if day in "56" else 0.0) + 0.0005 * rng.normal() for day in days]
    blind, seeing = calibrate(values, tail="both"), calibrate(values, tail="both", groups=days)
    assert blind.p_value(0.06) > 0.5
    assert seeing.p_value(0.06, group="1") < 1e-5
    assert seeing.p_value(0.07, group="6") > 0.05
    assert seeing.p_value(0.07, group="holiday") == pytest.approx(blind.p_value(0.07), abs=0.4)


@pytest.mark.parametrize("tail", ["above", "below", "both"])
@pytest.mark.parametrize("scale", ["plain", "root", "log"])
def test_the_threshold_is_where_the_p_value_is_alpha(tail: str, scale: str) -> None:
    values = np.random.default_rng(5).gamma(20, 0.01, size=40)
    found = calibrate(values, tail=tail, scale=scale)  # type: ignore[arg-type]
    assert found.p_value(found.threshold(0.003)) == pytest.approx(0.003, rel=1e-6)
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_statistic_that_never_moved_stays_finite() -> None:
    found = calibrate([0.0] * 30, tail="both", resolution=0.001)
    assert found.p_value(0.0) == 1
    assert 0 < found.p_value(0.1) < 1e-6
    assert calibrate([0.0] * 30).p_value(0.5) < 1e-6
    assert math.isnan(found.p_value(math.nan))


def test_too_few_windows_say_so() -> None:
    with pytest.raises(NotEnoughData, match="4 baseline windows"):
        calibrate([1.0, 2.0, math.nan, 3.0, 4.0])
    with pytest.raises(ValueError, match="one group per window"):
        calibrate([1.0, 2.0], groups=["a"])
