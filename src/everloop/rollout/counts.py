"""What guardrails look at: counts of the same rows, scored by the champion and by the challenger."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

__all__ = ["LATENCY_EDGES_MS", "SCORE_BINS", "PairedCounts", "latency_bin"]

LATENCY_EDGES_MS: tuple[float, ...] = (
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0),
    *(50.0, 75.0, 100.0, 150.0, 200.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0),
)
"""Upper edges of the latency bins, in milliseconds; one more bin holds what is above the last."""
SCORE_BINS = 200
"""Bins of `challenger − champion` over [-1, 1]."""

Counts = tuple[int, ...]
_NO_LATENCY: Counts = (0,) * (len(LATENCY_EDGES_MS) + 1)
_NO_SCORES: Counts = (0,) * SCORE_BINS


def latency_bin(latency_ms: float) -> int:
    """The bin of a latency: the first whose upper edge is not below it."""
    return bisect_left(LATENCY_EDGES_MS, latency_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCounts:
    """One span of traffic, both sides on the same rows; spans and processes add up with `+`.

    rows: rows that both sides scored. both, champion_only, challenger_only: of them, those decided positively by.
    score_difference: shape (SCORE_BINS,), rows by `challenger − champion` over [-1, 1].
    asked, challenger_errors, champion_errors: rows given to both, and those on which that side alone gave no score.
    champion_latency, challenger_latency: rows by scoring time, shape (len(LATENCY_EDGES_MS) + 1,).
    """

    rows: int = 0
    both: int = 0
    champion_only: int = 0
    challenger_only: int = 0
    score_difference: Counts = _NO_SCORES
    asked: int = 0
    champion_errors: int = 0
    challenger_errors: int = 0
    champion_latency: Counts = _NO_LATENCY
    challenger_latency: Counts = _NO_LATENCY

    def __add__(self, other: PairedCounts) -> PairedCounts:
        """Both spans as one."""
        summed: dict[str, Any] = {
            one.name: _sum(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)
        }
        return PairedCounts(**summed)

    @classmethod
    def of(
        cls,
        *,
        champion_score: np.ndarray[Any, Any],
        challenger_score: np.ndarray[Any, Any],
        champion_decision: np.ndarray[Any, Any],
        challenger_decision: np.ndarray[Any, Any],
        unit: float = 1.0,
    ) -> PairedCounts:
        """Counts of rows that were captured with both scores.

        All of shape (n,): scores in [0, 1], or numbers, NaN where that side gave none; decisions as booleans.
        unit: what a difference of 1 is; of a regression the bound of errors, beyond which all count alike.
        """
        first = np.asarray(champion_score, dtype=np.float64)
        second = np.asarray(challenger_score, dtype=np.float64)
        one, two = np.asarray(champion_decision, dtype=bool), np.asarray(challenger_decision, dtype=bool)
        paired = np.isfinite(first) & np.isfinite(second)
        difference = np.clip(((second[paired] - first[paired]) / unit + 1.0) / 2.0 * SCORE_BINS, 0, SCORE_BINS - 1)
        bins = np.bincount(difference.astype(np.int64), minlength=SCORE_BINS)
        return cls(
            rows=int(paired.sum()),
            both=int((one & two & paired).sum()),
            champion_only=int((one & ~two & paired).sum()),
            challenger_only=int((two & ~one & paired).sum()),
            score_difference=tuple(bins.tolist()),
            asked=len(first),
            champion_errors=int((~np.isfinite(first) & np.isfinite(second)).sum()),
            challenger_errors=int((np.isfinite(first) & ~np.isfinite(second)).sum()),
        )


def _sum(one: int | Counts, two: int | Counts) -> int | Counts:
    if isinstance(one, int) and isinstance(two, int):
        return one + two
    assert isinstance(one, tuple)
    assert isinstance(two, tuple)
    return tuple(left + right for left, right in zip(one, two, strict=True))
