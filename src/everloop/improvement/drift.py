"""Which columns are not as they were: how far from the champion's reference, by how much more than usual, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.data import SCORE, Baseline, BaselineColumn, Profile
from everloop.stats import jsonable, ks, total_variation

__all__ = ["Drifted", "distances_by_day", "drifted_columns"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

_LEAST: Final = 0.03
_TIMES_USUAL: Final = 2.0
_NULLS: Final = 0.02
_DECILES: Final = tuple(place / 10 for place in range(1, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """A column that moved.

    distance: Kolmogorov-Smirnov (numbers) or total variation (texts) against the reference, in [0, 1].
    usual: the largest that the reference's own windows differ by, at least one row's worth.
    sentence: how it changed, in words.
    """

    column: str
    distance: float
    usual: float
    sentence: str

    @property
    def times_usual(self) -> float:
        """How many times as far as usual."""
        return self.distance / self.usual

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        found: dict[str, Any] = jsonable(
            {"column": self.column, "distance": self.distance, "usual": self.usual, "sentence": self.sentence}
        )  # type: ignore[assignment]
        return found


def drifted_columns(baseline: Baseline, live: pl.DataFrame, *, most: int = 8) -> list[Drifted]:
    """The columns of `live` that moved, the farthest first; the score comes last where it moved.

    live: rows with the baseline's columns; those it lacks are left out.
    """
    found = [
        drifted
        for column in baseline.columns
        if column.name in live.columns
        and (drifted := _judged(baseline, column, live[column.name], baseline.profile(live.select(column.name))))
    ]
    return sorted(found, key=lambda item: (item.column == SCORE, -item.distance))[:most]


def distances_by_day(baseline: Baseline, name: str, live: pl.DataFrame, days: pl.Series) -> list[float]:
    """The column's distance from the reference for each of the distinct `days` in order.

    live: its rows; days: the day of each, sorted. A day below 20 rows is NaN.
    """
    column = baseline.column(name)
    found: list[float] = []
    for part in live.select(name).with_columns(days.alias("__day")).partition_by("__day", maintain_order=True):
        counts = baseline.profile(part.select(name)).counts[name]
        enough = part.height >= 20 and counts.sum() > 0
        found.append(_distance(column, np.asarray(column.counts, np.float64), counts) if enough else float("nan"))
    return found


def _distance(column: BaselineColumn, reference: Floats, live: np.ndarray) -> float:
    if column.is_number:
        return ks(reference, live)
    return total_variation(reference, live)


def _judged(baseline: Baseline, column: BaselineColumn, live: pl.Series, profile: Profile) -> Drifted | None:
    reference, counts = np.asarray(column.counts, np.float64), profile.counts[column.name]
    usual = _usual(baseline, column)
    nulls = profile.null_share(column.name)
    if reference.sum() <= 0 or counts.sum() <= 0:
        distance = 1.0 if (reference.sum() > 0) != (counts.sum() > 0) else 0.0
    else:
        distance = _distance(column, reference, counts)
    missing = abs(nulls - column.null_share)
    if distance < max(_LEAST, _TIMES_USUAL * usual) and missing < _NULLS:
        return None
    sentence = _sentence(column, live, nulls=nulls, counts=counts)
    return Drifted(column=column.name, distance=max(distance, missing), usual=usual, sentence=sentence)


def _usual(baseline: Baseline, column: BaselineColumn) -> float:
    """The farthest that a window of the reference lies from the whole of it; never below what its rows allow."""
    least = 1.0 / np.sqrt(max(100.0, baseline.effective_rows))
    windows = baseline.window_counts(column.name) if baseline.windows else np.empty((0, 1))
    values = windows[:, :-1]
    values = values[values.sum(axis=1) > 0]
    if len(values) < 2:
        return float(max(0.01, least))
    whole = values.sum(axis=0)
    return float(max(least, *(_distance(column, whole, window) for window in values)))


def _sentence(column: BaselineColumn, live: pl.Series, *, nulls: float, counts: np.ndarray) -> str:
    name = "the score" if column.name == SCORE else column.name
    parts: list[str] = []
    if abs(nulls - column.null_share) >= _NULLS:
        parts.append(f"{name} is missing in {nulls:.1%} of the rows, {column.null_share:.1%} before")
    if counts.sum() > 0 and sum(column.counts) > 0:
        parts.append(_numbers_moved(name, column, live) if column.is_number else _texts_moved(name, column, counts))
    return "; ".join(parts) or f"{name} is not as it was"


def _numbers_moved(name: str, column: BaselineColumn, live: pl.Series) -> str:
    before = _quantiles(column)
    values = live.cast(pl.Float64).fill_nan(None).drop_nulls()
    after = np.array([values.quantile(place, "linear") for place in _DECILES], np.float64)
    factor = _unit_factor(before, after)
    middle = len(_DECILES) // 2
    if factor is not None:
        return f"{name} is {factor:.4g} times what it was: its unit may have changed"
    return f"the median of {name} is {after[middle]:.4g}, {before[middle]:.4g} before"


def _unit_factor(before: Floats, after: Floats) -> float | None:
    """The one factor between all deciles, or None."""
    usable = (np.abs(before) > 1e-9) & (np.abs(after) > 1e-9)
    if usable.sum() < 6:
        return None
    ratios = after[usable] / before[usable]
    factor = float(np.median(ratios))
    close = np.abs(ratios / factor - 1) < 0.15
    return factor if close.mean() > 0.8 and not 0.67 < factor < 1.5 and factor > 0 else None


def _quantiles(column: BaselineColumn) -> Floats:
    """The reference's deciles, up to a bin's width."""
    edges = np.asarray(column.edges, np.float64)
    cumulative = np.cumsum(column.counts)
    places = np.searchsorted(cumulative, np.asarray(_DECILES) * cumulative[-1])
    found: Floats = edges[np.clip(places, 0, len(edges) - 1)]
    return found


def _texts_moved(name: str, column: BaselineColumn, counts: np.ndarray) -> str:
    reference = np.asarray(column.counts, np.float64)
    before, after = reference / reference.sum(), counts / counts.sum()
    place = int(np.argmax(np.abs(after - before)))
    texts: Sequence[str] = (*(column.categories or ()), "another value")
    return f"{name} is {texts[place]} in {after[place]:.1%} of the rows, {before[place]:.1%} before"
