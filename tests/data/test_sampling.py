"""Which rows a trial is fitted on."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import fit_sample


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.5, 60)), min_size=4, max_size=300).filter(
        lambda rows: 2 <= sum(row[0] for row in rows) <= len(rows) - 2
    ),
    st.integers(4, 400),
    st.integers(0, 5),
)
def test_each_class_keeps_its_weight_and_no_row_is_taken_twice(
    rows: list[tuple[bool, float]], most: int, seed: int
) -> None:
    y = np.array([row[0] for row in rows], dtype=float)
    weight = np.array([row[1] for row in rows])
    sample = fit_sample(y, weight, most=most, seed=seed)
    assert len(sample.rows) <= max(most, 4)
    assert np.all(np.diff(sample.rows) > 0)
    for label in (0, 1):
        assert np.isclose(sample.weight[y[sample.rows] == label].sum(), weight[y == label].sum())


def test_all_rows_are_taken_where_they_fit() -> None:
    y, weight = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 2.0])
    sample = fit_sample(y, weight, most=3, seed=0)
    assert sample.rows.tolist() == [0, 1, 2]
    assert sample.weight.tolist() == [2.0, 1.0, 2.0]


def test_every_positive_is_kept_and_the_seed_decides() -> None:
    y = (np.arange(10_000) % 100 == 0).astype(float)
    first, again, other = (fit_sample(y, np.ones(10_000), most=1_000, seed=seed) for seed in (1, 1, 2))
    assert y[first.rows].sum() == 100
    assert first.rows.tolist() == again.rows.tolist() != other.rows.tolist()
