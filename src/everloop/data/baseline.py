"""Baselines: a version's reference of every column, feature and score, and how windows differ by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import numpy as np
import polars as pl

from everloop.clock import from_us
from everloop.cores import usable_cores
from everloop.data.contract import Contract
from everloop.data.ordered import Ordered, between, distinct, known_in_order
from everloop.data.profile import Profile
from everloop.data.translate import EVENT_TIME
from everloop.data.tree import FeatureTree
from everloop.errors import DataError, NotEnoughData

__all__ = [
    "MOST_EDGES",
    "SCORE",
    "Baseline",
    "BaselineColumn",
    "BaselineSums",
    "BaselineWindow",
    "profiled_frame",
    "watched_columns",
]

MOST_EDGES: Final = 1_024
SCORE: Final = "__score"
_VERSION: Final = 1
_ALL_EDGES: Final = 40_000  # over all columns, so that the JSON stays near 1 MB
_ALL_CELLS: Final = 200_000  # of the windows' counts, over columns, windows and bins
_MOST_BINS: Final = 32
_LEAST_BINS: Final = 8
_US: Final = timedelta(microseconds=1)

Count = int | float


class BaselineColumn(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of one column.

    edges: of numbers; bin i holds edges[i-1] ≤ value < edges[i], so there is one bin more than edges.
    categories: of texts; one bin each, and a last one for every other text.
    counts: (bins,), weighted where rows were. nulls: the missing. coarse: which edges bound the windows' bins.
    """

    name: str
    edges: tuple[float, ...] | None
    categories: tuple[str, ...] | None
    counts: tuple[int | float, ...]
    nulls: int | float
    coarse: tuple[int, ...]

    @property
    def is_number(self) -> bool:
        """Whether the bins are ordered."""
        return self.edges is not None

    @property
    def null_share(self) -> float:
        """The share of missing values in the reference, in [0, 1]."""
        total = sum(self.counts) + self.nulls
        return self.nulls / total if total else 0.0

    def coarsened(self, counts: np.ndarray) -> np.ndarray:
        """Counts over this column's bins, shape (bins,), added up over its coarse bins; of texts they are the same."""
        if self.edges is None:
            return counts
        starts = np.array([0, *(edge + 1 for edge in self.coarse)], dtype=np.int64)
        return np.add.reduceat(counts, starts)


class BaselineWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window of the reference span.

    start_us: its start. rows: how many. counts: per column over its coarse bins, the missing in a last cell.
    """

    start_us: int
    rows: int
    counts: tuple[tuple[int | float, ...], ...]

    @property
    def start(self) -> datetime:
        """Its start, UTC."""
        return from_us(self.start_us)

    @property
    def weekday(self) -> int:
        """Monday is 0, in UTC."""
        return self.start.weekday()


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was judged on, summed up: columns, derived features and the score `__score`.

    windows: full windows of the span, oldest first, so that monitoring can calibrate on how windows differ from
    one another where nothing happened, weekday with weekday. Made from the same rows, the bytes are the same.
    """

    columns: tuple[BaselineColumn, ...]
    windows: tuple[BaselineWindow, ...]
    window_us: int
    rows: int
    effective_rows: float
    start_us: int
    end_us: int
    version: int = _VERSION

    @property
    def names(self) -> tuple[str, ...]:
        """The profiled columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def window(self) -> timedelta:
        """The length of a window."""
        return self.window_us * _US

    def column(self, name: str) -> BaselineColumn:
        """The reference of one column. Raises DataError for an unknown one."""
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"the baseline has no column {name!r}; it has {', '.join(self.names)}")

    def reference(self, name: str) -> np.ndarray:
        """The column's counts, shape (bins,), Float64."""
        return np.asarray(self.column(name).counts, dtype=np.float64)

    def window_counts(self, name: str) -> np.ndarray:
        """The column's coarse counts by window, the missing last: shape (windows, coarse bins + 1)."""
        place = self.names.index(self.column(name).name)
        return np.asarray([window.counts[place] for window in self.windows], dtype=np.float64)

    def profile(self, frame: pl.DataFrame, *, weight: np.ndarray | None = None) -> Profile:
        """The frame's rows counted over this baseline's bins; a column that it does not have counts as missing.

        weight: shape (rows,); rows that stand for several count as several.
        """
        counts: dict[str, np.ndarray] = {}
        nulls: dict[str, float] = {}
        for column in self.columns:
            if column.name in frame.columns:
                counts[column.name], nulls[column.name] = _counted(frame[column.name], column, weight)
            else:
                counts[column.name] = np.zeros(len(column.counts), np.int64)
                nulls[column.name] = frame.height if weight is None else float(weight.sum())
        return Profile(rows=frame.height, counts=counts, nulls=nulls)

    @classmethod
    def build(
        cls, frame: pl.DataFrame, *, window: timedelta, weight: np.ndarray | None = None, most_edges: int = MOST_EDGES
    ) -> Baseline:
        """The baseline of a frame as `profiled_frame` gives it: `event_time` and the columns to watch.

        weight: shape (rows,); rows that stand for several count as several. Windows begin at multiples of
        `window` since 1970; the first and the last are left out where the span cuts them short.
        """
        names = [name for name in frame.columns if name != EVENT_TIME]
        sums = BaselineSums(frame[EVENT_TIME], window=window, weight=weight, names=names, most_edges=most_edges)
        sums.add(frame.select(names))
        return sums.baseline()

    def to_json(self) -> bytes:
        """Canonical JSON: the same baseline gives the same bytes."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> Baseline:
        """The baseline of `to_json`. Raises DataError where it is not one."""
        try:
            baseline = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise DataError(f"this is not a baseline: {error}") from error
        if baseline.version != _VERSION:
            raise DataError(f"baseline version {baseline.version} is not known; this everloop reads {_VERSION}")
        return baseline


class BaselineSums:
    """A baseline in the making: columns are summed up as they come, in any order and by several threads."""

    def __init__(
        self,
        times: pl.Series,
        *,
        window: timedelta,
        weight: np.ndarray | None = None,
        names: Sequence[str],
        most_edges: int = MOST_EDGES,
    ) -> None:
        """times: the rows' event times. names: all that will be there; how many decides about their bins.

        The rest as `build` has it. Raises NotEnoughData where there are no rows or no columns.
        """
        if len(times) == 0 or not names:
            raise NotEnoughData("a baseline needs at least one row and one column")
        self._times_us = times.to_physical().to_numpy()
        self._weight, self._window_us, self._names = weight, window // _US, names
        self._edges = max(1, min(most_edges, _ALL_EDGES // len(names)))
        places = list(_windows(self._times_us, self._window_us))
        self._bins = _bins(len(names), len(places))
        self._places = places[-max(1, _ALL_CELLS // (len(names) * (self._bins + 1))) :]
        self._spans = _Spans.of(self._places)
        self._summed: dict[str, tuple[BaselineColumn, np.ndarray]] = {}

    def add(self, frame: pl.DataFrame, *, threads: int | None = None) -> None:
        """Sum up some columns of the rows. threads: None for all cores."""
        with ThreadPoolExecutor(threads or usable_cores()) as pool:
            self._summed |= dict(zip(frame.columns, pool.map(self._sum, frame), strict=True))

    def _sum(self, values: pl.Series) -> tuple[BaselineColumn, np.ndarray]:
        return _summed(values, self._weight, self._edges, self._bins, self._spans)

    def baseline(self) -> Baseline:
        """What it comes to once all columns are there."""
        weight, rows = self._weight, len(self._times_us)
        columns, cells = zip(*(self._summed[name] for name in self._names), strict=True)
        return Baseline(
            columns=columns,
            windows=tuple(
                BaselineWindow(start_us=start, rows=len(of), counts=tuple(_plain(table[at]) for table in cells))
                for at, (start, of) in enumerate(self._places)
            ),
            window_us=self._window_us,
            rows=rows,
            effective_rows=float(rows if weight is None else weight.sum() ** 2 / (weight**2).sum()),
            start_us=int(self._times_us.min()),
            end_us=int(self._times_us.max()),
        )


def profiled_frame(
    frame: pl.DataFrame,
    contract: Contract,
    tree: FeatureTree,
    features: np.ndarray,
    score: np.ndarray,
) -> pl.DataFrame:
    """What a baseline watches: `event_time`, features and inputs as they came, derived features, `__score`.

    frame: rows with the contract's types. features: the tree's matrix of them. score: shape (rows,).
    Columns with the role time, id, entity or outcome, and times, are left out.
    """
    raw, derived = watched_columns(contract, tree)
    made = [pl.Series(name, np.ascontiguousarray(features[:, tree.names.index(name)])) for name in derived]
    return frame.select(EVENT_TIME, *raw).with_columns(*made, pl.Series(SCORE, score))


def watched_columns(contract: Contract, tree: FeatureTree) -> tuple[list[str], list[str]]:
    """The columns of rows that a baseline watches as they came, and the features that it watches beside them."""
    raw = [
        column.name
        for column in contract.columns
        if column.role in ("feature", "input", "segment") and column.type != "datetime"
    ]
    return raw, [name for name in tree.names if name not in raw]


def _windows(times_us: np.ndarray, window_us: int) -> Iterator[tuple[int, np.ndarray]]:
    """Start and rows of each window that the span covers in full, by time."""
    number = times_us // window_us
    order = np.argsort(number, kind="stable")
    found, begins = np.unique(number[order], return_index=True)
    first, last = times_us.min(), times_us.max()
    slack_us = window_us // 20  # the first and the last row of a full window need not stand on its very edge
    for which, rows in zip(found, np.split(order, begins[1:]), strict=True):
        start = int(which) * window_us
        if start >= first - slack_us and start + window_us <= last + slack_us:
            yield start, rows


def _bins(columns: int, windows: int) -> int:
    """How many coarse bins fit the budget."""
    return max(_LEAST_BINS, min(_MOST_BINS, _ALL_CELLS // max(1, columns * windows) - 1))


@dataclass(frozen=True, slots=True)
class _Spans:
    """The rows of all windows, one window behind another.

    rows: a slice where they follow each other in the frame, too. bounds: shape (windows + 1,), where each begins.
    """

    rows: np.ndarray | slice
    bounds: np.ndarray

    @classmethod
    def of(cls, places: list[tuple[int, np.ndarray]]) -> _Spans:
        bounds = np.cumsum([0, *(len(rows) for _, rows in places)])
        rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in places)])
        follow = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        return cls(slice(int(rows[0]), int(rows[-1]) + 1) if follow else rows, bounds)


def _summed(
    values: pl.Series, weight: np.ndarray | None, most_edges: int, bins: int, spans: _Spans
) -> tuple[BaselineColumn, np.ndarray]:
    """A column over all rows, and the counts of every window: shape (windows, coarse bins + 1), the missing last."""
    if values.dtype == pl.String:
        kept = values.drop_nulls().value_counts(sort=True).head(bins)
        blank = BaselineColumn(
            name=values.name, edges=None, categories=tuple(sorted(kept[values.name])), counts=(), nulls=0, coarse=()
        )
    elif weight is None:
        ordered = Ordered(_numbers(values))
        edges, counts = ordered.even_edges(most_edges)
        column = _blank(values.name, edges, bins)
        column = msgspec.structs.replace(column, counts=_plain(counts), nulls=ordered.missing)
        return column, ordered.cells(edges[list(column.coarse)], spans.bounds, spans.rows)
    else:
        blank = _blank(values.name, _edges(_numbers(values), weight, most_edges), bins)
    counted, nulls = _counted(values, blank, weight)
    column = msgspec.structs.replace(blank, counts=_plain(counted), nulls=_plain(np.array([nulls]))[0])
    return column, _window_cells(values, column, spans, weight)


def _blank(name: str, edges: np.ndarray, bins: int) -> BaselineColumn:
    """A column of numbers without counts."""
    wanted = np.linspace(-1, len(edges), min(bins, len(edges) + 1) + 1)[1:-1]
    coarse = tuple(int(place) for place in np.unique(np.clip(np.round(wanted), 0, max(0, len(edges) - 1))))
    return BaselineColumn(name=name, edges=tuple(edges.tolist()), categories=None, counts=(), nulls=0, coarse=coarse)


def _plain(counts: np.ndarray) -> tuple[Count, ...]:
    """Counts as JSON numbers: whole ones whole, weighted ones to a thousandth of a row."""
    if counts.dtype.kind in "iu":
        return tuple(counts.tolist())
    return tuple(int(value) if value == int(value) else value for value in np.round(counts, 3).tolist())


def _numbers(values: pl.Series) -> np.ndarray:
    """The column as floats of its own width, NaN where it is missing."""
    floats = values if values.dtype.is_float() else values.cast(pl.Float64)
    found: np.ndarray = (floats.fill_null(float("nan")) if floats.null_count() else floats).to_numpy()
    return found


def _edges(numbers: np.ndarray, weight: np.ndarray, most: int) -> np.ndarray:
    """Distinct values at even steps of the weighted distribution, at most `most`."""
    known = np.isfinite(numbers)
    if not known.any():
        return np.empty(0)
    kept = numbers[known]
    order = np.argsort(kept, kind="stable")
    cumulative = np.cumsum(weight[known][order])
    steps = np.arange(1, most + 1) / (most + 1) * cumulative[-1]
    return distinct(kept[order], np.minimum(np.searchsorted(cumulative, steps, side="right"), len(kept) - 1), most)


def _counted(values: pl.Series, column: BaselineColumn, weight: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Counts over the column's bins, and the missing; weighted where there are weights."""
    if column.edges is None:
        return _counted_texts(values, column.categories or (), weight)
    numbers = _numbers(values)
    edges = np.asarray(column.edges, dtype=numbers.dtype)
    if weight is None:
        ordered = known_in_order(numbers)
        return between(ordered, edges), len(numbers) - len(ordered)
    known = ~np.isnan(numbers)
    bins = np.searchsorted(edges, numbers[known], side="right")
    return np.bincount(bins, weights=weight[known], minlength=len(edges) + 1), float(weight[~known].sum())


def _counted_texts(
    values: pl.Series, categories: tuple[str, ...], weight: np.ndarray | None
) -> tuple[np.ndarray, float]:
    places: Mapping[str, int] = {text: place for place, text in enumerate(categories)}
    mass = np.ones(len(values), np.int64) if weight is None else weight
    sums = pl.DataFrame({"text": values.cast(pl.String), "mass": mass}).group_by("text").agg(pl.col("mass").sum())
    counts = np.zeros(len(categories) + 1, dtype=mass.dtype)
    nulls: float = 0
    for text, total in sums.sort("text").iter_rows():
        if text is None:
            nulls = total
        else:
            counts[places.get(text, len(categories))] += total
    return counts, nulls


def _window_cells(values: pl.Series, column: BaselineColumn, spans: _Spans, weight: np.ndarray | None) -> np.ndarray:
    """The counts of every window: shape (windows, coarse bins + 1), the missing last."""
    values, windows = values[spans.rows], len(spans.bounds) - 1
    if column.edges is None:
        known = pl.Series(column.categories, dtype=pl.String)
        codes = values.replace_strict(known, pl.Series(range(len(known)), dtype=pl.Int64), default=len(known))
        width = len(known) + 2
        cell = np.where(values.is_null().to_numpy(), width - 1, codes.cast(pl.Int64).fill_null(0).to_numpy())
    else:
        numbers = _numbers(values)
        edges = np.asarray([column.edges[place] for place in column.coarse], dtype=numbers.dtype)
        width = len(edges) + 2
        cell = np.where(np.isnan(numbers), width - 1, np.searchsorted(edges, numbers, side="right"))
    which = np.repeat(np.arange(windows), np.diff(spans.bounds))
    mass = None if weight is None else weight[spans.rows]
    return np.bincount(which * width + cell, weights=mass, minlength=windows * width).reshape(windows, width)
