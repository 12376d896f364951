"""Columns that a prediction could not have had: filled in afterwards, and known by that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from everloop.data import EVENT_TIME, Contract, Rows
from everloop.experiment.association import ranked_auc

__all__ = ["Leak", "leaks"]

_TELLS: Final = 0.9
_AFTER: Final = 0.5
_LEAST_ROWS: Final = 200
_NEWEST: Final = 0.02
_EMPTIER: Final = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Why a column looks as if it were filled in after the prediction.

    how: `missing tells` (whether it has a value separates the classes; value: area under the ROC curve), `after` (its
    times lie after the row's own; value: share of the rows) or `empty when new` (the newest rows lack it; value: their
    share without one, before: that of the others).
    """

    column: str
    how: Literal["missing tells", "after", "empty when new"]
    value: float
    before: float = 0.0


def leaks(rows: Rows, contract: Contract, positive: Floats) -> tuple[Leak, ...]:
    """The columns that features may read and that look filled in later.

    rows: labelled, in order of time; positive: shape (n,), 0 or 1, their target.
    """
    if rows.frame.height < _LEAST_ROWS:
        return ()
    readable = [column for column in contract.columns if column.role in ("feature", "input", "segment")]
    found: list[Leak] = []
    for column in readable:
        if column.name not in rows.frame.columns:
            continue
        values = rows.frame[column.name]
        if column.type == "datetime":
            found += _after(values, rows.frame[EVENT_TIME], column.name)
        found += _missing(values, positive, rows.weight, column.name)
    return tuple(found)


def _after(values: pl.Series, times: pl.Series, name: str) -> Iterator[Leak]:
    known = values.is_not_null()
    if known.any():
        share = float((values > times).filter(known).mean() or 0.0)  # type: ignore[arg-type]
        if share >= _AFTER:
            yield Leak(column=name, how="after", value=share)


def _missing(values: pl.Series, positive: Floats, weight: Floats, name: str) -> Iterator[Leak]:
    missing = values.is_null().to_numpy()
    if not missing.any() or missing.all():
        return
    newest = max(50, round(_NEWEST * missing.size))
    late, before = float(missing[-newest:].mean()), float(missing[:-newest].mean())
    if late - before >= _EMPTIER:
        yield Leak(column=name, how="empty when new", value=late, before=before)
        return
    there = (~missing).astype(np.float64)
    area = ranked_auc(there, positive * weight, (1 - positive) * weight)
    if max(area, 1 - area) >= _TELLS:
        yield Leak(column=name, how="missing tells", value=max(area, 1 - area))
