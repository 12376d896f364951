"""The traffic log of one model: what was answered, what turned out to be true, and what was known when.

Reading a window opens only the files that can hold rows of it. Frames come sorted by event time and prediction id, so
that whatever is computed from them does not depend on how the rows were moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import polars as pl

from everloop.clock import from_us, to_us
from everloop.traffic.delta import DataFile, DeltaLog
from everloop.traffic.imported import IMPORTED
from everloop.traffic.place import TrafficRoot
from everloop.traffic.tables import OUTCOMES, PREDICTIONS, open_table
from everloop.traffic.told import Span, ToldByEntity, with_ids, without_keys

__all__ = ["Absent", "AnsweredRows", "TrafficLog", "known_rows"]

Absent = Literal["negative", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRows:
    """How many rows a version answered under a revision of the routing."""

    version: int
    revision: int
    rows: int


class TrafficLog:
    """Predictions and outcomes of one model, read as they stand at each call."""

    def __init__(self, root: TrafficRoot, model: str) -> None:
        self.model = model
        self._predictions = open_table(root, model, PREDICTIONS)
        self._outcomes = open_table(root, model, OUTCOMES)
        self._by_entity = ToldByEntity(self._outcomes)

    def predictions(
        self, start: datetime | None = None, end: datetime | None = None, *, part: tuple[int, int] = (0, 1)
    ) -> pl.LazyFrame:
        """The predictions with `start ≤ event_time < end`, each id once, sorted by event time and id.

        part: the n-th (from 0) of so many parts that the ids are dealt into, where all are too many to be read at once.
        """
        rows = _window(self._predictions, start, end)
        if part[1] > 1:
            rows = rows.filter(pl.col("prediction_id").hash() % part[1] == part[0])
        return rows.sort("event_time", "prediction_id", "recorded_at").unique(
            "prediction_id", keep="first", maintain_order=True
        )

    def recorded_ids(self, ids: pl.Series, *, start: datetime, end: datetime) -> pl.Series:
        """Those of the ids whose prediction is here with `start ≤ event_time < end`; one that is there twice, twice.

        Unlike `predictions` it keeps no more in memory than it gives, however many rows the window has.
        """
        rows = _window(self._predictions, start, end).select("prediction_id")
        return rows.filter(pl.col("prediction_id").is_in(ids.implode())).collect()["prediction_id"]

    def outcomes(
        self,
        as_of: datetime | None = None,
        *,
        name: str | None = None,
        ids: pl.Series | None = None,
        within: Span = (None, None),
    ) -> pl.LazyFrame:
        """Every outcome known at `as_of` (`observed_at ≤ as_of`), corrections included, repeats dropped.

        One that was told by entity and event time is there once for each prediction of that entity at that time that
        the log has by now, under its id, and not before. ids: of these predictions alone. within: of predictions with
        such an event time at least, `[start, end)`; it spares looking for others.
        Sorted by prediction id, name, observed_at, recorded_at; a row that says what the one before said of the same
        thing is a repeat. Of several values with both times equal, the last in the order of their text is the newest.
        """
        end = None if as_of is None else as_of + timedelta(microseconds=1)
        rows = _window(self._outcomes, None, end)
        if name is not None:
            rows = rows.filter(pl.col("name") == name)
        rows = self._under_ids(rows, within)
        if ids is not None:
            rows = rows.join(ids.alias("prediction_id").to_frame().lazy(), on="prediction_id", how="semi")
        thing = ["prediction_id", "name"]
        first = pl.struct(thing).ne_missing(pl.struct(thing).shift())
        changed = pl.col("value").ne_missing(pl.col("value").shift())
        return rows.sort(*thing, "observed_at", "recorded_at", "value", nulls_last=False).filter(first | changed)

    def _under_ids(self, rows: pl.LazyFrame, within: Span) -> pl.LazyFrame:
        """Outcomes under the ids of the predictions that they are of."""
        told = self._by_entity.span(rows)
        if told is None:
            return without_keys(rows)
        start = told[0] if within[0] is None else max(told[0], within[0])
        end = told[1] if within[1] is None else min(told[1], within[1])
        return with_ids(rows, _window(self._predictions, start, end))

    def known(
        self, as_of: datetime, *, name: str, ids: pl.Series | None = None, within: Span = (None, None)
    ) -> pl.LazyFrame:
        """What is known of `name` at `as_of`: `prediction_id, outcome, outcome_text, outcome_at`, one row per id.

        The newest `observed_at ≤ as_of` wins; what was withdrawn (a null) is not known. ids, within: as of `outcomes`.
        """
        told = self.outcomes(as_of, name=name, ids=ids, within=within)
        newest = told.unique("prediction_id", keep="last", maintain_order=True)
        return newest.filter(pl.col("value").is_not_null()).select(
            "prediction_id",
            outcome="number",
            outcome_text="value",
            outcome_at="observed_at",
        )

    def labelled(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        as_of: datetime,
        delay: timedelta,
        absent: Absent,
        target: str,
    ) -> pl.LazyFrame:
        """The matured cohort of a window with its outcomes as known at `as_of`.

        The columns of `predictions`, with `outcome` (a number; 0 for silence where absence means negative),
        `outcome_text` and `outcome_at` (null for silence). A row is in it when `event_time + delay ≤ as_of`, positives
        and silence alike; where absence means unknown, silent rows are left out.
        """
        due = as_of - delay + timedelta(microseconds=1)
        until = due if end is None else min(end, due)
        rows = self.predictions(start, until)
        known = self.known(as_of, name=target, within=(start, until))
        if absent == "unknown":
            return rows.join(known, on="prediction_id", how="inner", maintain_order="left")
        silent = pl.col("outcome_text").is_null()
        return rows.join(known, on="prediction_id", how="left", maintain_order="left").with_columns(
            outcome=pl.when(silent).then(0.0).otherwise("outcome")
        )

    def last_recorded(self) -> datetime | None:
        """When the newest prediction or outcome of the log was recorded."""
        newest = [
            log.scan(list(log.files.values())).select(pl.col("recorded_at").max()).collect().item()
            for log in (_fresh(self._predictions), _fresh(self._outcomes))
        ]
        return max((at for at in newest if at is not None), default=None)

    def span(self, as_of: datetime) -> tuple[datetime, datetime] | None:
        """The first and the last event time up to `as_of`, to the millisecond; None where there is none.

        Rows dated ahead of `as_of` are no traffic yet: one caller's wrong clock tells nobody the time.
        """
        log, as_of_us = _fresh(self._predictions), to_us(as_of)
        low, high, straddling = [], [], []
        for file in log.files.values():
            if file.min_us is None or file.max_us is None or file.min_us > as_of_us:
                continue
            low.append(file.min_us)
            if file.max_us <= as_of_us:
                high.append(file.max_us)
            else:
                straddling.append(file)
        if straddling:
            rows = log.scan(straddling).filter(pl.col(log.time) <= as_of)
            last = rows.select(pl.col(log.time).max()).collect().item()
            high += [] if last is None else [to_us(last)]
        return (from_us(min(low)), from_us(max(high))) if high else None

    def first_recorded(self, start: datetime, end: datetime) -> datetime | None:
        """When the first prediction with `start ≤ event_time < end` was recorded."""
        first: datetime | None = (
            _window(self._predictions, start, end).select(pl.col("recorded_at").min()).collect().item()
        )
        return first

    def answered(self, spans: Sequence[tuple[datetime, datetime | None]]) -> list[list[AnsweredRows]]:
        """Who answered the rows that were recorded in each span [start, end), each id once, by version and revision.

        Rows that another system answered, and that were imported, are none of them.

        spans: oldest first, none overlapping another; an end of None is open. It is the time of the answer that counts
        and not that of the event, so every file is opened, and of it three columns.
        """
        starts = pl.DataFrame({"at": [start for start, _ in spans]}, schema={"at": pl.Datetime("us", "UTC")})
        starts = starts.with_row_index("span").set_sorted("at")
        columns = ("prediction_id", "recorded_at", "answered_version", "routing_revision")
        ours = pl.col("side").ne_missing(IMPORTED)
        rows = _window(self._predictions, None, None).filter(ours).select(columns).sort("recorded_at")
        placed = rows.unique("prediction_id", keep="first", maintain_order=True).join_asof(
            starts.lazy(), left_on="recorded_at", right_on="at", strategy="backward"
        )
        ends = pl.Series([end for _, end in spans], dtype=pl.Datetime("us", "UTC"))
        by = ("span", "answered_version", "routing_revision")
        counted = (
            placed.drop_nulls("span")
            .join(starts.lazy().select("span", end=ends), on="span")
            .filter(pl.col("end").is_null() | (pl.col("recorded_at") < pl.col("end")))
            .group_by(by)
            .agg(rows=pl.len())
            .sort(by)
            .collect()
        )
        found: list[list[AnsweredRows]] = [[] for _ in spans]
        for span, version, revision, count in counted.rows():
            if version is not None:
                found[span].append(AnsweredRows(version=version, revision=revision or 0, rows=count))
        return found

    def days(self) -> list[date]:
        """The UTC days on which predictions happened, oldest first, from the table's own books."""
        return sorted({file.day for file in _fresh(self._predictions).files.values()})

    def rows_by_day(self) -> dict[date, int]:
        """How many predictions happened on each UTC day, repeats included, oldest first, from the table's own books."""
        found: dict[date, int] = {}
        for file in sorted(_fresh(self._predictions).files.values(), key=lambda one: one.day):
            found[file.day] = found.get(file.day, 0) + file.rows
        return found

    def rows_by_second(self, start: datetime, end: datetime) -> pl.DataFrame:
        """`second, rows` of the predictions with `start ≤ event_time < end`, repeats included, in order."""
        second = pl.col("event_time").dt.truncate("1s").alias("second")
        counted = _window(self._predictions, start, end).group_by(second).agg(rows=pl.len())
        return counted.collect(engine="streaming").sort("second")

    def count(self) -> tuple[int, int]:
        """Rows of predictions and of outcomes, repeats included, from the tables' own books."""
        return _rows(self._predictions), _rows(self._outcomes)

    @property
    def version(self) -> tuple[int, int]:
        """The versions of the two tables; equal versions hold equal rows."""
        return _fresh(self._predictions).version, _fresh(self._outcomes).version


def known_rows(
    log: TrafficLog,
    *,
    as_of: datetime,
    delay: timedelta,
    absent: Absent,
    target: str,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.LazyFrame:
    """Traffic as rows to train on: inputs under their contract names, `target`, `event_time`, `prediction_id`.

    Nothing is in it that was not known at `as_of`: matured rows alone, with the outcome known then, as a number (a
    truth is 0 or 1); `TARGET__text` holds what was said, null for silence. `event_time` is the log's, UTC; an input of
    that name stays out. `entity` comes along as `__entity`.
    """
    rows = log.labelled(start, end, as_of=as_of, delay=delay, absent=absent, target=target)
    taken = {"prediction_id", "event_time", target, f"{target}__text", "__entity"}
    inputs = [
        pl.col(name).alias(plain)
        for name in rows.collect_schema()
        if name.startswith("in_") and (plain := name.removeprefix("in_")) not in taken
    ]
    return rows.select(
        "prediction_id",
        "event_time",
        *inputs,
        pl.col("outcome").alias(target),
        pl.col("outcome_text").alias(f"{target}__text"),
        pl.col("entity").alias("__entity"),
    )


def _fresh(log: DeltaLog) -> DeltaLog:
    log.refresh()
    return log


def _rows(log: DeltaLog) -> int:
    return sum(file.rows for file in _fresh(log).files.values())


def _window(log: DeltaLog, start: datetime | None, end: datetime | None) -> pl.LazyFrame:
    _fresh(log)
    start_us, end_us = (None if at is None else to_us(at) for at in (start, end))
    files: list[DataFile] = [file for file in log.files.values() if file.overlaps(start_us, end_us)]
    rows = log.scan(files)
    if start is not None:
        rows = rows.filter(pl.col(log.time) >= start)
    if end is not None:
        rows = rows.filter(pl.col(log.time) < end)
    return rows
