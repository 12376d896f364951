"""Missing values: what they become is the median of all rows, however many rows and columns there are."""

from __future__ import annotations

import numpy as np
import pytest

from everloop.models.missing import filled, fills

ROWS = 120_000


def columns(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    plain = random.standard_normal(rows)
    return {
        "normal": plain,
        "far": 1e30 * plain**3,
        "few values": random.integers(0, 3, rows),
        "one value": np.full(rows, 4.5),
        "mostly zero": np.where(random.random(rows) < 0.97, 0.0, plain),
        "rising": np.arange(rows) / rows,
        # what a few tell of the middle is wrong here: every row that they are taken from is far above it
        "unlike the few": np.where(np.arange(rows) % (rows // 4096) == 0, 1e6, plain),
        "infinite": np.where(random.random(rows) < 0.1, np.inf, plain),
        "holes": np.where(random.random(rows) < 0.3, np.nan, plain),
        "nothing": np.full(rows, np.nan),
    }


@pytest.mark.parametrize("rows", [1, 2, 7, 999, 100_000, ROWS, ROWS + 1])
def test_it_is_the_median_of_what_is_there(rows: int) -> None:
    made = columns(np.random.default_rng(rows), rows) if rows >= 4096 else columns_of_few(rows)
    X = np.column_stack(list(made.values())).astype(np.float32)
    for threads in (1, 3):
        found = fills(X, reads_missing=False, threads=threads)
        for name, column, fill in zip(made, X.T, found, strict=True):
            present = np.sort(column[np.isfinite(column)])
            assert fill == (present[len(present) // 2] if len(present) else 0.0), name
    gaps = ~np.isfinite(X).all(axis=0)
    np.testing.assert_array_equal(np.isnan(fills(X, reads_missing=True)), gaps)


def columns_of_few(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {f"{place}": random.standard_normal(rows) for place in range(9)} | {"nothing": np.full(rows, np.nan)}


def test_rows_in_which_nothing_is_filled_are_the_same_rows() -> None:
    X = np.array([[1, np.nan], [2, 3]], dtype=np.float32)
    assert filled(X, np.array([0, np.nan], np.float32)) is X
    np.testing.assert_array_equal(filled(X, np.array([0, 9], np.float32)), [[1, 9], [2, 3]])
    endless = np.array([[np.inf, 1]], dtype=np.float32)
    np.testing.assert_array_equal(filled(endless, np.array([np.nan, np.nan], np.float32)), [[np.nan, 1]])
