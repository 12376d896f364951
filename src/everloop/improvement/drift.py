"""Which columns are not as they were: how far from the champion's reference, by how much more than usual, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from everloop.data import SCORE, Baseline, BaselineColumn, Profile
from everloop.stats import jsonable, ks, total_variation

__all__ = ["Drifted", "distances_by_day", "drifted_columns"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

Kind: TypeAlias = Literal["missing", "unit", "moved"]

_LEAST: Final = 0.03
_TIMES_USUAL: Final = 2.0
_NULLS: Final = 0.02
# Factors between units that people mix up; deciles of bins give them a little off.
_UNITS: Final = tuple(
    sorted(float(base) ** sign for base in (10, 100, 1000, 10**6, 10**9, 60, 3600, 24, 86_400) for sign in (1, -1))
)
_DECILES: Final = tuple(place / 10 for place in range(1, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """A column that moved.

    distance: Kolmogorov-Smirnov (numbers) or total variation (texts) against the reference, in [0, 1].
    usual: the largest that the reference's own windows differ by, at least one row's worth.
    kind: `missing` where values are lacking, `unit` where one factor lies between then and now, else `moved`.
    sentence: how it changed, in words.
    """

    column: str
    kind: Kind
    distance: float
    usual: float
    sentence: str

    @property
    def times_usual(self) -> float:
        """How many times as far as usual."""
        return self.distance / self.usual

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        found: dict[str, Any] = jsonable({item.name: getattr(self, item.name) for item in fields(self)})  # type: ignore[assignment]
        return found


def drifted_columns(baseline: Baseline, live: pl.DataFrame, *, most: int = 8) -> list[Drifted]:
    """The columns of `live` that moved: what tells its own cause first, then the farthest, then the score.

    live: rows with the baseline's columns; those it lacks are left out.
    """
    found = [
        drifted
        for column in baseline.columns
        if column.name in live.columns
        and (drifted := _judged(baseline, column, live[column.name], baseline.profile(live.select(column.name))))
    ]
    kinds = get_args(Kind)
    return sorted(found, key=lambda item: (item.column == SCORE, kinds.index(item.kind), -item.distance))[:most]


def distances_by_day(baseline: Baseline, name: str, live: pl.DataFrame, days: pl.Series) -> list[float]:
    """The column's distance from the reference for each of the distinct `days` in order.

    live: its rows; days: the day of each, sorted. A day below 20 rows is NaN.
    """
    found: list[float] = []
    for part in live.select(name).with_columns(days.alias("__day")).partition_by("__day", maintain_order=True):
        far = _apart(baseline.column(name), baseline.profile(part.select(name))) if part.height >= 20 else None
        found.append(float("nan") if far is None else max(far))
    return found


def _apart(column: BaselineColumn, profile: Profile) -> tuple[float, float]:
    """The distance of the values that are there, and the change of the share that is not."""
    reference, counts = np.asarray(column.counts, np.float64), profile.counts[column.name]
    if reference.sum() <= 0 or counts.sum() <= 0:
        distance = 1.0 if (reference.sum() > 0) != (counts.sum() > 0) else 0.0
    else:
        distance = _distance(column, reference, counts)
    return distance, abs(profile.null_share(column.name) - _usually_missing(column))


def _usually_missing(column: BaselineColumn) -> float:
    """The share without a value in the reference. A score that is missing there was left out: it was fitted on."""
    return 0.0 if column.name == SCORE else column.null_share


def _distance(column: BaselineColumn, reference: Floats, live: np.ndarray) -> float:
    if column.is_number:
        return ks(reference, live)
    return total_variation(reference, live)


def _judged(baseline: Baseline, column: BaselineColumn, live: pl.Series, profile: Profile) -> Drifted | None:
    usual = _usual(baseline, column)
    distance, missing = _apart(column, profile)
    if distance < max(_LEAST, _TIMES_USUAL * usual) and missing < _NULLS:
        return None
    nulls, counts = profile.null_share(column.name), profile.counts[column.name]
    kind, sentence = _told(column, live, nulls=nulls, counts=counts)
    return Drifted(column=column.name, kind=kind, distance=max(distance, missing), usual=usual, sentence=sentence)


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


def _told(column: BaselineColumn, live: pl.Series, *, nulls: float, counts: np.ndarray) -> tuple[Kind, str]:
    name, before = "the score" if column.name == SCORE else column.name, _usually_missing(column)
    if counts.sum() > 0 and sum(column.counts) > 0:
        kind, said = _numbers_moved(name, column, live) if column.is_number else _texts_moved(name, column, counts)
    else:
        kind, said = "moved", ""
    if abs(nulls - before) < _NULLS:
        return kind, said
    lacking = f"{name} is missing in {nulls:.1%} of the rows, {before:.1%} before"
    return "missing", f"{lacking}; {said}" if kind == "unit" else lacking


def _numbers_moved(name: str, column: BaselineColumn, live: pl.Series) -> tuple[Kind, str]:
    before = _quantiles(column)
    values = live.cast(pl.Float64).fill_nan(None).drop_nulls()
    after = np.array([values.quantile(place, "linear") for place in _DECILES], np.float64)
    factor = _unit_factor(before, after)
    middle = len(_DECILES) // 2
    if factor is not None:
        return "unit", f"{name} is {factor:.3g} times what it was: its unit may have changed"
    return "moved", f"the median of {name} is {after[middle]:.4g}, {before[middle]:.4g} before"


def _unit_factor(before: Floats, after: Floats) -> float | None:
    """The one factor between all deciles, or None."""
    usable = (np.abs(before) > 1e-9) & (np.abs(after) > 1e-9)
    if usable.sum() < 6:
        return None
    ratios = after[usable] / before[usable]
    factor = float(np.median(ratios))
    close = np.abs(ratios / factor - 1) < 0.15
    if close.mean() <= 0.8 or 0.67 < factor < 1.5 or factor <= 0:
        return None
    return next((unit for unit in _UNITS if abs(factor / unit - 1) < 0.05), factor)


def _quantiles(column: BaselineColumn) -> Floats:
    """The reference's deciles, up to a bin's width."""
    edges = np.asarray(column.edges, np.float64)
    cumulative = np.cumsum(column.counts)
    places = np.searchsorted(cumulative, np.asarray(_DECILES) * cumulative[-1])
    found: Floats = edges[np.clip(places, 0, len(edges) - 1)]
    return found


def _texts_moved(name: str, column: BaselineColumn, counts: np.ndarray) -> tuple[Kind, str]:
    reference = np.asarray(column.counts, np.float64)
    before, after = reference / reference.sum(), counts / counts.sum()
    place = int(np.argmax(np.abs(after - before)))
    texts: Sequence[str] = (*(column.categories or ()), "another value")
    return "moved", f"{name} is {texts[place]} in {after[place]:.1%} of the rows, {before[place]:.1%} before"
