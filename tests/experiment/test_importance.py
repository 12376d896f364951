"""Importances rank what a model needs, and are the same for a seed whatever the machine."""

from __future__ import annotations

import numpy as np
import pytest

from everloop.experiment.association import auc_error, ranked_auc
from everloop.experiment.correlated import correlated_groups, rank_correlations
from everloop.experiment.importance import SAMPLE_ROWS, importances

NAMES = ("needed", "helps", "noise", "twin_a", "twin_b")


def rows(n: int = 6_000, *, seed: int = 0, numeric: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A target that hangs on one column mostly, on two twins, a little on a fourth, and not on noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5)).astype(np.float32)
    x[:, 4] = x[:, 3]
    risk = 2 * x[:, 0] + 0.8 * x[:, 1] + 1.2 * x[:, 3] + 0.3 * rng.standard_normal(n)
    return x, risk if numeric else (risk > np.quantile(risk, 0.9)).astype(float)


@pytest.mark.parametrize("numeric", [False, True])
def test_what_is_needed_comes_first_and_noise_costs_nothing(numeric: bool) -> None:
    x, y = rows(numeric=numeric)
    found = {one.feature: one for one in importances(x, NAMES, y, weight=np.ones(len(y)), numeric=numeric)}
    assert next(iter(found)) == "needed"
    assert found["needed"].permutation > found["helps"].permutation > 0.02
    assert abs(found["noise"].permutation) < 0.02
    assert found["noise"].forest < 0.05
    assert sum(one.forest for one in found.values()) == pytest.approx(1)
    # twins share what a forest gives them
    assert found["twin_a"].forest + found["twin_b"].forest > found["helps"].forest


def test_the_same_seed_gives_the_same_to_the_last_digit_with_any_number_of_threads() -> None:
    x, y = rows()
    once = importances(x, NAMES, y, weight=np.ones(len(y)), seed=3, threads=1)
    assert importances(x, NAMES, y, weight=np.ones(len(y)), seed=3, threads=2) == once
    assert importances(x, NAMES, y, weight=np.ones(len(y)), seed=4) != once


def test_rare_positives_are_all_in_the_sample_and_the_rest_is_drawn() -> None:
    x, y = rows(3 * SAMPLE_ROWS)
    y = np.where((y == 1) & (np.arange(len(y)) % 20 == 0), 1.0, 0.0)
    found = importances(x, NAMES, y, weight=np.ones(len(y)))
    assert found[0].feature == "needed"


@pytest.mark.parametrize("y", [np.zeros(1_000), np.r_[1.0, np.zeros(999)], np.r_[1.0, np.zeros(20)]])
def test_where_there_is_nothing_to_learn_there_are_none(y: np.ndarray) -> None:
    x = np.random.default_rng(0).standard_normal((len(y), 5)).astype(np.float32)
    assert importances(x, NAMES, y, weight=np.ones(len(y))) == ()


@pytest.mark.parametrize("numeric", [False, True])
def test_features_that_know_nothing_are_worth_nothing(numeric: bool) -> None:
    worth = 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        x, noise = rng.standard_normal((600, 5)).astype(np.float32), rng.random(600)
        y = noise if numeric else (noise < 0.2).astype(float)
        found = importances(x, NAMES, y, weight=np.ones(600), numeric=numeric)
        assert all(0 <= one.permutation <= 1 for one in found)
        worth += any(one.permutation > 0 for one in found)
    assert worth <= 2  # chance lies two standard errors above a half once in 44 times


def test_the_error_of_an_area_is_that_of_its_draws() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(300) < 60
    areas = [ranked_auc(rng.standard_normal(300) + positive, 1.0 * positive, 1.0 * ~positive) for _ in range(400)]
    assert auc_error(float(np.mean(areas)), 60, 240) == pytest.approx(np.std(areas), rel=0.15)
    assert auc_error(0.7, 0, 240) == np.inf


def test_missing_values_are_no_trouble() -> None:
    x, y = rows()
    x[::7, 0] = np.nan
    x[:, 2] = np.nan
    found = {one.feature: one for one in importances(x, NAMES, y, weight=np.ones(len(y)))}
    assert found["needed"].permutation > 0.1
    assert found["noise"].forest == 0


def test_ranks_move_together_whatever_the_scale() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(3_000)
    matrix = np.column_stack([x, np.exp(x), -(x**3), rng.standard_normal(3_000), np.ones(3_000)]).astype(np.float32)
    found = rank_correlations(matrix)
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] == pytest.approx(-1)
    assert abs(found[0, 3]) < 0.06
    assert found[4, 0] == 0


def test_groups_are_those_that_hold_together_and_categories_are_held_by_what_they_share() -> None:
    rng = np.random.default_rng(1)
    x, other, code = rng.standard_normal(4_000), rng.standard_normal(4_000), rng.integers(0, 5, 4_000)
    renamed = np.array([3, 1, 4, 0, 2])[code]
    columns = {
        "x": x,
        "x_again": 3 * x,
        "other": other,
        "city": code,
        "zip": renamed,
        "colour": rng.integers(0, 5, 4_000),
    }
    matrix = np.column_stack(list(columns.values())).astype(np.float32)
    found = correlated_groups(matrix, tuple(columns), categorical=frozenset({"city", "zip", "colour"}))
    assert {group.features for group in found} == {("x", "x_again"), ("city", "zip")}
