"""Card payments with the columns of the Kaggle credit card data, their frauds, and a pattern that appears one day.

Nothing here looks like a real customer. What is taken over from the real data: 28 anonymous components with
falling spread, amounts with a long tail, 0.2 % fraud in a few clusters of which a fifth looks like everyone else,
and the rhythm of days and weeks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["COLUMNS", "FRAUD_FRACTION", "NewPattern", "Payments"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FRAUD_FRACTION: Final = 0.002
NEW_PER_OLD_FRAUD: Final = 0.60
HOLDOUT: Final = 0.05
"""Share of what the hard rule would decline that is let through at random."""

_COMPONENTS: Final = [f"V{number}" for number in range(1, 29)]
COLUMNS: Final = ("id", "Time", "customer", *_COMPONENTS, "Amount", "action", "Class")
"""The columns of every frame, in order."""

_SPREAD: Final = np.array(
    [
        *(1.96, 1.65, 1.52, 1.42, 1.38, 1.33, 1.24, 1.19, 1.10, 1.09, 1.02, 1.00, 1.00, 0.96),
        *(0.92, 0.88, 0.85, 0.84, 0.81, 0.77, 0.73, 0.73, 0.62, 0.61, 0.52, 0.48, 0.40, 0.33),
    ]
)
_DAY_S: Final = 86_400
_WEEKDAY_VOLUME: Final = (0.97, 0.95, 0.98, 1.02, 1.12, 1.10, 0.86)
_DECLINED_ABOVE: Final = 2_500.0
_REVIEWED_ABOVE: Final = 900.0
_CUSTOMERS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """Frauds of one kind: where they lie, in spreads of each component, and what they cost.

    share: of the old frauds. width: spread of the cluster, in spreads of the component.
    """

    share: float
    centre: dict[str, float]
    width: float
    amount_median: float
    amount_sigma: float


_CLUSTERS: Final = (
    _Cluster(
        share=0.34, centre={"V14": -3.6, "V12": -3.0, "V10": -2.6, "V17": -2.8}, width=0.8,
        amount_median=40, amount_sigma=1.3,
    ),
    _Cluster(
        share=0.25, centre={"V4": 2.8, "V11": 2.6, "V2": 2.2, "V14": 1.2}, width=0.6,
        amount_median=260, amount_sigma=0.7,
    ),
    _Cluster(
        share=0.22, centre={"V3": -2.7, "V7": -2.6, "V12": 1.8, "V20": 2.3}, width=0.6,
        amount_median=4, amount_sigma=0.6,
    ),
    _Cluster(share=0.19, centre={"V14": -0.5, "V4": 0.5}, width=1.0, amount_median=30, amount_sigma=1.5),
)  # fmt: skip
_FREE: Final = ("V1", "V5", "V6", "V8", "V9", "V13", "V15", "V16", "V18", "V19", "V21", "V22", "V23", "V24")
"""Components that no old cluster uses; a new pattern takes three of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPattern:
    """The pattern that appears at `change_at`, in the payments' own units.

    bounds: component -> the side and the bound that nearly all of it lies beyond, e.g. ("V16", ">", 1.7).
    amount_below: nearly all its amounts are smaller.
    """

    bounds: tuple[tuple[str, str, float], ...]
    amount_below: float

    def __str__(self) -> str:
        parts = [f"{name} {side} {bound:.2f}" for name, side, bound in self.bounds]
        return " and ".join([*parts, f"Amount < {self.amount_below:.0f}"])

    def expression(self) -> pl.Expr:
        """Whether a payment lies in the pattern's region."""
        inside = pl.col("Amount") < self.amount_below
        for name, side, bound in self.bounds:
            inside = inside & (pl.col(name) > bound if side == ">" else pl.col(name) < bound)
        return inside


class Payments:
    """A bank's payments from `start` on, for `days` days; the same seed gives the same rows.

    Each day is drawn from (seed, day) alone, so any hour can be had without what came before it.

    seed: of everything, the new pattern's place included.
    start: midnight UTC of day 0, from which `Time` counts seconds.
    rows_per_day: on average over a week.
    change_at: when the new pattern appears, on top of the old frauds; None for never.
    """

    def __init__(
        self,
        *,
        seed: int,
        start: datetime,
        days: int,
        rows_per_day: int = 11_000,
        change_at: datetime | None = None,
    ) -> None:
        if start.tzinfo is None or start.astimezone(UTC) != start.astimezone(UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        ):
            raise ValueError(f"start is {start}; it must be a midnight in UTC")
        if seed < 0 or days < 1 or rows_per_day < 1:
            raise ValueError(f"seed {seed} ≥ 0, days {days} ≥ 1 and rows_per_day {rows_per_day} ≥ 1 are needed")
        self.seed = seed
        self.start = start.astimezone(UTC)
        self.days = days
        self.rows_per_day = rows_per_day
        self.change_at = change_at
        self._customers = pl.Series("customer", [f"c{number:05d}" for number in range(_CUSTOMERS)])
        self._pattern = _Region(np.random.default_rng([seed, 7]))
        self._recent: OrderedDict[int, tuple[pl.DataFrame, NDArray[np.bool_]]] = OrderedDict()

    @property
    def end(self) -> datetime:
        """The end of the last day, exclusive."""
        return self.start + timedelta(days=self.days)

    @property
    def new_pattern(self) -> NewPattern:
        """The region of the pattern that appears, whether or not `change_at` is set."""
        return self._pattern.described()

    def day(self, k: int) -> pl.DataFrame:
        """The payments of day `k` from 0, sorted by time. The truth is in `Class` at once."""
        return self._day(k)[0]

    def of_new_pattern(self, k: int) -> NDArray[np.bool_]:
        """For the rows of `day(k)`: which are frauds of the new pattern. For tests and summaries, not for models."""
        return self._day(k)[1]

    def between(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The payments with start ≤ time < end, sorted by time."""
        first_s = max(0, int((start - self.start) / timedelta(seconds=1)))
        last_s = min(self.days * _DAY_S, int((end - self.start) / timedelta(seconds=1)))
        if last_s <= first_s:
            return self.day(0).clear()
        days = [self.day(k) for k in range(first_s // _DAY_S, -(-last_s // _DAY_S))]
        edges = (pl.col("Time") >= first_s) & (pl.col("Time") < last_s)
        return pl.concat([days[0].filter(edges), *days[1:-1], *([days[-1].filter(edges)] if len(days) > 1 else [])])

    def frame(self) -> pl.DataFrame:
        """All days."""
        return self.between(self.start, self.end)

    def _day(self, k: int) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
        if not 0 <= k < self.days:
            raise ValueError(f"day {k} is not one of the {self.days} days (0 to {self.days - 1})")
        if k not in self._recent:
            self._recent[k] = self._draw(k)
            while len(self._recent) > 2:
                self._recent.popitem(last=False)
        return self._recent[k]

    def _draw(self, k: int) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
        random = np.random.default_rng([self.seed, 11, k])
        weekday = (self.start + timedelta(days=k)).weekday()
        rows = int(random.poisson(self.rows_per_day * _WEEKDAY_VOLUME[weekday]))
        frauds = min(rows, int(random.poisson(rows * FRAUD_FRACTION)))
        parts = [_legitimate(random, rows - frauds, weekday)]
        parts += [_cluster(random, count, cluster) for cluster, count in _shares(random, frauds)]
        new = self._new_frauds(k, frauds)
        day = _Batch.joined([*parts, new])
        is_new = np.zeros(len(day.second), dtype=np.bool_)
        is_new[len(is_new) - len(new.second) :] = True
        is_fraud = np.arange(len(day.second)) >= rows - frauds
        order = np.argsort(day.second, kind="stable")
        actions = _actions(random, day.amount)
        customers = _customer_indices(random, len(day.second))
        frame = pl.DataFrame(
            {
                "id": _ids(k, len(order)),
                "Time": day.second[order] + k * _DAY_S,
                "customer": self._customers[customers[order]],
                **{name: day.components[order, column] for column, name in enumerate(_COMPONENTS)},
                "Amount": day.amount[order],
                "action": pl.Series(["approved", "reviewed", "declined"])[actions[order]],
                "Class": is_fraud[order].astype(np.int64),
            }
        )
        return frame, is_new[order]

    def _new_frauds(self, k: int, old_frauds: int) -> _Batch:
        """The new pattern's frauds of day `k`: of their own stream, so that the other rows stay as they were."""
        random = np.random.default_rng([self.seed, 13, k])
        count = int(random.poisson(FRAUD_FRACTION * NEW_PER_OLD_FRAUD * self.rows_per_day))
        drawn = self._pattern.frauds(random, count)
        if self.change_at is None:
            return drawn.where(np.zeros(count, dtype=np.bool_))
        change_s = (self.change_at - self.start) / timedelta(seconds=1) - k * _DAY_S
        return drawn.where(drawn.second >= change_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Rows of one kind. second: of the day, (n,). components: (n, 28). amount: (n,)."""

    second: Ints
    components: Floats
    amount: Floats

    @classmethod
    def joined(cls, parts: Sequence[_Batch]) -> _Batch:
        return cls(
            second=np.concatenate([part.second for part in parts]),
            components=np.concatenate([part.components for part in parts]),
            amount=np.concatenate([part.amount for part in parts]),
        )

    def where(self, keep: NDArray[np.bool_]) -> _Batch:
        return _Batch(second=self.second[keep], components=self.components[keep], amount=self.amount[keep])


class _Region:
    """Where the new pattern lies: three components that the old frauds leave alone, and small amounts.

    Each margin is unremarkable (2.4 spreads, as one legitimate row in sixty); together they are nearly empty.
    """

    _WIDTH: Final = 0.22
    _AMOUNT_BELOW: Final = 30.0

    def __init__(self, random: np.random.Generator) -> None:
        names = random.choice(np.array(_FREE), size=3, replace=False)
        self._columns = sorted(_COMPONENTS.index(str(name)) for name in names)
        self._centres = random.choice([-1.0, 1.0], size=3) * random.uniform(2.3, 2.6, size=3)

    def frauds(self, random: np.random.Generator, count: int) -> _Batch:
        components = random.standard_normal((count, len(_COMPONENTS)))
        components[:, self._columns] = self._centres + self._WIDTH * random.standard_normal((count, 3))
        amount = random.lognormal(np.log(12.0), 0.35, count)
        return _Batch(
            second=_seconds(random, count, night=0.5),
            components=_rounded(components),
            amount=_cents(amount, most=self._AMOUNT_BELOW - 0.01),
        )

    def described(self) -> NewPattern:
        bounds = []
        for column, centre in zip(self._columns, self._centres, strict=True):
            side = ">" if centre > 0 else "<"
            bound = (abs(centre) - 2.5 * self._WIDTH) * _SPREAD[column] * np.sign(centre)
            bounds.append((_COMPONENTS[column], side, float(bound)))
        return NewPattern(bounds=tuple(bounds), amount_below=self._AMOUNT_BELOW)


def _legitimate(random: np.random.Generator, count: int, weekday: int) -> _Batch:
    components = random.standard_normal((count, len(_COMPONENTS)))
    second = _seconds(random, count, night=0.0)
    evening = np.sin((second / _DAY_S - 0.5) * np.pi) * 0.08
    amount = random.lognormal(np.log(22.0) + (0.10 if weekday >= 5 else 0.0), 1.6, count) * np.exp(evening)
    return _Batch(second=second, components=_rounded(components), amount=_cents(amount, most=25_000))


def _cluster(random: np.random.Generator, count: int, cluster: _Cluster) -> _Batch:
    components = random.standard_normal((count, len(_COMPONENTS)))
    for name, centre in cluster.centre.items():
        column = _COMPONENTS.index(name)
        components[:, column] = centre + cluster.width * components[:, column]
    amount = random.lognormal(np.log(cluster.amount_median), cluster.amount_sigma, count)
    return _Batch(
        second=_seconds(random, count, night=0.5),
        components=_rounded(components),
        amount=_cents(amount, most=_DECLINED_ABOVE - 1),
    )


def _shares(random: np.random.Generator, frauds: int) -> list[tuple[_Cluster, int]]:
    counts = random.multinomial(frauds, [cluster.share for cluster in _CLUSTERS])
    return [(cluster, int(count)) for cluster, count in zip(_CLUSTERS, counts, strict=True)]


def _seconds(random: np.random.Generator, count: int, *, night: float) -> Ints:
    """Seconds of the day. night: 0 follows the customers' day, 1 is the same at all hours."""
    grid = np.linspace(0, 1, 289)
    busy = np.clip(1 + 0.85 * np.sin((grid - 0.36) * 2 * np.pi) + 0.25 * np.sin((grid - 0.2) * 4 * np.pi), 0.08, None)
    density = (1 - night) * busy / busy.mean() + night
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(random.random(count), cumulative / cumulative[-1], grid * (_DAY_S - 1)).astype(np.int64)


def _rounded(spreads: Floats) -> Floats:
    """In the components' own units, four decimals: short as text, and the same read back."""
    units: Floats = np.rint(spreads * (_SPREAD * 10_000)) / 10_000
    return units


def _cents(amount: Floats, *, most: float) -> Floats:
    """Whole cents, from one to `most`."""
    kept: Floats = np.clip(amount, 0.01, most)
    whole: Floats = np.rint(kept * 100) / 100
    return whole


def _actions(random: np.random.Generator, amount: Floats) -> Ints:
    """0 approved, 1 reviewed, 2 declined, by a hard rule that knows nothing of the model."""
    draw = random.random(len(amount))
    reviewed = (amount > _REVIEWED_ABOVE) & (draw > 0.5)
    declined = (amount > _DECLINED_ABOVE) & (draw > HOLDOUT)
    return np.where(declined, 2, np.where(reviewed, 1, 0)).astype(np.int64)


def _customer_indices(random: np.random.Generator, count: int) -> Ints:
    """Some customers pay far more often than others."""
    return (random.random(count) ** 2.2 * _CUSTOMERS).astype(np.int64)


def _ids(k: int, count: int) -> pl.Series:
    numbers = pl.Series("id", np.arange(count, dtype=np.int64) + (10_000_000_000 + k * 1_000_000))
    return "p" + numbers.cast(pl.String).str.slice(1)
