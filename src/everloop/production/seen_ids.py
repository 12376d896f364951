"""Ids that earlier rows of a file had: 16 bytes each, however long they are, looked up without a set of them all."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl

__all__ = ["SeenIds"]

_RUN_ROWS: Final = 1 << 20
_SEEDS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class SeenIds:
    """The ids of a file so far. Two ids are told apart by 128 bits of hash: among a thousand million, surely enough.

    They lie in sorted runs of about `run_rows`, so that what is new is sorted in among few, and looked up in all.
    """

    def __init__(self, *, run_rows: int = _RUN_ROWS) -> None:
        self._run_rows = run_rows
        self._runs: list[tuple[Hashes, Hashes]] = []

    def repeated(self, ids: pl.Series) -> pl.Series:
        """Which of these are of an earlier row, of these or of those before: shape (n,), bool. They are seen then."""
        first, second = (ids.hash(seed).to_numpy() for seed in _SEEDS)
        known = self._known(first, second)
        self._take(first, second)
        return pl.Series(known) | ~ids.is_first_distinct()

    def _known(self, first: Hashes, second: Hashes) -> Flags:
        known = np.zeros(len(first), dtype=bool)
        for run in self._runs:
            known |= _found(run, first, second)
        return known

    def _take(self, first: Hashes, second: Hashes) -> None:
        if not len(first):
            return
        if self._runs and len(self._runs[-1][0]) < self._run_rows:
            before = self._runs.pop()
            first, second = np.concatenate([before[0], first]), np.concatenate([before[1], second])
        order = np.argsort(first, kind="stable")  # which is quick where a part of it is sorted
        self._runs.append((first[order], second[order]))


def _found(run: tuple[Hashes, Hashes], first: Hashes, second: Hashes) -> Flags:
    """Which of the hashes a run has."""
    starts = np.searchsorted(run[0], first)
    found: Flags = run[0][np.minimum(starts, len(run[0]) - 1)] == first
    for place in np.flatnonzero(found):  # there are none but of repeated ids
        end = np.searchsorted(run[0], first[place], side="right")
        found[place] = bool((run[1][starts[place] : end] == second[place]).any())
    return found
