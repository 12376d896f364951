"""The target in numbers, counted block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from everloop.data import Contract, Rows
from everloop.experiment.overtime import Buckets

__all__ = ["TargetCount", "TargetSummary"]

_MOST_VALUES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSummary:
    """The target: counted rows and the weighted rate; of a numeric one the weighted mean and its spread.

    missing: rows without an outcome; positives: counted, 0 of a numeric target.
    rate: weighted share of positives, in [0, 1]; of a numeric target its weighted mean, in its own unit.
    positive: the value that means yes; other_values: a few of the others, where there are more than one.
    tenth, median, nine_tenths: of a numeric target, in its own unit; None for two classes.
    """

    column: str
    rows: int
    missing: int
    positives: int
    rate: float
    positive: str = "1"
    other_values: tuple[str, ...] = ()
    tenth: float | None = None
    median: float | None = None
    nine_tenths: float | None = None

    @property
    def numeric(self) -> bool:
        """Whether the target is a number to be met, not a yes or no."""
        return self.median is not None


class TargetCount:
    """The target's values, counted while blocks of the source go by."""

    def __init__(self, contract: Contract, *, numeric: bool) -> None:
        """numeric: whether the task predicts a number."""
        self._column = contract.only("target")
        self._positive = 1 if contract.positive is None else contract.positive
        self._numeric = numeric
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
        self._missing += values.null_count()
        if self._numeric:
            return
        positive = self._positive
        hit = values.cast(pl.String) == str(positive) if isinstance(positive, str) else values == positive
        self._positives += int(hit.fill_null(False).sum())
        if len(self._others) <= _MOST_VALUES:
            self._others |= {value for value in values.unique().drop_nulls().head(100).to_list() if value != positive}

    def summary(self, usable: Rows | None, buckets: Buckets) -> TargetSummary | None:
        """The counts, the weighted rate over `buckets` and, of a numeric target, where the usable rows lie."""
        if self._column is None or not self._there:
            return None
        known = self._rows - self._missing
        rate = self._positives / known if known else 0.0
        if buckets.rows:
            rate = buckets.rate
        tenth = median = nine_tenths = None
        if self._numeric:
            values = np.zeros(1) if usable is None else usable.y
            tenth, median, nine_tenths = (float(value) for value in np.quantile(values, (0.1, 0.5, 0.9)))
        others = sorted(self._others, key=str)
        return TargetSummary(
            column=self._column.name,
            rows=self._rows,
            missing=self._missing,
            positives=self._positives,
            rate=rate,
            positive=str(self._positive),
            other_values=tuple(str(value) for value in others[:8]) if len(others) > 1 else (),
            tenth=tenth,
            median=median,
            nine_tenths=nine_tenths,
        )
