"""What only the later rows have: categories, copies of earlier rows, outcomes that are not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from everloop.data import FIRST_SHARES, Contract, Rows
from everloop.experiment.overtime import Period
from everloop.stats import wilson

__all__ = ["CopiedRows", "LateCategory", "LateLabels", "copied_rows", "late_categories", "late_labels"]

# the chance that a category with a steady share has all of ten rows among the later 30 % is 6 in a million
_LEAST_ROWS: Final = 10
_MOSTLY_DISTINCT: Final = 0.9
_LEVEL: Final = 0.999
# measured values are rounded, and a few rows are alike by chance
_BY_CHANCE: Final = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class LateCategory:
    """Categories of a column that no training row has. share: of the later rows that hold one, in [0, 1]."""

    column: str
    categories: tuple[str, ...]
    rows: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedRows:
    """Later rows that equal a training row in everything but id and time. share: of the later rows, in [0, 1]."""

    rows: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LateLabels:
    """The newest rows, from `since` on, lack positives, or outcomes, that the earlier ones have.

    what: `rate` (the target's rate falls) or `missing` (outcomes are missing). late, before: its value there and
    before.
    """

    what: str
    since: datetime
    late: float
    before: float


def _cut(rows: Rows) -> int:
    """Where a first split ends its training part."""
    return round(FIRST_SHARES[0] * rows.frame.height)


def late_categories(rows: Rows, contract: Contract) -> tuple[LateCategory, ...]:
    """Categories of features and segments that first come after the training part, by column.

    rows: in order of time.
    """
    cut = _cut(rows)
    found = []
    for column in contract.columns:
        if column.type != "string" or column.role not in ("feature", "segment", "input"):
            continue
        if column.name not in rows.frame.columns:
            continue
        values = rows.frame[column.name]
        early, late = values[:cut].unique(), values[cut:]
        counted = late.filter(~late.is_in(early.implode()) & late.is_not_null()).value_counts(sort=True)
        new = [(str(value), int(count)) for value, count in counted.iter_rows() if count >= _LEAST_ROWS]
        if new:
            held = sum(count for _, count in new)
            names = tuple(value for value, _ in new)
            found.append(LateCategory(column=column.name, categories=names, rows=held, share=held / len(late)))
    return tuple(found)


def copied_rows(rows: Rows, contract: Contract) -> CopiedRows | None:
    """Later rows that stand among the training rows already; None where few do, or rows are alike anyway.

    rows: in order of time.
    """
    kept = [column.name for column in contract.columns if column.role in ("feature", "input", "entity", "target")]
    names = [name for name in kept if name in rows.frame.columns]
    cut = _cut(rows)
    if not names or cut == 0 or cut == rows.frame.height:
        return None
    hashes = rows.frame.select(pl.struct(names).hash(seed=1)).to_series()
    early, late = hashes[:cut].unique(), hashes[cut:]
    if len(early) < _MOSTLY_DISTINCT * cut:
        return None
    copied = int(late.is_in(early.implode()).sum())
    share = copied / len(late)
    return CopiedRows(rows=copied, share=share) if share >= _BY_CHANCE else None


def late_labels(periods: Sequence[Period], missing: pl.Series | None, times: pl.Series | None) -> LateLabels | None:
    """Whether the newest outcomes look as if they were still to come.

    periods: of the labelled rows of two classes, in order. missing: which rows lack an outcome, in order of `times`.
    """
    if missing is not None and times is not None and len(missing) >= 200:
        newest = max(50, len(missing) // 20)
        late, before = float(missing[-newest:].mean() or 0.0), float(missing[:-newest].mean() or 0.0)  # type: ignore[arg-type]
        if late >= 2 * before + 0.1:
            since = times[-newest]
            assert isinstance(since, datetime)
            return LateLabels(what="missing", since=since, late=late, before=before)
    return _falling(periods)


def _falling(periods: Sequence[Period]) -> LateLabels | None:
    """The longest run of newest periods that all lie below the rate of those before, surely so taken together."""
    found = None
    for start in range(len(periods) - 1, len(periods) * 2 // 3, -1):
        before, tail = periods[:start], periods[start:]
        body = wilson(sum(p.positives for p in before), sum(p.rows for p in before), level=_LEVEL)
        if tail[0].rate is None or tail[0].positives / tail[0].rows >= body.point:
            break
        late = wilson(sum(p.positives for p in tail), sum(p.rows for p in tail), level=_LEVEL)
        ending = tail[-1].positives / tail[-1].rows
        if late.high < body.low and ending < body.point / 2:
            found = LateLabels(what="rate", since=tail[0].start, late=late.point, before=body.point)
    return found
