"""The new pattern as a readable rule: the box that best sets some rows apart from all others.

Bump hunting after Friedman & Fisher (1999), "Bump hunting in high-dimensional data", from the outside in: condition
by condition, a few boxes at a time, judged by the information that being inside gives about being a hit. A condition
must gain more than choosing among so many would give by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.improvement.rule import Condition, Rule, Side

__all__ = ["find_rule"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

MIN_HITS: Final = 8
_BEAM: Final = 3
_BOUNDS: Final = 40
_MOST_VALUES: Final = 12
_ROUNDS: Final = 3
_SLACK: Final = 0.2
_SELDOM_NATS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column's values as numbers: themselves, or the places of its texts. options: what `=` may ask for."""

    name: str
    values: Floats
    options: tuple[tuple[float, float | str], ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """Conditions with the rows inside them; `at` are the bounds as the column's numbers have them.

    gain: what the box is judged by, each row counting for all it stands for. plain: each counting once, as much as was
    seen: a sampled row is one observation, however many it stands for.
    """

    conditions: tuple[Condition, ...]
    at: tuple[float, ...]
    inside: Mask
    gain: float
    plain: float

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((item.column, item.side) for item in self.conditions))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """hit: which rows are looked for. mass: how many rows each of the others stands for; a hit counts as one."""

    columns: tuple[_Column, ...]
    hit: Mask
    mass: Floats

    @property
    def penalty(self) -> float:
        """What the best of as many conditions seldom gains by chance, in nats."""
        return math.log(2 * _BOUNDS * max(1, len(self.columns))) + _SELDOM_NATS


def find_rule(
    frame: pl.DataFrame,
    columns: Sequence[str],
    hit: Mask,
    *,
    weight: Floats | None = None,
    most_conditions: int = 4,
) -> Rule | None:
    """The conditions on `columns` that most rows of `hit` keep and few others do; None where nothing sets them apart.

    frame: numbers, bools and texts; earlier columns are preferred among equals. hit, weight: shape (rows,).
    Needs at least 8 hits, and a rule holds at least 8 of them. Bounds are rounded as far as it costs nothing.
    """
    hit = np.asarray(hit, dtype=bool)
    if int(hit.sum()) < MIN_HITS or bool(hit.all()):
        return None
    given = np.ones(len(hit)) if weight is None else np.asarray(weight, np.float64)
    rows = _Rows(columns=tuple(_column(frame[name]) for name in columns), hit=hit, mass=np.where(hit, 1.0, given))
    best = _search(rows, most_conditions)
    if not best.conditions:
        return None
    best = _refined(rows, best)
    rounded = tuple(_rounded(rows, best, place) for place in range(len(best.conditions)))
    return Rule(conditions=tuple(sorted(rounded, key=lambda item: list(columns).index(item.column))))


def _column(values: pl.Series) -> _Column:
    if values.dtype == pl.String or values.dtype in (pl.Categorical, pl.Enum):
        texts = values.cast(pl.String)
        common = texts.drop_nulls().value_counts(sort=True).head(_MOST_VALUES)[values.name].sort()
        codes = texts.replace_strict(common, list(range(len(common))), default=None, return_dtype=pl.Float64)
        options = tuple((float(place), str(text)) for place, text in enumerate(common))
        return _Column(name=values.name, values=codes.fill_null(float("nan")).to_numpy(), options=options)
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    distinct = values.drop_nulls().head(2_000).unique()
    if values.dtype == pl.Boolean or (len(distinct) <= 2 and set(np.unique(numbers[~np.isnan(numbers)])) <= {0.0, 1.0}):
        return _Column(name=values.name, values=numbers, options=((0.0, 0.0), (1.0, 1.0)))
    return _Column(name=values.name, values=numbers, options=None)


def _search(rows: _Rows, most_conditions: int) -> _Box:
    best = _box(rows, (), ())
    beam = [best]
    for _ in range(most_conditions):
        grown: dict[tuple[tuple[str, str], ...], _Box] = {}
        for box in beam:
            for wider in _grown(rows, box):
                known = grown.get(wider.key)
                if known is None or wider.gain > known.gain + 1e-9:
                    grown[wider.key] = wider
        beam = sorted(grown.values(), key=lambda box: -box.gain)[:_BEAM]
        if not beam:
            break
        best = max([best, beam[0]], key=lambda box: box.gain)
    return best


def _grown(rows: _Rows, box: _Box) -> Iterator[_Box]:
    """The best boxes with one condition more, each of which gains what it must; at most a few."""
    taken = {(item.column, item.side) for item in box.conditions}
    found: list[tuple[float, _Column, Side, float, float | str]] = []
    for column in rows.columns:
        for side in _sides(column):
            if (column.name, side) in taken:
                continue
            bound = _best_bound(rows, box.inside, column, side)
            if bound is not None and bound[0] >= box.gain + rows.penalty:
                found.append((bound[0], column, side, bound[1], bound[2]))
    found.sort(key=lambda item: -item[0])
    left = _BEAM
    for _, column, side, at, shown in found:
        condition = Condition(column=column.name, side=side, bound=shown)
        grown = _box(rows, (*box.conditions, condition), (*box.at, at))
        if left and grown.plain >= box.plain + rows.penalty:
            left -= 1
            yield grown


def _sides(column: _Column) -> tuple[Side, ...]:
    return (">", "<") if column.options is None else ("=",)


def _kept(column: _Column, side: Side, at: float) -> Mask:
    with np.errstate(invalid="ignore"):
        found: Mask = {">": column.values >= at, "<": column.values <= at, "=": column.values == at}[side]
    return found


def _best_bound(rows: _Rows, inside: Mask, column: _Column, side: Side) -> tuple[float, float, float | str] | None:
    """(gain, bound, as shown) of the best condition on the rows inside, or None where 8 hits are not left."""
    hits = column.values[inside & rows.hit]
    hits = np.sort(hits[~np.isnan(hits)])
    if len(hits) < MIN_HITS:
        return None
    if column.options is not None:
        return _best_option(rows, inside, column)
    others = inside & ~rows.hit
    values, mass = column.values[others], rows.mass[others]
    known = ~np.isnan(values)
    values, mass = values[known], mass[known]
    if side == "<":
        hits, values = -hits[::-1], -values
    bounds = np.unique(hits[np.linspace(0, len(hits) - MIN_HITS, _BOUNDS).astype(np.int64)])
    kept_hits = len(hits) - np.searchsorted(hits, bounds, side="left")
    # each other row counts for the bounds it reaches: one pass, no sort
    reached = np.bincount(np.searchsorted(bounds, values, side="right"), weights=mass, minlength=len(bounds) + 1)
    kept_others = reached[::-1].cumsum()[::-1][1:]
    gains = _gain(rows, kept_hits.astype(np.float64), kept_others)
    place = int(np.argmax(gains))
    at = float(bounds[place]) * (-1.0 if side == "<" else 1.0)
    return float(gains[place]), at, at


def _best_option(rows: _Rows, inside: Mask, column: _Column) -> tuple[float, float, float | str] | None:
    best: tuple[float, float, float | str] | None = None
    for at, shown in column.options or ():
        kept = inside & (column.values == at)
        hits = float((kept & rows.hit).sum())
        if hits < MIN_HITS:
            continue
        others = float(rows.mass[kept & ~rows.hit].sum())
        gain = float(_gain(rows, np.array([hits]), np.array([others]))[0])
        if best is None or gain > best[0]:
            best = (gain, at, shown)
    return best


def _gain(rows: _Rows, hits: Floats, others: Floats) -> Floats:
    """How much likelier the hits are when told apart by the box than by one rate for all rows, in nats.

    hits, others: shape (k,), inside. 0 where the box holds no larger share of hits than all rows do.
    """
    all_hits, all_others = float(rows.hit.sum()), float(rows.mass[~rows.hit].sum())
    found = _entropy(hits, others) + _entropy(all_hits - hits, all_others - others)
    found = found - _entropy(np.array([all_hits]), np.array([all_others]))
    richer = hits * all_others > others * all_hits
    return np.where(richer, found, 0.0)


def _entropy(hits: Floats, others: Floats) -> Floats:
    rows = hits + others
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(hits > 0, hits * np.log(hits / rows), 0.0)
        found += np.where(others > 0, others * np.log(others / rows), 0.0)
    return found


def _refined(rows: _Rows, box: _Box) -> _Box:
    """Each bound chosen anew given the others, and conditions dropped that no longer gain what they must."""
    for _ in range(_ROUNDS):
        before = box.gain
        for place in range(len(box.conditions)):
            box = _moved(rows, box, place)
        if box.gain <= before + 1e-9:
            break
    place = 0
    while place < len(box.conditions) and len(box.conditions) > 1:
        without = _without(rows, box, place)
        if min(box.gain - without.gain, box.plain - without.plain) <= rows.penalty:
            box, place = without, 0
        else:
            place += 1
    return box


def _moved(rows: _Rows, box: _Box, place: int) -> _Box:
    rest = _without(rows, box, place)
    old = box.conditions[place]
    column = _of(rows, old)
    found = _best_bound(rows, rest.inside, column, old.side)
    if found is None or found[0] <= box.gain + 1e-9:
        return box
    _, at, shown = found
    conditions = (*rest.conditions[:place], replace(old, bound=shown), *rest.conditions[place:])
    return _box(rows, conditions, (*rest.at[:place], at, *rest.at[place:]))


def _without(rows: _Rows, box: _Box, place: int) -> _Box:
    return _box(rows, box.conditions[:place] + box.conditions[place + 1 :], box.at[:place] + box.at[place + 1 :])


def _box(rows: _Rows, conditions: tuple[Condition, ...], bounds: tuple[float, ...]) -> _Box:
    inside = np.ones(len(rows.hit), dtype=bool)
    for condition, at in zip(conditions, bounds, strict=True):
        inside &= _kept(_of(rows, condition), condition.side, at)
    hits, others = np.array([(inside & rows.hit).sum()], np.float64), inside & ~rows.hit
    gain = float(_gain(rows, hits, np.array([rows.mass[others].sum()]))[0])
    once = replace(rows, mass=np.ones(len(rows.hit)))
    plain = float(_gain(once, hits, np.array([others.sum()], np.float64))[0])
    return _Box(conditions=conditions, at=bounds, inside=inside, gain=gain, plain=plain)


def _of(rows: _Rows, condition: Condition) -> _Column:
    return next(column for column in rows.columns if column.name == condition.column)


def _rounded(rows: _Rows, box: _Box, place: int) -> Condition:
    """The condition with the roundest bound a little outside of its outermost hit that lets no more rows in."""
    condition, at = box.conditions[place], box.at[place]
    if condition.side == "=":
        return condition
    column = _of(rows, condition)
    rest = _without(rows, box, place).inside
    hits = column.values[box.inside & rows.hit]
    spread = float(np.subtract(*np.quantile(hits, (0.9, 0.1))))
    sign = 1.0 if condition.side == ">" else -1.0
    beyond = sign * column.values[rest & ~box.inside]
    beyond = beyond[~np.isnan(beyond) & (beyond < sign * at)]
    nearest = float(beyond.max()) if len(beyond) else -math.inf
    low = max(sign * at - _SLACK * max(spread, abs(at) * 1e-3), nearest)
    return replace(condition, bound=sign * _roundest(low, sign * at))


def _roundest(low: float, high: float) -> float:
    """The number with the fewest digits in [low, high), low < high."""
    if not low < high:
        return float(np.nextafter(high, -math.inf))
    if low < 0 < high:
        return 0.0
    start = math.floor(math.log10(max(abs(low), abs(high)))) + 1
    for exponent in range(start, start - 12, -1):
        step = 10.0**exponent
        multiple = math.ceil(low / step - 1e-9)
        if multiple * step < high:
            return float(round(multiple * step, max(0, -exponent)))
    return low
