"""Past predictions out of a file, a chapter at a time: held against the contract, each problem with row and column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock
from everloop.data import EVENT_TIME, conform, scan, source_error, utc_times, violations
from everloop.errors import ContractViolation
from everloop.ids import PREDICTION_ID
from everloop.production.history_columns import HistoryColumns
from everloop.project import Model
from everloop.tasks import get_task
from everloop.traffic import OUTCOMES, prediction_rows

__all__ = ["CHAPTER_ROWS", "Chapter", "HistoryReader", "Problem"]

CHAPTER_ROWS: Final = 4 * 65_536
_BLOCK_ROWS: Final = 65_536
_UTC: Final = pl.Datetime("us", "UTC")
_ID: Final = rf"\A{PREDICTION_ID}\z"
_AHEAD: Final = timedelta(days=1)
_FIRST: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_YES: Final = ("1", "true", "t", "yes", "y", "positive")
_NO: Final = ("0", "false", "f", "no", "n", "negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with rows of a column. rows: how many. row: the first, from 1; value: what it holds there."""

    column: str
    what: str
    rows: int
    row: int
    value: Any

    @property
    def sentence(self) -> str:
        """`column 'amount' is infinite in 3 rows, e.g. inf in row 17`."""
        value = self.value.isoformat(" ") if isinstance(self.value, datetime) else repr(self.value)
        shown = "" if self.value is None else f", {value:.60}"
        return f"{self.what} in {self.rows:,} row{'' if self.rows == 1 else 's'}: row {self.row}{shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Rows of a file that keep the contract. number: from 1. first: the place of its first row in the file, from 0.

    places: shape (n,), each row's place in the file. predictions: as the log has them. outcomes: of those rows that
    have one, as the log has them. typed: the contract's columns, to be scored. read: rows of the file, bad ones too.
    """

    number: int
    first: int
    read: int
    places: pl.Series
    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    typed: pl.DataFrame
    problems: tuple[Problem, ...]


def _blocks(source: str, names: Sequence[str], root: Path, rows: int) -> Iterator[pl.DataFrame]:
    lazy, held = scan(source, root=root).select(names), list[pl.DataFrame]()
    try:
        for batch in lazy.collect_batches(chunk_size=min(rows, _BLOCK_ROWS), maintain_order=True):
            held.append(batch)
            while sum(one.height for one in held) >= rows:
                whole = pl.concat(held, how="vertical_relaxed")
                yield whole[:rows]
                held = [whole[rows:]]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise source_error(source, error) from error
    left = pl.concat(held, how="vertical_relaxed") if held else None
    if left is not None and left.height:
        yield left


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryReader:
    """Makes the log's rows of a file's. root: where `source` is seen from. version: whose answers they count as.

    key: what made-up ids begin with. told: the source of its outcomes.
    """

    source: str
    root: Path
    columns: HistoryColumns
    model: Model
    bundle: Bundle
    version: int
    key: str
    told: str
    clock: Clock

    def chapters(self, rows: int = CHAPTER_ROWS) -> Iterator[Chapter]:
        """The file's rows in order, so many at a time.

        Raises SourceError, and ContractViolation where not rows but a column is at fault.
        """
        first = 0
        for number, block in enumerate(_blocks(self.source, self.columns.read, self.root, rows), start=1):
            yield self._chapter(block, number, first, self.clock.now())
            first += block.height

    @property
    def _decides(self) -> bool:
        return get_task(self.bundle.manifest.task).decides

    def _chapter(self, block: pl.DataFrame, number: int, first: int, now: datetime) -> Chapter:
        """The rows of a block that can be used, and what is wrong with the others."""
        contract, names = self.bundle.contract, self.columns.contract
        given = block.select(pl.col(column).alias(name) for name, column in names.items())
        wrong, problems = self._broken(given, first)
        good = (~wrong).arg_true()
        typed = conform(given[good], contract, names=list(names))
        rest = block[good]
        made, further, odd = self._made(rest, typed, good, first, now)
        keep = ~odd
        places = good.filter(keep) + first
        typed, made = typed.filter(keep), made.filter(keep)
        outcomes, late = self._outcomes(rest.filter(keep), typed, made, places, now)
        return Chapter(
            number=number,
            first=first,
            read=block.height,
            places=places,
            predictions=made,
            outcomes=outcomes,
            typed=typed,
            problems=(*problems, *further, *late),
        )

    def _broken(self, given: pl.DataFrame, first: int) -> tuple[pl.Series, list[Problem]]:
        """Which rows break the contract, and how, column by column."""
        contract, names = self.bundle.contract, self.columns.contract
        wrong = pl.Series([False]).new_from_index(0, given.height)
        problems = []
        left, places = given, pl.Series(range(given.height), dtype=pl.Int64)
        while found := violations(left, contract, names=list(names)):
            bad = pl.Series([False]).new_from_index(0, left.height)
            for one in found:
                if not one.places:
                    raise ContractViolation(f"{self.source} breaks the contract: {one.sentence}")
                at = pl.Series(one.places, dtype=pl.Int64)
                bad = bad.scatter(at, True)
                value = left[one.column][one.places[0]]
                column = names[one.column]
                what = one.what.replace(f"{one.column!r}", f"{column!r}", 1)
                row = first + places[one.places[0]] + 1
                problems.append(Problem(column=column, what=what, rows=len(at), row=row, value=value))
            wrong = wrong.scatter(places.filter(bad), True)
            left, places = left.filter(~bad), places.filter(~bad)
        return wrong, problems

    def _made(
        self, rest: pl.DataFrame, typed: pl.DataFrame, good: pl.Series, first: int, now: datetime
    ) -> tuple[pl.DataFrame, list[Problem], pl.Series]:
        """Rows of the log, what is wrong with some of them, and which these are."""
        columns, problems = self.columns, list[Problem]()
        odd = pl.Series([False]).new_from_index(0, rest.height)

        def refuse(bad: pl.Series, column: str, what: str) -> None:
            nonlocal odd
            at = bad.fill_null(True).arg_true()
            if len(at):
                row, value = first + good[at[0]] + 1, rest[column][at[0]] if column in rest.columns else None
                problems.append(
                    Problem(column=column, what=f"column {column!r} {what}", rows=len(at), row=row, value=value)
                )
                odd = odd | bad.fill_null(True)

        ids = self._ids(rest, good, first)
        if columns.id is not None:
            refuse(~ids.str.contains(_ID), columns.id, "must hold 1 to 64 of A-Z a-z 0-9 . _ : -")
        time = columns.contract[self.bundle.contract.only("time").name]  # type: ignore[union-attr]
        times = typed[EVENT_TIME]
        refuse(times.is_null(), time, "holds no time")
        refuse((times < _FIRST).fill_null(False), time, "is before 1970")
        refuse((times > now + _AHEAD).fill_null(False), time, "is yet to come")
        score = self._score(rest, refuse)
        decision = self._decision(rest, score, refuse)
        held = typed.select(pl.exclude(EVENT_TIME, self.model.data.target))
        made = prediction_rows(
            ids=ids,
            event_time=times,
            entity=self._entity(rest, typed),
            score=score,
            decision=decision,
            threshold=columns.threshold,
            version=self.version,
            recorded_at=now,
            inputs=held,
            features=pl.DataFrame(),
        )
        return made, problems, odd

    def _ids(self, rest: pl.DataFrame, good: pl.Series, first: int) -> pl.Series:
        if self.columns.id is not None:
            return rest[self.columns.id].cast(pl.String).alias("prediction_id")
        numbered = pl.DataFrame({"row": good + first + 1})
        return numbered.select(prediction_id=pl.format("{}-{}", pl.lit(self.key), "row")).to_series()

    def _entity(self, rest: pl.DataFrame, typed: pl.DataFrame) -> pl.Series:
        column, name = self.bundle.contract.only("entity"), self.columns.entity
        if column is not None and column.name in typed.columns:
            return typed[column.name].cast(pl.String)
        if name is not None:
            return rest[name].cast(pl.String)
        return pl.Series([None], dtype=pl.String).new_from_index(0, rest.height)

    def _score(self, rest: pl.DataFrame, refuse: Any) -> pl.Series:
        name = self.columns.score
        if not rest[name].dtype.is_numeric():
            raise ContractViolation(f"{self.source}: the score {name!r} holds {rest[name].dtype}; numbers are needed")
        score = rest[name].cast(pl.Float32)
        refuse(~score.is_finite(), name, "is missing or not finite")
        if self._decides:
            refuse(((score < 0) | (score > 1)).fill_null(False), name, "is no score between 0 and 1")
        return score

    def _decision(self, rest: pl.DataFrame, score: pl.Series, refuse: Any) -> pl.Series:
        """Booleans; null where nothing is decided."""
        name = self.columns.decision
        if not self._decides:
            return pl.Series([None], dtype=pl.Boolean).new_from_index(0, rest.height)
        if name is None:
            return score >= np.float32(self.columns.threshold or 0.0)
        found = self._decided(rest[name])
        refuse(found.is_null(), name, f"does not say {self._words()} (--positive VALUE says which value is yes)")
        return found

    def _decided(self, values: pl.Series) -> pl.Series:
        if values.dtype == pl.Boolean:
            return values
        words = values.cast(pl.Int64, strict=False) if values.dtype.is_float() else values
        texts = words.cast(pl.String)
        if self.columns.positive is not None:
            return texts == self.columns.positive
        yes = [*_YES, self.model.positive_label.lower()]
        no = [*_NO, self.model.negative_label.lower()]
        lower = texts.str.to_lowercase().to_frame("said")
        decided = pl.when(pl.col("said").is_in(yes)).then(True).when(pl.col("said").is_in(no)).then(False)
        return lower.select(decided).to_series()

    def _words(self) -> str:
        return f"{self.model.positive_label} or {self.model.negative_label}, 1 or 0"

    def _outcomes(
        self, rest: pl.DataFrame, typed: pl.DataFrame, made: pl.DataFrame, places: pl.Series, now: datetime
    ) -> tuple[pl.DataFrame, list[Problem]]:
        """What turned out to be true, observed when the file says, else when it was due, and at the latest now."""
        target, columns = self.model.data.target, self.columns
        if columns.outcome is None:
            return OUTCOMES.empty, []
        values, due = typed[target], typed[EVENT_TIME] + self.model.outcome.delay
        recorded_at = pl.Series([now], dtype=_UTC).new_from_index(0, len(due))
        due = due.zip_with(due <= now, recorded_at)
        problems = []
        if columns.observed_at is not None:
            seen = utc_times(rest[columns.observed_at], self.bundle.contract)
            ahead = (seen > now).fill_null(False).arg_true()
            if len(ahead):
                problems.append(
                    Problem(
                        column=columns.observed_at,
                        what=f"column {columns.observed_at!r} is yet to come",
                        rows=len(ahead),
                        row=places[ahead[0]] + 1,
                        value=seen[ahead[0]],
                    )
                )
            due = seen.zip_with(seen.is_not_null(), due)
        number = values.cast(pl.Float64) if values.dtype != pl.String else values.cast(pl.Float64, strict=False)
        frame = pl.DataFrame(
            {
                "prediction_id": made["prediction_id"],
                "name": pl.Series([target]).new_from_index(0, len(due)),
                "value": values.cast(pl.String),
                "number": None if values.dtype == pl.String else number,
                "observed_at": due,
                "recorded_at": recorded_at,
                "source": pl.Series([self.told]).new_from_index(0, len(due)),
                "entity": None,
                "event_time": None,
            },
            schema_overrides={"number": pl.Float64, "entity": pl.String, "event_time": _UTC},
        )
        known = values.is_not_null() & (due <= now)
        if values.dtype.is_float():
            known = known & values.is_finite().fill_null(False)
        return frame.filter(known), problems
