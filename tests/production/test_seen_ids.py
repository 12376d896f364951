"""Repeated ids are found whatever comes before, as a set of them all would find them."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from everloop.production.seen_ids import SeenIds

IDS = st.lists(st.text("ab:1", max_size=3), max_size=12)


@given(blocks=st.lists(IDS, max_size=8), run_rows=st.integers(1, 20))
def test_it_says_what_a_set_would(blocks: list[list[str]], run_rows: int) -> None:
    seen, known = SeenIds(run_rows=run_rows), set[str]()
    for block in blocks:
        expected = []
        for one in block:
            expected.append(one in known)
            known.add(one)
        assert seen.repeated(pl.Series("id", block, dtype=pl.String)).to_list() == expected


def test_two_ids_that_share_half_of_their_bits_are_two() -> None:
    """Where the first 64 bits of an id are those of others, the second tell."""
    seen = SeenIds()
    first, second = np.array([7, 7, 9], dtype=np.uint64), np.array([1, 2, 3], dtype=np.uint64)
    seen._take(first, second)
    asked = np.array([7, 7, 7, 9, 8], dtype=np.uint64), np.array([2, 1, 3, 3, 1], dtype=np.uint64)
    assert seen._known(*asked).tolist() == [True, True, False, True, False]
