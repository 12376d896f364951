"""The rows an investigation compares: all that was known, as the champion scores it, errors marked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.data import EVENT_TIME, SCORE, TARGET, WEIGHT, FeatureTree, fit_sample
from everloop.errors import NotEnoughData

__all__ = ["FLAGGED", "Compared", "compared_rows", "daily", "matured", "with_features"]

FLAGGED: Final = "__flagged"
OUTCOME: Final = "__outcome"
_DAY_US: Final = 86_400_000_000
_MARKS: Final = (EVENT_TIME, TARGET, WEIGHT, SCORE, FLAGGED, OUTCOME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """frame: raw columns and features that may tell a pattern, `event_time`, `__target`, `__weight`, `__score`,
    `__flagged`; every positive row is in it, and of the others as many as there is time for, weighted up.

    Of a regression `__target` is 1 where the champion is far off, `__outcome` is what turned out to be true, nothing is
    flagged, and the rows are a sample of all alike.
    columns: what a rule may speak of, raw columns first.
    """

    frame: pl.DataFrame
    columns: tuple[str, ...]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Compared:
        """The rows of a frame that was written by an investigation."""
        return cls(frame=frame, columns=tuple(name for name in frame.columns if name not in _MARKS))

    @property
    def positive(self) -> np.ndarray:
        """Which rows are positive: bool, shape (rows,)."""
        return np.asarray(self.frame[TARGET].to_numpy() > 0.5)

    @property
    def flagged(self) -> np.ndarray:
        """Which rows the champion calls positive: bool, shape (rows,)."""
        return self.frame[FLAGGED].to_numpy()

    @property
    def missed(self) -> np.ndarray:
        """Which positives the champion does not call so: bool, shape (rows,)."""
        return np.asarray(self.positive & ~self.flagged)

    @property
    def outcome(self) -> np.ndarray:
        """What turned out to be true, of a regression: Float64, shape (rows,)."""
        return self.frame[OUTCOME].to_numpy()

    @property
    def score(self) -> np.ndarray:
        """What the champion said: Float32, shape (rows,)."""
        return self.frame[SCORE].to_numpy()

    @property
    def false_alarms(self) -> np.ndarray:
        """Which rows the champion wrongly calls positive: bool, shape (rows,)."""
        return np.asarray(~self.positive & self.flagged)

    @property
    def weight(self) -> np.ndarray:
        """How many rows each stands for: Float64, shape (rows,)."""
        return self.frame[WEIGHT].to_numpy()

    def since(self, at: datetime) -> np.ndarray:
        """Which rows are not older than `at`: bool, shape (rows,)."""
        return (self.frame[EVENT_TIME] >= at).to_numpy()


def matured(frame: pl.DataFrame, *, as_of: datetime, delay: timedelta) -> pl.DataFrame:
    """The rows whose outcome was due at `as_of`. Raises NotEnoughData where there is none."""
    rows = frame.filter(pl.col(EVENT_TIME) <= as_of - delay)
    if rows.height == 0:
        raise NotEnoughData(f"no row had its outcome by {as_of:%Y-%m-%d %H:%M}; there is nothing to investigate yet")
    return rows


def compared_rows(
    known: pl.DataFrame, bundle: Bundle, *, most: int, seed: int = 0, far_off: float | None = None
) -> Compared:
    """The known rows scored by a bundle.

    known: as `data.Rows.frame`, matured. most: all positives are kept, and others up to so many rows in all.
    far_off: of a regression, the error above which a row counts as one that went wrong.
    """
    numeric = far_off is not None
    sample = fit_sample(known[TARGET].to_numpy(), known[WEIGHT].to_numpy(), most=most, seed=seed, numeric=numeric)
    rows = known if len(sample.rows) == known.height else known[sample.rows]
    scores = bundle.score_frame(rows)
    raw = [
        column.name
        for column in bundle.contract.columns
        if column.role in ("feature", "input", "segment") and column.type != "datetime" and column.name in rows.columns
    ]
    derived = [
        pl.Series(name, np.ascontiguousarray(scores.features[:, place]))
        for place, name in enumerate(bundle.features.names)
        if name not in raw
    ]
    frame = rows.select(EVENT_TIME, *(_narrow(rows[name]) for name in raw)).with_columns(
        *derived,
        *_truth(rows[TARGET], scores.score, far_off),
        pl.Series(WEIGHT, sample.weight),
        pl.Series(SCORE, scores.score),
        pl.Series(FLAGGED, scores.decision),
    )
    return Compared.of(frame)


def _truth(outcome: pl.Series, score: np.ndarray, far_off: float | None) -> list[pl.Series]:
    """What is looked for, and of a regression the outcome beside it."""
    if far_off is None:
        return [outcome.alias(TARGET)]
    wrong = np.abs(outcome.to_numpy() - score) > far_off
    return [pl.Series(TARGET, wrong.astype(np.float64)), outcome.alias(OUTCOME)]


def _narrow(values: pl.Series) -> pl.Series:
    """A number in half the room; a bound is rounded far coarser than that."""
    return values.cast(pl.Float32) if values.dtype == pl.Float64 else values


def with_features(frame: pl.DataFrame, tree: FeatureTree, names: tuple[str, ...]) -> pl.DataFrame:
    """The frame with those of the features called `names` that it does not have as columns."""
    lacking = [name for name in names if name not in frame.columns]
    return frame.hstack(tree.only(lacking).frame(frame)) if lacking else frame


def daily(times: pl.Series, *masks: np.ndarray) -> pl.DataFrame:
    """`day` (UTC midnight), then for each mask how many rows, `0`, `1` …; every day between the first and the last.

    times: event times in order. masks: numbers or bools, shape (rows,).
    """
    day = times.dt.truncate("1d").to_physical().to_numpy() // _DAY_US
    first, span = int(day[0]), int(day[-1] - day[0]) + 1
    # one pass in the rows' own order: sums of weights are the same to the last digit every time
    sums = [np.bincount(day - first, weights=np.asarray(mask, np.float64), minlength=span) for mask in masks]
    days = pl.Series("day", (first + np.arange(span)) * _DAY_US).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame([days, *(pl.Series(str(place), column) for place, column in enumerate(sums))])
