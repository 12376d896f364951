"""The target in numbers, counted block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from everloop.data import Contract, Rows, is_positive
from everloop.experiment.overtime import Buckets
from everloop.experiment.residuals import bars

__all__ = ["TargetCount", "TargetSummary"]

_MOST_VALUES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSummary:
    """The target: counted rows and the weighted rate; of a numeric one the weighted mean and its spread.

    numeric: whether it is a number to be met, not a yes or no.
    missing: rows without an outcome; positives: counted, 0 of a numeric target.
    rate: weighted share of positives, in [0, 1]; of a numeric target its weighted mean, in its own unit, and None where
    no row is usable.
    alike: whether the usable rows all have one class, or one number; without usable rows, whether all rows have.
    positive: the value that means yes; other_values: a few of the others, where there are more than one.
    tenth, median, nine_tenths: of a numeric target, in its own unit; None for two classes or without usable rows.
    edges, shares: the histogram of a numeric target, shapes (k + 1,) and (k,); 1 in 200 rows at either end is counted
    in its outermost bar.
    """

    column: str
    rows: int
    missing: int
    positives: int
    rate: float | None
    numeric: bool = False
    alike: bool = False
    positive: str = "1"
    other_values: tuple[str, ...] = ()
    tenth: float | None = None
    median: float | None = None
    nine_tenths: float | None = None
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


class TargetCount:
    """The target's values, counted while blocks of the source go by."""

    def __init__(self, contract: Contract, *, numeric: bool, absent_is_no: bool) -> None:
        """numeric: whether the task predicts a number. absent_is_no: whether silence means no, so none is missing."""
        self._contract = contract
        self._column = contract.only("target")
        self._numeric = numeric
        self._absent_is_no = absent_is_no and not numeric
        self._rows = self._missing = self._positives = 0
        self._others: set[object] = set()
        self._there = False

    def add(self, block: pl.DataFrame) -> None:
        """Count a block's rows as they stand in the source."""
        if self._column is None or self._column.name not in block.columns:
            return
        self._there = True
        values = block[self._column.name]
        if values.dtype.is_float():
            values = values.fill_nan(None)
        self._rows += len(values)
        self._missing += 0 if self._absent_is_no else values.null_count()
        if self._numeric or values.dtype.is_nested():
            return
        hit = is_positive(values, self._contract).fill_null(False)
        self._positives += int(hit.sum())
        if len(self._others) <= _MOST_VALUES:
            self._others |= set(values.filter(~hit).drop_nulls().unique().head(100).to_list())

    def summary(self, usable: Rows | None, labelled: Buckets) -> TargetSummary | None:
        """The counts; the weighted rate of the usable rows, `labelled`; of a numeric target, where those rows lie."""
        if self._column is None or not self._there:
            return None
        known = self._rows - self._missing
        positives, of = self._positives, known
        rate: float | None = positives / known if known and not self._numeric else None
        spread: tuple[float, ...] = ()
        edges: tuple[float, ...] = ()
        shares: tuple[float, ...] = ()
        if usable is not None:
            rate = labelled.rate
            positives, of = labelled.positives, labelled.rows
        alike = of > 0 and positives in (0, of)
        if self._numeric:
            alike = usable is not None and bool(np.ptp(usable.y) == 0)
        if self._numeric and usable is not None:
            spread = tuple(np.quantile(usable.y, (0.1, 0.5, 0.9)).tolist())
            edges, shares = bars(usable.y, usable.weight)
        others = sorted(self._others, key=str)
        tenth, median, nine_tenths = spread or (None, None, None)
        return TargetSummary(
            column=self._column.name,
            rows=self._rows,
            missing=self._missing,
            positives=self._positives,
            rate=rate,
            numeric=self._numeric,
            alike=alike,
            positive=str(1 if self._contract.positive is None else self._contract.positive),
            other_values=tuple(str(value) for value in others[:8]) if len(others) > 1 else (),
            tenth=tenth,
            median=median,
            nine_tenths=nine_tenths,
            edges=edges,
            shares=shares,
        )
