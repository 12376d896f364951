"""The source read for exploring: at once where it is small, else block by block with a seeded sample kept of it.

What is counted (rows, missing values, violations, volume and target over time) is counted over every row in both ways.
What is looked at closely (associations, distributions, importances) is looked at in `Survey.frame`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from everloop.data import EVENT_TIME, Contract, Rows, Violation, collect, conform, rows_of, source_error, violations
from everloop.errors import DataError, NotEnoughData
from everloop.experiment.columns import ColumnSummary, column_summaries
from everloop.experiment.overtime import Buckets, Span
from everloop.experiment.target import TargetCount, TargetSummary
from everloop.project import Model
from everloop.tasks import get_task

__all__ = ["BLOCK_ROWS", "MEMORY_BYTES", "SAMPLE_ROWS", "Survey", "read_once", "survey"]

MEMORY_BYTES: Final = 1_000_000_000
"""A source that would take more than this as a frame is read in a stream."""

SAMPLE_ROWS: Final = 200_000
"""Rows of a streamed source that are looked at closely."""

BLOCK_ROWS: Final = 200_000
_TEXT_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survey:
    """A source, read.

    rows: of the source. frame: its rows in the file's order, or a sample of them where `streamed`.
    usable: the rows of `frame` as a search would see them, None where it could not; problems: why, a sentence each.
    buckets: the usable rows of the whole source over time; without usable rows, of all that have a time; None without.
    duplicates: rows equal to an earlier one but for their id; repeated_ids: rows whose id an earlier row has; both are
    estimates where `streamed`. backward: rows whose time is before that of the row above.
    """

    rows: int
    contract: Contract
    columns: tuple[ColumnSummary, ...]
    frame: pl.DataFrame
    streamed: bool
    usable: Rows | None
    problems: tuple[str, ...]
    buckets: Buckets | None
    target: TargetSummary | None
    span: Span | None
    time_missing: int
    backward: int
    unmatured: int
    blocked: int
    duplicates: int
    repeated_ids: int


def survey(
    lazy: pl.LazyFrame,
    model: Model,
    contract: Contract,
    *,
    as_of: datetime,
    seed: int = 0,
    memory_bytes: int = MEMORY_BYTES,
    sample_rows: int = SAMPLE_ROWS,
    block_rows: int = BLOCK_ROWS,
) -> Survey:
    """Read the source of `model`. Raises SourceError where a file turns out to be broken."""
    source = model.data.source
    rows, streamed = _size(lazy, source, memory_bytes)
    roles = {column.name: column.role for column in contract.columns}
    gathered = _Gathering(model, contract, as_of=as_of, keep=min(1.0, sample_rows / max(rows, 1)) if streamed else 1.0)
    if streamed:
        for block in _blocks(lazy, source, block_rows):
            gathered.add(block, seed=seed)
        columns = column_summaries(lazy, rows=rows, roles=roles, medians=gathered.frame)
    else:
        gathered.add(collect(lazy, source), seed=seed)
        columns = column_summaries(gathered.frame.lazy(), rows=rows, roles=roles)
    whole = lazy if streamed else gathered.frame.lazy()
    return gathered.survey(
        rows=rows,
        columns=columns,
        streamed=streamed,
        duplicates=_duplicates(whole, contract, rows=rows, sampled=streamed),
        repeated_ids=_repeated_ids(whole, contract, rows=rows, sampled=streamed),
    )


def read_once(lazy: pl.LazyFrame, source: str, *, memory_bytes: int = MEMORY_BYTES) -> pl.LazyFrame:
    """The rows in memory, where they fit; a source that is larger stays what it is, to be read in a stream.

    Raises SourceError where a file turns out to be broken.
    """
    _, streamed = _size(lazy, source, memory_bytes)
    return lazy if streamed else collect(lazy, source).lazy()


def _size(lazy: pl.LazyFrame, source: str, memory_bytes: int) -> tuple[int, bool]:
    """How many rows there are, and whether they would be larger than `memory_bytes` as a frame."""
    rows = int(collect(lazy.select(pl.len()), source).item())
    kinds = lazy.collect_schema().values()
    row_bytes = sum(8 if dtype.is_numeric() or dtype.is_temporal() else _TEXT_BYTES for dtype in kinds)
    return rows, rows * row_bytes > memory_bytes


def _blocks(lazy: pl.LazyFrame, source: str, block_rows: int) -> Iterator[pl.DataFrame]:
    try:
        yield from lazy.collect_batches(chunk_size=block_rows, maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise source_error(source, error) from error


class _Gathering:
    """What is kept of the blocks while they go by."""

    def __init__(self, model: Model, contract: Contract, *, as_of: datetime, keep: float) -> None:
        self._model, self._contract, self._as_of, self._keep = model, contract, as_of, keep
        self._time = contract.only("time")
        self._seen = 0
        self._broken: dict[str, tuple[Violation, int]] = {}
        self._kept: list[pl.DataFrame] = []
        self._usable: Rows | None = None
        self._labelled = Buckets.none(numeric=_is_numeric(model))
        self._timed = Buckets.none(numeric=_is_numeric(model))
        self._target = TargetCount(contract, numeric=_is_numeric(model), absent_is_no=_absent_is_no(model))
        self._reason: str | None = None
        self._time_missing = self._backward = self._unmatured = self._blocked = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._above: datetime | None = None

    @property
    def frame(self) -> pl.DataFrame:
        """The rows that are kept, in the file's order."""
        return pl.concat(self._kept) if len(self._kept) != 1 else self._kept[0]

    def add(self, block: pl.DataFrame, *, seed: int) -> None:
        """Count the block, and keep its part of the sample."""
        broken = violations(block, self._contract)
        for one in broken:
            first, rows = self._broken.get(one.column, (one, 0))
            self._broken[one.column] = (first, rows + one.rows)
        self._target.add(block)
        times = self._times(block, broken)
        if times is not None:
            self._timed = self._timed + Buckets.of(times, None, weight=np.ones(len(times)))
        if self._usable_so_far and block.height:
            self._label(block)
        self._kept.append(
            block if self._keep >= 1 else block.filter(_drawn(self._seen, block.height, self._keep, seed))
        )
        self._seen += block.height

    @property
    def _usable_so_far(self) -> bool:
        """Whether rows may be learned from: none broke the contract, or a gate says how many may."""
        return not self._broken or (self._model.tolerates_violations and "" not in self._broken)

    def _times(self, block: pl.DataFrame, broken: list[Violation]) -> pl.Series | None:
        """The block's event times that are there; None where the column cannot be read."""
        if self._time is None or any(one.column == self._time.name for one in broken):
            return None
        times = conform(block, self._contract, names=(self._time.name,))[EVENT_TIME]
        known = times.drop_nulls()
        self._time_missing += times.null_count()
        if known.is_empty():
            return known
        self._backward += int((known.diff() < timedelta(0)).sum())
        self._backward += int(self._above is not None and known[0] < self._above)
        self._above = known[-1]
        low, high = known.min(), known.max()
        assert isinstance(low, datetime)
        assert isinstance(high, datetime)
        self._first = low if self._first is None else min(self._first, low)
        self._last = high if self._last is None else max(self._last, high)
        self._unmatured += int((known > self._as_of - self._model.outcome.delay).sum())
        return known

    def _label(self, block: pl.DataFrame) -> None:
        """The block's rows as a search would see them, counted over time."""
        source = self._model.data.source
        try:
            rows = rows_of(block, self._model, self._contract, source=source, as_of=self._as_of, both_classes=False)
        except NotEnoughData as error:
            self._reason = str(error)
            return
        except DataError as error:
            self._broken[""] = (Violation(column="", rows=block.height, sentence=str(error).rstrip(".")), block.height)
            return
        self._blocked += rows.left_out.get("blocked", 0)
        self._usable = rows if self._keep >= 1 else None
        counted = Buckets.of(rows.frame[EVENT_TIME], rows.y, weight=rows.weight, numeric=_is_numeric(self._model))
        self._labelled = self._labelled + counted

    def _sampled(self) -> Rows | None:
        """The kept rows as a search would see them; None where there are none."""
        if not self._usable_so_far or self._labelled.rows == 0:
            return None
        if self._usable is not None:
            return self._usable
        source = self._model.data.source
        return rows_of(self.frame, self._model, self._contract, source=source, as_of=self._as_of, both_classes=False)

    def survey(
        self, *, rows: int, columns: tuple[ColumnSummary, ...], streamed: bool, duplicates: int, repeated_ids: int
    ) -> Survey:
        """What was gathered."""
        problems = tuple(_told(first, count) for first, count in self._broken.values())
        if not problems and self._labelled.rows == 0 and self._reason is not None:
            problems = (self._reason,)
        usable = self._sampled()
        buckets = self._labelled if usable is not None else self._timed if self._timed.rows else None
        return Survey(
            rows=rows,
            contract=self._contract,
            columns=columns,
            frame=self.frame,
            streamed=streamed,
            usable=usable,
            problems=problems,
            buckets=buckets,
            target=self._target.summary(usable, self._labelled),
            span=None if self._first is None or self._last is None else Span(start=self._first, end=self._last),
            time_missing=self._time_missing,
            backward=self._backward,
            unmatured=self._unmatured,
            blocked=self._blocked,
            duplicates=duplicates,
            repeated_ids=repeated_ids,
        )


def _is_numeric(model: Model) -> bool:
    return not get_task(model.task).decides


def _absent_is_no(model: Model) -> bool:
    return model.outcome.absent == "negative"


def _told(first: Violation, rows: int) -> str:
    """The first block's sentence; with how many rows there are in all where other blocks have some too."""
    more = "" if rows == first.rows else f" ({rows:,} rows in all)"
    return f"{first.sentence}{more}."


def _drawn(start: int, rows: int, keep: float, seed: int) -> pl.Series:
    """Which of the rows from place `start` on are in the sample: by their place alone, however the file is cut."""
    places = np.arange(start, start + rows, dtype=np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    # splitmix64: neighbouring places get unrelated numbers
    with np.errstate(over="ignore"):
        x = places + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return pl.Series((x >> np.uint64(11)).astype(np.float64) * 2.0**-53 < keep)


def _hashable(schema: pl.Schema) -> list[str]:
    return [name for name, dtype in schema.items() if not dtype.is_nested() and dtype != pl.Object]


_HASHES: Final = 2_000_000


def _repeats(hashes: pl.LazyFrame, *, rows: int, sampled: bool) -> int:
    """How many values of the only column `h` stood there before; of very many, from those that share a remainder."""
    parts = max(1, rows // _HASHES) if sampled else 1
    if parts > 1:
        hashes = hashes.filter(pl.col("h") % parts == 0)
    counted = hashes.select(pl.len().alias("rows"), pl.col("h").n_unique().alias("distinct"))
    found = counted.collect(engine="streaming")
    return parts * (int(found["rows"][0]) - int(found["distinct"][0]))


def _duplicates(whole: pl.LazyFrame, contract: Contract, *, rows: int, sampled: bool) -> int:
    """Rows that equal an earlier one in every column but the id."""
    identity = contract.only("id")
    names = [name for name in _hashable(whole.collect_schema()) if identity is None or name != identity.name]
    if not names or not rows:
        return 0
    return _repeats(whole.select(pl.struct(names).hash(seed=1).alias("h")), rows=rows, sampled=sampled)


def _repeated_ids(whole: pl.LazyFrame, contract: Contract, *, rows: int, sampled: bool) -> int:
    identity = contract.only("id")
    if identity is None or identity.name not in whole.collect_schema() or not rows:
        return 0
    return _repeats(
        whole.select(pl.col(identity.name).drop_nulls().hash(seed=1).alias("h")), rows=rows, sampled=sampled
    )
