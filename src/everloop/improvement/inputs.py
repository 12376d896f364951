"""Inputs examined, where outcomes are not known yet: which columns moved, how, since when, in which segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.data import EVENT_TIME, SCORE, Baseline, profiled_frame
from everloop.improvement.change import Change, mean_change
from everloop.improvement.drift import Drifted, distances_by_day, drifted_columns
from everloop.traffic import TrafficLog

__all__ = ["InputsExamined", "examine_inputs", "live_rows", "profiled_rows"]

_SEGMENT_TIMES: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsExamined:
    """drifted: the columns that moved. change: since when the first of them did. by_day: `day`, `distance` of it.

    segment: where it moved most, a sentence, or None.
    """

    drifted: tuple[Drifted, ...]
    change: Change | None
    by_day: pl.DataFrame
    segment: str | None


def live_rows(log: TrafficLog, bundle: Bundle, *, start: datetime, as_of: datetime, most: int) -> pl.DataFrame:
    """Traffic from `start` on that was recorded by `as_of`, under the baseline's column names, in order of time.

    most: of more rows every n-th is taken.
    """
    lazy = log.predictions(start, as_of).filter(pl.col("recorded_at") <= as_of)
    names = lazy.collect_schema().names()
    raw = {column.name: f"in_{column.name}" for column in bundle.contract.columns if f"in_{column.name}" in names}
    made = {name: f"f_{name}" for name in bundle.features.names if name not in raw and f"f_{name}" in names}
    wanted = [pl.col(found).alias(name) for name, found in (raw | made).items() if name != EVENT_TIME]
    frame = lazy.select(EVENT_TIME, *wanted, pl.col("score").alias(SCORE)).collect()
    return frame.gather_every(-(-frame.height // most)) if frame.height > most else frame


def profiled_rows(known: pl.DataFrame, bundle: Bundle, *, most: int) -> pl.DataFrame:
    """Known rows as the baseline watches them; of more than `most` every n-th."""
    rows = known.gather_every(-(-known.height // most)) if known.height > most else known
    scores = bundle.score_frame(rows)
    return profiled_frame(rows, bundle.contract, bundle.features, scores.features, scores.score)


def examine_inputs(
    baseline: Baseline, rows: pl.DataFrame, *, begin: datetime, segments: Sequence[str] = ()
) -> InputsExamined:
    """What moved in the rows from `begin` on, against the baseline; since when is asked of all rows given.

    rows: `event_time` in order, and the baseline's columns. begin: the start of the alert's window.
    """
    recent = rows.filter(pl.col(EVENT_TIME) >= begin)
    drifted = tuple(drifted_columns(baseline, recent)) if recent.height else ()
    if not drifted:
        empty = pl.DataFrame(schema={"day": pl.Datetime("us", "UTC"), "distance": pl.Float64})
        return InputsExamined(drifted=(), change=None, by_day=empty, segment=None)
    first = drifted[0].column
    day = rows[EVENT_TIME].dt.truncate("1d")
    by_day = pl.DataFrame({"day": day.unique(maintain_order=True), "distance": _by_day(baseline, first, rows, day)})
    change = mean_change(by_day["day"].to_list(), by_day["distance"].to_numpy())
    segment = _where(baseline, first, drifted[0].distance, recent, [name for name in segments if name in rows.columns])
    return InputsExamined(drifted=drifted, change=change, by_day=by_day, segment=segment)


def _by_day(baseline: Baseline, name: str, rows: pl.DataFrame, day: pl.Series) -> list[float]:
    return distances_by_day(baseline, name, rows, day)


def _where(baseline: Baseline, name: str, overall: float, recent: pl.DataFrame, segments: Sequence[str]) -> str | None:
    """The segment in which the column moved clearly more than over all."""
    best: tuple[float, str] | None = None
    for segment in segments:
        if segment == name:
            continue
        for part in recent.partition_by(segment):
            value = part[segment][0]
            whole = pl.Series("__one", np.zeros(part.height, dtype=np.int8))
            distance = distances_by_day(baseline, name, part, whole)[0]
            if distance > _SEGMENT_TIMES * overall and (best is None or distance > best[0]):
                best = (distance, f"most of all where {segment} is {value}: {part.height:,} rows")
    return None if best is None else best[1]
