"""How a version does on the test rows of each value of a segment, as evidence for its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from everloop.errors import NotEnoughData
from everloop.ledger import Estimate, SegmentEstimate
from everloop.tasks import Evaluated, Task

__all__ = ["MOST_VALUES", "segment_estimates", "told_metrics"]

MOST_VALUES: Final = 20
"""As many values of a segment as are told one by one, by their rows; the others are one line together."""


def told_metrics(task: Task, objective: str) -> tuple[str, ...]:
    """The objective's metric, and what a person reads beside it."""
    return tuple(dict.fromkeys((objective, *(("recall", "precision") if task.decides else ("mae",)))))


def segment_estimates(
    candidate: Evaluated,
    segments: Mapping[str, np.ndarray[Any, np.dtype[Any]]],
    *,
    metrics: Sequence[str],
    seed: int,
) -> list[SegmentEstimate]:
    """A line for each value, those with most rows first. segments: name → shape (n,), the test rows' values.

    A metric that the rows of a value cannot give, such as recall without a positive, is left out there.
    """
    found: list[SegmentEstimate] = []
    for name, values in segments.items():
        texts = np.asarray(values, dtype=str)
        known, counts = np.unique(texts, return_counts=True)
        by_rows = known[np.lexsort((known, -counts))]
        shown, rest = by_rows[:MOST_VALUES], by_rows[MOST_VALUES:]
        for value in shown:
            of_value = candidate.of_rows(texts == value)
            found.append(_estimate(of_value, name, str(value), metrics=metrics, seed=seed))
        if len(rest):
            of_rest = candidate.of_rows(np.isin(texts, rest))
            found.append(_estimate(of_rest, name, f"{len(rest)} others", metrics=metrics, seed=seed, rest=True))
    return found


def _estimate(
    evaluation: Evaluated, segment: str, value: str, *, metrics: Sequence[str], seed: int, rest: bool = False
) -> SegmentEstimate:
    measured: dict[str, Estimate] = {}
    for metric in metrics:
        try:
            interval = evaluation.interval(metric, seed=seed)
        except NotEnoughData:
            continue
        measured[metric] = Estimate(**interval.to_dict(), rows=evaluation.rows, positives=evaluation.positives)
    return SegmentEstimate(
        segment=segment,
        value=value,
        rows=evaluation.rows,
        positives=evaluation.positives,
        metrics=measured,
        rest=rest,
    )
