"""What is found by buckets is what sorting finds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.data.ordered import Ordered

ODD = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 1e-310, 3.4e38, -3.4e38, 1.0, np.nextafter(1.0, 2)]
numbers = st.lists(st.one_of(st.floats(), st.sampled_from(ODD), st.integers(-3, 3).map(float)), max_size=60)


def sorted_edges(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    known = np.sort(values[~np.isnan(values)])
    finite = known[np.isfinite(known)]
    if len(finite) == 0:
        return np.empty(0), np.array([len(known)])
    steps = (np.arange(1, most + 1) / (most + 1) * len(finite)).astype(int)
    edges = np.unique(np.append(finite[0], finite[np.minimum(steps, len(finite) - 1)]))
    edges = edges if len(edges) <= most else edges[1:]
    return edges, np.diff(np.searchsorted(known, edges), prepend=0, append=len(known))


def check(values: np.ndarray, most: int) -> None:
    edges, counts = Ordered(values).even_edges(most)
    wanted, between = sorted_edges(values, most)
    assert edges.tolist() == wanted.tolist()
    assert counts.tolist() == between.tolist()
    assert not np.signbit(edges[edges == 0]).any()


def check_cells(values: np.ndarray, edges: np.ndarray, bounds: list[int], span: slice | np.ndarray) -> None:
    found = Ordered(values).cells(edges, np.array(bounds), span)
    for place, (begin, end) in enumerate(pairwise(bounds)):
        window = values[span][begin:end]
        known = window[~np.isnan(window)]
        cells = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
        assert found[place].tolist() == [*cells.tolist(), len(window) - len(known)]


@given(values=numbers, most=st.integers(1, 20), narrow=st.booleans())
def test_any_numbers(values: list[float], most: int, narrow: bool) -> None:
    with np.errstate(over="ignore"):
        column = np.array(values, dtype=np.float64).astype(np.float32 if narrow else np.float64)
    check(column, most)
    edges = Ordered(column).even_edges(most)[0]
    cut = len(column) // 3
    check_cells(column, edges, [0, cut, cut, len(column)], slice(0, len(column)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 2, 1_000, 200_000])
def test_many_numbers_close_together_and_far_apart(rows: int, dtype: type) -> None:
    random = np.random.default_rng(rows)
    for column in (
        random.standard_normal(rows),
        np.round(random.lognormal(3, 2, rows), 2),
        random.integers(-5, 5, rows),
        1e9 + random.random(rows),
        np.where(random.random(rows) < 0.3, np.nan, -random.lognormal(0, 3, rows)),
    ):
        values = np.asarray(column).astype(dtype)
        for most in (1, 31, 1_024):
            check(values, most)
        edges = Ordered(values).even_edges(31)[0]
        shuffled = random.permutation(rows)
        for span in (slice(rows // 10, rows), shuffled):
            many = len(values[span])
            check_cells(values, edges, [0, many // 2, many], span)


def test_the_missing_are_counted() -> None:
    assert Ordered(np.array([1.0, np.nan, -np.nan, 2.0])).missing == 2
    assert Ordered(np.empty(0)).even_edges(3)[1].tolist() == [0]
