"""Calibration measured: unbiased where all is well, right where it is not, and its interval holds what it says."""

from __future__ import annotations

import numpy as np
import pytest

from everloop.errors import NotEnoughData
from everloop.tasks import Evaluation, NumericEvaluation, calibration_error, predicted_over_actual


def judged(n: int, *, base: float, shift: float, seed: int, weighted: bool = False) -> Evaluation:
    """Rows whose log-odds of being positive are `shift` lower than the score says."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(base, 1.5, n)
    y = rng.random(n) < 1 / (1 + np.exp(-odds))
    weight = np.where(y, 1.0, rng.integers(1, 5, n)) if weighted else None
    return Evaluation(y=y, score=(1 / (1 + np.exp(-(odds + shift)))).astype(np.float32), weight=weight)


def truth(base: float, shift: float) -> tuple[float, float]:
    """The root mean square gap, and predicted over actual, of all such rows."""
    odds = np.random.default_rng(99).normal(base, 1.5, 400_000)
    rate, score = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-(odds + shift)))
    return float(np.sqrt(np.mean(np.square(rate - score)))), float(score.mean() / rate.mean())


@pytest.mark.parametrize(("n", "base"), [(1_000, 0.0), (2_000, -2.0), (10_000, -5.0)])
@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_the_interval_holds_the_gap_and_the_ratio(n: int, base: float, shift: float) -> None:
    gap, ratio = truth(base, shift)
    made = [judged(n, base=base, shift=shift, seed=seed) for seed in range(100)]
    errors = [calibration_error(one, seed=seed) for seed, one in enumerate(made)]
    assert np.mean([one.holds(gap) for one in errors]) >= 0.87
    assert np.mean([one.point for one in errors]) == pytest.approx(gap, rel=0.12)
    assert np.mean([predicted_over_actual(one).holds(ratio) for one in made]) >= 0.87


@pytest.mark.parametrize(("n", "base"), [(500, 0.0), (2_000, -2.0), (2_000, -5.0)])
def test_a_calibrated_model_is_not_charged_with_chance(n: int, base: float) -> None:
    """The plain error of ten bins is about the square root of ten over n; this one is mostly near 0, and holds 0."""
    errors = [calibration_error(judged(n, base=base, shift=0, seed=seed), seed=seed) for seed in range(60)]
    assert np.mean([one.low <= 1e-3 for one in errors]) >= 0.85
    assert np.median([one.point for one in errors]) < 0.6 * np.sqrt(10 / n * 0.1)


def test_weights_count_as_rows_do() -> None:
    one = judged(4_000, base=-1.0, shift=0.8, seed=3)
    times = np.random.default_rng(0).integers(1, 4, one.rows)
    weighted = Evaluation(y=one.y, score=one.score, weight=times.astype(float))
    repeated = Evaluation(y=np.repeat(one.y, times), score=np.repeat(one.score, times))
    assert calibration_error(weighted).point == pytest.approx(calibration_error(repeated).point, rel=0.05)
    assert predicted_over_actual(weighted).point == pytest.approx(predicted_over_actual(repeated).point)
    # rows that weigh say less than as many rows
    assert predicted_over_actual(weighted).width > predicted_over_actual(repeated).width


def test_a_seed_repeats_and_rows_in_any_order_are_the_same() -> None:
    one = judged(1_000, base=-1.0, shift=0.5, seed=4)
    order = np.random.default_rng(1).permutation(one.rows)
    assert calibration_error(one, seed=7) == calibration_error(one, seed=7)
    assert calibration_error(one.of_rows(order)).point == pytest.approx(calibration_error(one).point)


def test_few_distinct_scores_are_few_bins() -> None:
    """One score for all: what is left is calibration in the large."""
    y = np.array([1] * 30 + [0] * 70)
    one = Evaluation(y=y, score=np.full(100, 0.5, dtype=np.float32))
    assert calibration_error(one).point == pytest.approx(np.sqrt(0.04 - 0.21 / 99), rel=1e-6)
    assert predicted_over_actual(one).point == pytest.approx(5 / 3)


@pytest.mark.parametrize(("shift", "holds"), [(0.0, True), (0.3, False)])
def test_quantiles_are_held_against_the_shares_below_them(shift: float, holds: bool) -> None:
    levels = (0.1, 0.5, 0.9)
    found = []
    for seed in range(30):
        y = np.random.default_rng(seed).standard_normal(2_000)
        quantiles = np.tile(np.array([-1.2816, 0.0, 1.2816]) + shift, (2_000, 1))
        one = NumericEvaluation(y=y, score=np.zeros(2_000), quantiles=quantiles, levels=levels)
        found.append(calibration_error(one, seed=seed))
    assert (np.mean([one.low <= 1e-3 for one in found]) >= 0.85) == holds
    assert (np.mean([one.low > 0.03 for one in found]) >= 0.85) != holds


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(NotEnoughData, match="rows of both classes"):
        calibration_error(Evaluation(y=np.zeros(50), score=np.zeros(50)))
    with pytest.raises(NotEnoughData, match="quantiles"):
        calibration_error(NumericEvaluation(y=np.arange(5.0), score=np.arange(5.0)))
    with pytest.raises(NotEnoughData, match="mean is 0"):
        predicted_over_actual(Evaluation(y=np.zeros(50), score=np.full(50, 0.1)))


def test_a_ratio_of_numbers_may_be_negative() -> None:
    one = NumericEvaluation(y=np.array([1.0, 2.0, 3.0, 4.0]), score=np.array([-1.0, -2.0, -3.0, -4.0]))
    found = predicted_over_actual(one)
    assert (found.low, found.point, found.high) == pytest.approx((-1, -1, -1))
