"""Which rows a trial is fitted and judged on: folds by time, each judged on rows newer than those it learned from.

      all rows, in order of time
      ├────────────────────── fitted ─────────────────────┤gap├─ judged ─┤                     fold 1
      ├───────────────── fitted ────────────────┤gap├─ judged ─┤                               fold 2
      ├──────────── fitted ────────────┤gap├─ judged ─┤                                        fold 3
      ├──────────────────────────── never seen by a trial ───────────────┤─────── test ───────┤

The gap is the outcome's delay: when the judged rows began, the outcomes of the rows in the gap were not known. Rows
that stand at too few different times to be split by it are dealt into folds at random, each with its share of
positives.

The newest fold comes first, for it is nearest to what a model will meet: a trial that is given up was judged by it. An
older one tells of another world the more, the older it is, and counts the less for that, unless the newer ones have so
few positives that chance is the larger error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everloop.errors import NotEnoughData
from everloop.project import FoldsPlan, format_duration

__all__ = ["Fold", "Folds", "plan_folds"]

TEST_SHARE: Final = 0.15
"""The newest rows, which judge the winner and nothing else."""

_JUDGED_SHARE: Final = 0.15
_ALL_JUDGED: Final = 0.6
_ENOUGH: Final = 300
_MOST: Final = 5
_WANDERS: Final = 200
_LEAST_WORTH: Final = 0.1
_LEAST_TIMES: Final = 20

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """Places of rows, ascending: shape (n,) to fit on, shape (m,) to judge by. worth: what it counts beside others."""

    fitted: Indices
    judged: Indices
    worth: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folds:
    """How the rows are split.

    folds: the newest first; its model is the trial's. test: places of the test rows.
    by_time: else dealt at random. gap: what lies between fitted and judged rows. note: what should be known of it.
    """

    folds: tuple[Fold, ...]
    test: Indices
    by_time: bool
    gap: timedelta
    note: str | None = None

    @property
    def newest(self) -> Fold:
        """The fold whose rows are the last before the test's; of those that are dealt, one of them."""
        return self.folds[0]


def plan_folds(
    times_us: NDArray[np.int64], y: Floats, wanted: FoldsPlan, *, delay: timedelta, numeric: bool = False, seed: int = 0
) -> Folds:
    """The folds that `wanted` asks for, of rows in order of time.

    times_us: shape (n,), ascending; y: shape (n,), the target. delay: the outcome's. numeric: the target is a number.
    Raises NotEnoughData where a fold would lack rows; whether it lacks a class is for the task to say.
    """
    by_time = wanted.by_time
    if by_time is None:
        by_time = np.unique(times_us).size >= _LEAST_TIMES
    count = wanted.count or _as_the_data_asks(y, by_time=by_time, numeric=numeric)
    if by_time:
        return _by_time(times_us, y, count, delay, numeric=numeric)
    return _stratified(y, count, numeric=numeric, seed=seed)


def _as_the_data_asks(y: Floats, *, by_time: bool, numeric: bool) -> int:
    """Two folds where their judged rows hold some hundred positives (or rows); more where they are rarer.

    By time one, where it has so many that an older one would count next to nothing beside it.
    """
    rows = _JUDGED_SHARE * _telling(y, numeric=numeric)
    if by_time and _worth(rows, age=1) < _LEAST_WORTH * _worth(rows):
        return 1
    return int(np.clip(np.ceil(_ENOUGH / max(rows, 1.0)), 2, _MOST))


def _telling(y: Floats, *, numeric: bool) -> float:
    """What there is to judge by, in rows of the rarer class: of a numeric target ten rows tell less than a positive."""
    return y.size / 10 if numeric else min(float(y.sum()), float(y.size - y.sum()))


def _worth(rows: float, *, age: int = 0) -> float:
    """What a fold counts that has so many telling rows: the inverse of its error's variance, in such rows.

    Chance gives 1 / rows; a world that wanders gives 1 / `_WANDERS` more for each fold that lies between. So of many
    rows the newest fold decides nearly alone, and of few positives all count nearly alike. Of eighty configurations
    drawn for prices that drift and for cards with few frauds, 100 to 300 chose best for both.
    """
    rows = max(rows, 1.0)
    return rows / (1 + age * rows / _WANDERS)


def _by_time(times_us: NDArray[np.int64], y: Floats, count: int, delay: timedelta, *, numeric: bool) -> Folds:
    starts = np.flatnonzero(np.diff(times_us)) + 1
    if starts.size < count + 1:
        raise NotEnoughData(
            f"the rows stand at {starts.size + 1} different times, too few for {count} folds and a test by time; "
            f"say 'folds: {count} stratified' in model.yaml if time does not matter"
        )
    size = times_us.size
    width = min(_JUDGED_SHARE, _ALL_JUDGED / count)
    shares = [1 - TEST_SHARE - width * (count - at) for at in range(count)]
    cuts = [_nearest(starts, size * share) for share in (*shares, 1 - TEST_SHARE)]
    gap_us = int(delay / timedelta(microseconds=1))
    note = None
    if gap_us and any(_before(times_us, cut, gap_us) < cut / 2 for cut in cuts[:-1]):
        note = (
            f"the outcome's delay ({format_duration(delay)}) is not left as a gap before the judged rows: it would "
            f"take more than half of what a fold is fitted on"
        )
        gap_us = 0
    folds = tuple(
        Fold(
            fitted=np.arange(_before(times_us, cut, gap_us)),
            judged=np.arange(cut, end),
            worth=_worth(_telling(y[cut:end], numeric=numeric), age=age),
        )
        for age, (cut, end) in enumerate(reversed(list(pairwise(cuts))))
    )
    if any(fold.fitted.size == 0 or fold.judged.size == 0 for fold in folds):
        raise NotEnoughData(f"{size:,} rows are too few, or too many at one time, for {count} folds and a test by time")
    return Folds(
        folds=folds, test=np.arange(cuts[-1], size), by_time=True, gap=timedelta(microseconds=gap_us), note=note
    )


def _before(times_us: NDArray[np.int64], cut: int, gap_us: int) -> int:
    """How many rows had a known outcome when the row at `cut` came."""
    return int(np.searchsorted(times_us, times_us[cut] - gap_us, side="right")) if gap_us else cut


def _nearest(starts: Indices, place: float) -> int:
    return int(starts[np.argmin(np.abs(starts - place))])


def _stratified(y: Floats, count: int, *, numeric: bool, seed: int) -> Folds:
    """Rows dealt at random: a test part, and `count` folds of the rest, each judged by a fit on the others."""
    if count == 1:
        dealt = _dealt(y, [1 - TEST_SHARE - _JUDGED_SHARE, _JUDGED_SHARE, TEST_SHARE], numeric=numeric, seed=seed)
        judged = np.flatnonzero(dealt == 1)
        fold = Fold(
            fitted=np.flatnonzero(dealt == 0), judged=judged, worth=_worth(_telling(y[judged], numeric=numeric))
        )
        return Folds(folds=(fold,), test=np.flatnonzero(dealt == 2), by_time=False, gap=timedelta(0))
    shares = [*([(1 - TEST_SHARE) / count] * count), TEST_SHARE]
    dealt = _dealt(y, shares, numeric=numeric, seed=seed)
    folds = tuple(
        Fold(
            fitted=np.flatnonzero((dealt != at) & (dealt != count)),
            judged=np.flatnonzero(dealt == at),
            worth=_worth(_telling(y[dealt == at], numeric=numeric)),
        )
        for at in range(count)
    )
    if min(fold.judged.size for fold in folds) == 0 or (dealt == count).sum() == 0:
        raise NotEnoughData(f"{y.size:,} rows are too few for {count} folds and a test")
    return Folds(folds=folds, test=np.flatnonzero(dealt == count), by_time=False, gap=timedelta(0))


def _dealt(y: Floats, shares: Sequence[float], *, numeric: bool, seed: int) -> NDArray[Any]:
    """The part of every row, shape (n,): each part has its share of each class (of each tenth of a number)."""
    rng = np.random.default_rng(seed)
    strata = np.searchsorted(np.quantile(y, np.arange(1, 10) / 10), y) if numeric else y.astype(np.int64)
    part = np.empty(y.size, dtype=np.int64)
    ends = np.cumsum(shares)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        part[rows] = np.minimum(np.searchsorted(ends, (np.arange(rows.size) + 0.5) / rows.size), len(shares) - 1)
    return part
