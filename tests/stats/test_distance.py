from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.errors import NotEnoughData
from everloop.stats import ks, psi, total_variation

DISTANCES: list[tuple[Callable[..., float], float]] = [
    (psi, math.inf),
    (ks, 1.0),
    (total_variation, 1.0),
]
counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=30).filter(lambda c: sum(c) > 0)
pairs = st.integers(2, 20).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1000), min_size=n, max_size=n).filter(any),
        st.lists(st.integers(0, 1000), min_size=n, max_size=n).filter(any),
    )
)


@pytest.mark.parametrize(("distance", "most"), DISTANCES)
@settings(deadline=None)
@given(x=counts, times=st.integers(1, 50))
def test_the_same_shares_are_no_distance_apart(
    distance: Callable[..., float], most: float, x: list[int], times: int
) -> None:
    assert distance(x, x) == 0
    assert distance(x, [times * count for count in x]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("distance", "most"), DISTANCES)
@settings(deadline=None)
@given(pair=pairs)
def test_distances_are_symmetric_and_bounded(
    distance: Callable[..., float], most: float, pair: tuple[list[int], list[int]]
) -> None:
    first, second = pair
    there = distance(first, second)
    assert 0 <= there <= most + 1e-9
    assert there == pytest.approx(distance(second, first), rel=1e-9, abs=1e-12)


def test_known_distances() -> None:
    assert ks([50, 50, 0], [0, 50, 50]) == 0.5
    assert total_variation([50, 50], [75, 25]) == 0.25
    assert psi([500_000, 500_000], [250_000, 750_000]) == pytest.approx(0.25 * math.log(3), rel=1e-4)
    assert math.isfinite(psi([100, 0], [0, 100]))


def test_ks_finds_what_scipy_finds() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 30, 500), rng.integers(3, 33, 400)
    ours = ks(np.bincount(first, minlength=40), np.bincount(second, minlength=40))
    assert ours == pytest.approx(ks_2samp(first, second).statistic)


def test_mistakes_are_named() -> None:
    with pytest.raises(NotEnoughData, match="one has none"):
        psi([0, 0], [1, 2])
    with pytest.raises(ValueError, match="one shape"):
        ks([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="negative or NaN"):
        total_variation([1, -2], [1, 2])
    with pytest.raises(ValueError, match="above 0, got 0"):
        psi([1, 2], [1, 2], prior=0)
