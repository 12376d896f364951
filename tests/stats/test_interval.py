from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.stats import (
    Interval,
    bootstrap,
    bootstrap_cells,
    effective_n,
    mean_interval,
    wilson,
)


def test_an_interval_reads_as_in_a_report() -> None:
    interval = Interval(low=0.66, point=0.71, high=0.76)
    assert str(interval) == "0.710 [0.660, 0.760]"
    assert f"{interval:.2f}" == "0.71 [0.66, 0.76]"
    assert Interval.from_dict(json.loads(json.dumps(interval.to_dict()))) == interval


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_wilson_holds_its_share(successes: int, failures: int) -> None:
    interval = wilson(successes, successes + failures)
    assert 0 <= interval.low <= interval.point <= interval.high <= 1


@pytest.mark.parametrize(("share", "n"), [(0.8, 50), (0.02, 400), (0.5, 20)])
def test_wilson_covers(share: float, n: int) -> None:
    drawn = np.random.default_rng(1).binomial(n, share, size=2000)
    covered = np.mean([wilson(int(k), n).holds(share) for k in drawn])
    assert covered > 0.93


def test_bootstrap_of_a_mean_is_its_normal_interval() -> None:
    values = np.random.default_rng(3).normal(size=400)
    by_rows = bootstrap(lambda rows: float(values[rows].mean()), 400, seed=1, replicates=600)
    plain = mean_interval(values)
    assert by_rows.point == pytest.approx(plain.point)
    assert by_rows.width == pytest.approx(plain.width, rel=0.15)
    assert by_rows == bootstrap(lambda rows: float(values[rows].mean()), 400, seed=1, replicates=600)


def test_strata_keep_rare_rows() -> None:
    rare = np.arange(500) < 3
    counts: list[float] = []
    bootstrap(lambda rows: counts.append(rare[rows].sum()) or 0.0, 500, seed=1, strata=rare.astype(int), replicates=50)
    assert set(counts) == {3}


def test_cells_agree_with_rows() -> None:
    rng = np.random.default_rng(2)
    caught, weight = rng.random(3000) < 0.8, rng.choice([1.0, 20.0], size=3000)
    sums = np.array([weight[caught].sum(), weight[~caught].sum()])
    squares = np.array([np.square(weight[caught]).sum(), np.square(weight[~caught]).sum()])
    quick = bootstrap_cells(lambda c: c[:, 0] / c.sum(axis=1), sums, squares=squares, seed=1)
    slow = bootstrap(lambda r: float(np.average(caught[r], weights=weight[r])), 3000, seed=1, replicates=500)
    assert quick.point == pytest.approx(slow.point)
    assert quick.width == pytest.approx(slow.width, rel=0.15)


def test_weights_say_less_than_rows() -> None:
    assert effective_n(np.ones(10)) == 10
    assert effective_n(np.array([100.0, 1.0, 1.0])) < 1.1
    assert mean_interval(np.array([3.0])).high == math.inf


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[0, 5\], got 6"):
        wilson(6, 5)
    with pytest.raises(ValueError, match="must not be above"):
        Interval(low=1, point=0, high=0)
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval(np.array([]))
    with pytest.raises(ValueError, match="no bootstrap replicate"):
        bootstrap(lambda _: math.nan, 3, seed=1, replicates=5)
