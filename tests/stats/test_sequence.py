"""Law 6: peeking is free."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.stats import BoundedSequence, SignSequence

RUNS = 150
LOOKS = 25


def called(gains: np.ndarray, *, alpha: float) -> set[str]:
    """Every standing that a run shows over all its looks; gains: shape (looks, rows)."""
    sequence = BoundedSequence(alpha=alpha)
    seen = set()
    for batch in gains:
        sequence = sequence.update(batch)
        seen.add(sequence.standing())
    return seen


def shares(runs: list[set[str]]) -> dict[str, float]:
    return {name: sum(name in run for run in runs) / len(runs) for name in ("better", "worse")}


def allowed(alpha: float) -> float:
    """alpha plus three standard errors of a simulation of RUNS runs."""
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) / RUNS)


def two_equal_models(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, ...]:
    """Truth, and the decisions of two models of one quality at 0.2 % positives, each on a scale of its own."""
    y = rng.random(rows) < 0.002
    first = rng.normal(size=rows) + 4 * y
    second = rng.normal(size=rows) + 4 * y
    # Unequal calibration: the second's scores are squeezed, and its threshold with them.
    return y, first > 3.0, 1 / (1 + np.exp(-second / 7)) > 1 / (1 + np.exp(-3.0 / 7))


def asymptotically_called(gains: np.ndarray, *, alpha: float) -> set[str]:
    """As `called`, by an asymptotic confidence sequence: what its guarantee is worth at rare positives.

    Source: Waudby-Smith et al. (2021), "Time-uniform central limit theory", with rho = 1.
    """
    seen = set()
    for look in range(1, gains.shape[0] + 1):
        values = gains[:look].ravel()
        n = values.size
        half = values.std() * math.sqrt(2 * (n + 1) / n**2 * math.log(math.sqrt(n + 1) / alpha))
        seen |= {"better"} if values.mean() > half else {"worse"} if values.mean() < -half else set()
    return seen


def test_two_equal_models_at_rare_positives_are_told_apart_at_most_alpha_of_the_time() -> None:
    rng = np.random.default_rng(7)
    recall, errors = [], []
    for _ in range(RUNS):
        y, first, second = two_equal_models(rng, 2000 * LOOKS)
        gains = (first != y).astype(float) - (second != y)
        errors.append(called(gains.reshape(LOOKS, -1), alpha=0.1))
        recall.append(called(np.where(y, second.astype(float) - first, 0.0).reshape(LOOKS, -1), alpha=0.1))
    for found in (shares(recall), shares(errors)):
        assert found["better"] <= 0.05
        assert found["worse"] <= 0.05


def test_skewed_gains_with_mean_zero_are_no_gain() -> None:
    # Many small losses, rarely a large gain: where a normal approximation is wrong most often.
    rng = np.random.default_rng(8)
    gains = [np.where(rng.random((LOOKS, 400)) < 0.002, 0.998, -0.002) for _ in range(RUNS)]
    found = shares([called(one, alpha=0.1) for one in gains])
    assert found["worse"] <= 0.05
    assert found["better"] <= 0.05
    # So many runs are enough to find out a sequence whose guarantee does not hold here.
    assert shares([asymptotically_called(one, alpha=0.1) for one in gains])["worse"] > allowed(0.05)


def test_a_real_gain_is_found_and_not_called_a_loss() -> None:
    rng = np.random.default_rng(9)
    found = []
    for _ in range(50):
        # 300 positives: the challenger catches 12 % more, and loses 2 %.
        kinds = rng.random((10, 30))
        found.append(called(np.where(kinds < 0.12, 1.0, np.where(kinds < 0.14, -1.0, 0.0)), alpha=0.05))
    assert shares(found)["better"] >= 0.9
    assert shares(found)["worse"] == 0


def test_agreement_on_500_positives_is_not_worse_by_a_point() -> None:
    sequence = BoundedSequence().update(np.zeros(600))
    assert sequence.standing() == "undecided"
    assert sequence.standing(margin=0.01) == "not_worse"
    assert sequence.verdict(margin=0.01).is_passed


def test_the_interval_covers_at_every_look() -> None:
    rng = np.random.default_rng(10)
    missed = 0
    needed = math.log(2 / 0.1)
    for _ in range(RUNS):
        sequence = BoundedSequence(lower=0.0, upper=1.0, alpha=0.1)
        outside = False
        for _look in range(12):
            sequence = sequence.update(rng.beta(0.5, 4.5, size=40))
            outside |= any(sequence.log_evidence(0.1, above=above) >= needed for above in (True, False))
        missed += outside
    assert missed / RUNS <= allowed(0.1)
    # The interval's ends are where that evidence is just enough.
    interval = sequence.interval()
    assert sequence.log_evidence(interval.low, above=True) == pytest.approx(needed, abs=1e-3)
    assert sequence.log_evidence(interval.high, above=False) == pytest.approx(needed, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.integers(0, 60))
def test_order_and_batches_do_not_matter(values: list[float], cut: int) -> None:
    array = np.array(values)
    whole = BoundedSequence().update(array)
    shuffled = np.random.default_rng(1).permutation(array)
    parts = BoundedSequence().update(shuffled[:cut]) + BoundedSequence().update(shuffled[cut:])
    assert parts.counts == whole.counts
    assert parts.interval().low == pytest.approx(whole.interval().low, abs=1e-6)
    assert parts.interval().high == pytest.approx(whole.interval().high, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(-0.9, 0.9))
def test_binned_evidence_is_a_little_less_than_the_exact_one(values: list[float], mean: float) -> None:
    from everloop.stats.sequence import BETS, log_mean_exp

    array = np.array(values)
    exact = log_mean_exp(np.log1p(np.outer(BETS, (array + 1) / (mean + 1) - 1)).sum(axis=1))
    binned = BoundedSequence().update(array).log_evidence(mean)
    assert binned <= exact + 1e-7
    assert binned >= exact - 0.02 * len(values)


def test_a_value_seen_often_is_as_if_it_came_so_often() -> None:
    values, times = np.array([1.0, -1.0, 0.3]), np.array([30, 20, 0])
    assert BoundedSequence().update(values, times=times) == BoundedSequence().update(np.repeat(values, times))


def test_state_goes_through_json() -> None:
    sequence = BoundedSequence(lower=-2, upper=3, alpha=0.01).update(np.linspace(-2, 3, 100))
    assert BoundedSequence.from_dict(json.loads(json.dumps(sequence.to_dict()))) == sequence
    sign = SignSequence(wins=3, losses=5)
    assert SignSequence.from_dict(json.loads(json.dumps(sign.to_dict()))) == sign


def test_nothing_seen_says_nothing() -> None:
    assert BoundedSequence().interval().width == 2
    assert BoundedSequence().update(np.array([])).standing() == "undecided"
    assert SignSequence().interval().width == 1
    assert SignSequence().verdict().is_undecided


def test_verdicts_name_the_margin() -> None:
    sequence = BoundedSequence().update(np.repeat([1.0, 0.0], [40, 60]))
    assert sequence.verdict().sentence.startswith("better: ")
    assert sequence.verdict_better(margin=0.1).is_passed
    assert sequence.verdict_better(margin=0.9).is_failed
    assert sequence.verdict_better(margin=0.4).is_undecided
    assert BoundedSequence().update(np.repeat([-1.0, 0.0], [40, 60])).verdict(margin=0.01).is_failed


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="the bound is what the guarantee rests on"):
        BoundedSequence().update(np.array([0.0, 1.5]))
    with pytest.raises(ValueError, match="one range and alpha"):
        BoundedSequence() + BoundedSequence(alpha=0.2)
    with pytest.raises(ValueError, match="lower must be below"):
        BoundedSequence(lower=1, upper=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        BoundedSequence(alpha=0)
    with pytest.raises(ValueError, match="must not be negative"):
        SignSequence().update(wins=-1, losses=0)


def test_a_fair_coin_is_called_at_most_alpha_of_the_time() -> None:
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(RUNS):
        wins = rng.binomial(4, 0.5, size=LOOKS)
        sequence = SignSequence(alpha=0.1)
        seen = set()
        for won in wins.tolist():
            sequence = sequence.update(wins=won, losses=4 - won)
            seen.add(sequence.standing())
        wrong += seen != {"undecided"}
    assert wrong / RUNS <= allowed(0.1)


def test_a_loaded_coin_is_found() -> None:
    assert SignSequence(wins=8, losses=0).standing() == "better"
    assert SignSequence(wins=10, losses=40).verdict().is_failed
    assert (SignSequence(wins=20, losses=4) + SignSequence(wins=20, losses=4)).interval().low > 0.6
