"""Parts where losses are higher are named, and where none are, none is named more often than is said."""

from __future__ import annotations

import numpy as np
import pytest

from everloop.stats import excess_p, holm, loss_difference


def _parts(rng: np.random.Generator, n: int, parts: int) -> np.ndarray:
    """Codes of one part of a quarter of the rows and others that are small."""
    return rng.choice(parts, n, p=[0.25, *[0.75 / (parts - 1)] * (parts - 1)])


@pytest.mark.parametrize(("n", "parts", "share"), [(200, 8, 0.2), (60, 12, 0.1), (400, 5, 0.02)])
def test_shares_under_no_difference_are_called_worse_no_more_often_than_said(n: int, parts: int, share: float) -> None:
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        losses = (rng.random(n) < share).astype(float)
        p = excess_p(losses, np.ones(n), _parts(rng, n, parts), parts, seed=0)
        wrong += (holm(p) <= 0.05).any()
    assert wrong <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_skewed_weighted_losses_under_no_difference_are_called_worse_no_more_often_than_said() -> None:
    rng, wrong = np.random.default_rng(1), 0
    for seed in range(80):
        losses, weight = rng.beta(0.1, 3, 60), rng.choice([1.0, 20.0], 60)
        p = excess_p(losses, weight, _parts(rng, 60, 5), 5, seed=seed)
        wrong += (holm(p) <= 0.05).any()
    assert wrong <= 80 * 0.05 + 3 * np.sqrt(80 * 0.05 * 0.95)


@pytest.mark.parametrize("shares", [True, False])
def test_a_part_that_loses_twice_as_much_is_named(*, shares: bool) -> None:
    rng, named = np.random.default_rng(2), 0
    for seed in range(20):
        codes = _parts(rng, 1_200, 6)
        risk = np.where(codes == 0, 0.4, 0.2)
        losses = (rng.random(1_200) < risk).astype(float) if shares else rng.beta(1, 1 / risk)
        named += holm(excess_p(losses, np.ones(1_200), codes, 6, seed=seed))[0] <= 0.05
    assert named >= 19


def test_shuffling_says_of_shares_what_the_exact_test_says() -> None:
    rng = np.random.default_rng(3)
    codes = _parts(rng, 150, 4)
    losses = (rng.random(150) < np.where(codes == 0, 0.35, 0.2)).astype(float)
    exact = excess_p(losses, np.ones(150), codes, 4, seed=0)
    shuffled = excess_p(losses * 0.999, np.ones(150), codes, 4, seed=0)
    assert np.abs(exact - shuffled).max() < 0.04


def test_a_part_without_rows_or_with_all_of_them_has_no_answer() -> None:
    p = excess_p(np.array([0.0, 1.0]), np.ones(2), np.array([1, 1]), 3, seed=0)
    assert np.isnan(p).all()


def test_the_same_seed_gives_the_same() -> None:
    rng = np.random.default_rng(4)
    asked = (rng.random(50), rng.random(50) + 0.5, rng.integers(0, 3, 50), 3)
    assert np.array_equal(excess_p(*asked, seed=1), excess_p(*asked, seed=1))


def test_a_difference_is_covered_as_often_as_said() -> None:
    rng, covered = np.random.default_rng(5), 0
    for _ in range(400):
        part = rng.random(300) < 0.2
        losses = (rng.random(300) < np.where(part, 0.3, 0.1)).astype(float)
        covered += loss_difference(losses, np.ones(300), part).holds(0.2)
    assert covered / 400 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)


def test_a_difference_of_means_has_its_point_inside() -> None:
    rng = np.random.default_rng(6)
    part, losses = np.arange(100) < 30, rng.random(100)
    found = loss_difference(losses, np.ones(100), part)
    assert found.low < found.point < found.high
    assert found.point == pytest.approx(losses[:30].mean() - losses[30:].mean())
