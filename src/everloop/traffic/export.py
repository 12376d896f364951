"""The log as one file, in a stream: a slice of event time after the other, each small enough for any machine.

How many rows lie between two seconds is counted first, so that a slice holds no more than some hundred thousand of
them, whether a day has ten rows or fifty million. Outcomes are looked up for a chapter of slices at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.errors import NotFound, StorageFull, TrafficError, UsageError, no_room
from everloop.traffic.log import TrafficLog

__all__ = ["ENDINGS", "Exported", "OutcomesWanted", "export"]

ENDINGS: Final = (".parquet", ".csv", ".ndjson")
_SLICE_ROWS: Final = 100_000
_CHAPTER_ROWS: Final = 500_000
_TRIES: Final = 3
_SECOND: Final = timedelta(seconds=1)
_US: Final = timedelta(microseconds=1)
_TIME: Final = pl.Datetime("us", "UTC")
_OUTCOME: Final[dict[str, Any]] = {
    "outcome": pl.Float64, "outcome_text": pl.String, "outcome_at": _TIME, "matured": pl.Boolean,
}  # fmt: skip
_WRITTEN: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomesWanted:
    """Which outcomes to join: the newest of `target` observed by `as_of`. delay: after which a row has matured."""

    target: str
    as_of: datetime
    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written. first, last: event times, None without rows. known: rows with an outcome; None if not asked."""

    path: str
    rows: int
    first: datetime | None
    last: datetime | None
    known: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "path": self.path,
            "rows": self.rows,
            "first": None if self.first is None else self.first.isoformat(),
            "last": None if self.last is None else self.last.isoformat(),
            "known": self.known,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """The rows of [start, end); of a second that has too many, one part of `parts` by their ids."""

    start: datetime
    end: datetime
    rows: int
    part: int = 0
    parts: int = 1


def export(
    log: TrafficLog,
    target: Path,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    outcomes: OutcomesWanted | None = None,
    force: bool = False,
) -> Exported:
    """Write the predictions with `start ≤ event_time < end` to a file, by event time; an id once a UTC day.

    target: `*.parquet`, `*.csv` or `*.ndjson`; written whole or not at all, and over a file only with `force`.
    outcomes: adds `outcome` (a number), `outcome_text`, `outcome_at`, all null where nothing was known, and `matured`.
    Raises UsageError for such a target, NotFound where there is no row, StorageFull.
    """
    _refuse_place(target, force=force)
    schema = _schema(log, with_outcomes=outcomes is not None)
    counts: dict[str, Any] = {"rows": 0, "first": None, "last": None, "known": None if outcomes is None else 0}
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _write(_counted(_blocks(log, start, end, outcomes), schema, counts), schema, draft, target.suffix.lower())
        if counts["rows"] == 0:
            raise NotFound(f"{log.model} has no traffic in that span; 'everloop traffic show' tells what there is")
        if force:
            draft.replace(target)
        else:
            _put(draft, target)
    except (OSError, pl.exceptions.PolarsError) as error:
        if no_room(error):
            raise StorageFull(f"no room for {target}; free some space there, and export again") from error
        said = " ".join(str(error).split())
        raise TrafficError(f"{target} could not be written: {said:.300}; nothing is left of it") from error
    finally:
        draft.unlink(missing_ok=True)
    return Exported(path=str(target), **counts)


def _put(draft: Path, target: Path) -> None:
    """Take the name, unless somebody took it meanwhile."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise _taken(target) from None


def _taken(target: Path) -> UsageError:
    return UsageError(f"{target} exists and is not overwritten; name another file, or say --force")


def _refuse_place(target: Path, *, force: bool) -> None:
    if target.suffix.lower() not in ENDINGS:
        raise UsageError(f"{target} is of no kind that is written; it ends in {', '.join(ENDINGS)}")
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name the file in it, as in {target / 'traffic.parquet'}")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent} for {target.name}; make it, or name another")
    if target.exists() and not force:
        raise _taken(target)


def _schema(log: TrafficLog, *, with_outcomes: bool) -> pl.Schema:
    columns = dict(log.predictions().collect_schema())
    return pl.Schema(columns | _OUTCOME if with_outcomes else columns)


def _blocks(
    log: TrafficLog, start: datetime | None, end: datetime | None, outcomes: OutcomesWanted | None
) -> Iterator[pl.DataFrame]:
    chapter: list[_Slice] = []
    for one in _slices(log, start, end):
        if outcomes is None:
            yield _read(log, one)
            continue
        chapter.append(one)
        if sum(part.rows for part in chapter) >= _CHAPTER_ROWS:
            yield from _chapter(log, chapter, outcomes)
            chapter = []
    if outcomes is not None:
        yield from _chapter(log, chapter, outcomes)


def _chapter(log: TrafficLog, slices: list[_Slice], wanted: OutcomesWanted) -> Iterator[pl.DataFrame]:
    """The slices with what is known of their rows, for which the outcomes are read once."""
    if not slices:
        return
    ids = pl.concat([_read(log, one, "prediction_id") for one in slices])["prediction_id"]
    within = (slices[0].start, slices[-1].end)
    known = log.known(wanted.as_of, name=wanted.target, ids=ids, within=within).collect(engine="streaming")
    due = wanted.as_of - wanted.delay
    for one in slices:
        frame = _read(log, one).join(known, on="prediction_id", how="left", maintain_order="left")
        yield frame.with_columns(matured=pl.col("event_time") <= due)


def _read(log: TrafficLog, one: _Slice, *columns: str) -> pl.DataFrame:
    """A slice's rows. Files that were rewritten and removed since they were listed are listed anew."""
    for left in range(_TRIES, 0, -1):
        rows = log.predictions(one.start, one.end, part=(one.part, one.parts))
        try:
            return (rows.select(columns) if columns else rows).collect()
        except (FileNotFoundError, pl.exceptions.PolarsError):
            if left == 1:
                raise
    raise AssertionError("the last try raises")


def _slices(log: TrafficLog, start: datetime | None, end: datetime | None) -> Iterator[_Slice]:
    """The span in parts, in order: days together where they have few rows, seconds where a day has many."""
    together: _Slice | None = None
    for day, rows in log.rows_by_day().items():
        begin = _later(datetime.combine(day, time(), tzinfo=UTC), start)
        until = _earlier(datetime.combine(day, time.max, tzinfo=UTC) + _US, end)
        if begin >= until:
            continue
        if together is not None and together.rows + rows > _SLICE_ROWS:
            yield from _split(log, together)
            together = None
        if together is None:
            together = _Slice(start=begin, end=until, rows=rows)
        else:
            together = replace(together, end=until, rows=together.rows + rows)
    if together is not None:
        yield from _split(log, together)


def _later(at: datetime, other: datetime | None) -> datetime:
    return at if other is None else max(at, other)


def _earlier(at: datetime, other: datetime | None) -> datetime:
    return at if other is None else min(at, other)


def _split(log: TrafficLog, whole: _Slice) -> Iterator[_Slice]:
    """A day that has too many rows for one slice, cut at seconds; a second that has too many, by ids."""
    if whole.rows <= _SLICE_ROWS:
        yield whole
        return
    seconds = log.rows_by_second(whole.start, whole.end)
    begin, rows = whole.start, 0
    for second, count in seconds.iter_rows():
        if rows and rows + count > _SLICE_ROWS:
            cut = max(second, whole.start)
            yield _Slice(start=begin, end=cut, rows=rows)
            begin, rows = cut, 0
        rows += count
        if rows > _SLICE_ROWS:
            parts = -(-rows // _SLICE_ROWS)
            cut = min(second + _SECOND, whole.end)
            for part in range(parts):
                yield _Slice(start=begin, end=cut, rows=rows // parts, part=part, parts=parts)
            begin, rows = cut, 0
    if rows:
        yield _Slice(start=begin, end=whole.end, rows=rows)


def _counted(blocks: Iterator[pl.DataFrame], schema: pl.Schema, counts: dict[str, Any]) -> Iterator[pl.DataFrame]:
    for block in blocks:
        if block.height == 0:
            continue
        counts["rows"] += block.height
        low, high = block["event_time"].min(), block["event_time"].max()
        counts["first"] = low if counts["first"] is None else min(counts["first"], low)
        counts["last"] = high if counts["last"] is None else max(counts["last"], high)
        if counts["known"] is not None:
            counts["known"] += block.height - block["outcome_text"].null_count()
        # a column that somebody's new contract brought while this goes on stays out
        yield block.match_to_schema(schema, extra_columns="ignore", missing_columns="insert")


def _write(blocks: Iterator[pl.DataFrame], schema: pl.Schema, path: Path, ending: str) -> None:
    from polars.io.plugins import register_io_source

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        for block in blocks:
            yield block if with_columns is None else block.select(with_columns)

    rows = register_io_source(source, schema=schema)
    if ending == ".parquet":
        rows.sink_parquet(path, compression="zstd", compression_level=1, maintain_order=True)
    elif ending == ".csv":
        _as_text(rows, schema, lists=True).sink_csv(path, maintain_order=True)
    else:
        _as_text(rows, schema, lists=False).sink_ndjson(path, maintain_order=True)


def _as_text(rows: pl.LazyFrame, schema: pl.Schema, *, lists: bool) -> pl.LazyFrame:
    """Times as ISO 8601; lists as JSON, for a format that knows none."""
    times = [pl.col(name).dt.strftime(_WRITTEN) for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]
    rows = rows.with_columns(times)
    if not lists:
        return rows
    one = pl.element().struct.json_encode()
    held = [
        pl.format("[{}]", pl.col(name).list.eval(one).list.join(","))
        for name, dtype in schema.items()
        if isinstance(dtype, pl.List)
    ]
    return rows.with_columns(held)
