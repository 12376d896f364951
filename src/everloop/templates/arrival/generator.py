"""Deliveries through a town: how far, how many stops, in what weather and hour, and how many minutes they took.

What is taken over from real trips: a rhythm of days and weeks, rush hours that slow everything down, a long tail, and a
spread that grows with the trip, so that an honest answer has a width.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

__all__ = ["COLUMNS", "Trips"]

COLUMNS: Final = ("trip_id", "left_at", "driver", "zone", "km", "stops", "rain_mm", "minutes")
"""The columns of every frame, in order."""

_ZONES: Final = ("centre", "harbour", "hills", "north", "south", "station")
_ZONE_PACE: Final = np.array([3.4, 2.4, 2.9, 2.0, 2.1, 3.0])
"""Minutes per kilometre where nothing is in the way."""
_DRIVERS: Final = 120
_RUSH: Final = ((8.0, 1.2, 0.5), (17.5, 1.6, 0.7))
"""Hour, width in hours, and by what share a trip is slower at its height."""
_DAY_S: Final = 86_400
_LONG_TAIL: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Trips:
    """A town's deliveries; the same seed gives the same trips, day by day.

    start: first midnight, UTC. rows_per_day: on average; Sundays have half as many.
    slower_at: from when the centre is dug up, and its trips take half as long again; None for never.
    """

    seed: int
    start: datetime
    days: int
    rows_per_day: int = 2_000
    slower_at: datetime | None = None

    def frame(self) -> pl.DataFrame:
        """All trips in order of their start, with `COLUMNS`."""
        return pl.concat([self.day(number) for number in range(self.days)])

    def day(self, number: int) -> pl.DataFrame:
        """The trips of one day, counted from 0."""
        rng = np.random.default_rng((self.seed, number))
        midnight = self.start + timedelta(days=number)
        weekday = midnight.weekday()
        count = int(rng.poisson(self.rows_per_day * (0.5 if weekday == 6 else 1.0)))
        hours = np.sort(_hours(rng, count))
        zone = rng.integers(0, len(_ZONES), size=count)
        km = np.round(0.5 + rng.gamma(2.0, 2.2, size=count), 2)
        stops = rng.integers(0, 5, size=count)
        rain = np.round(np.full(count, max(0.0, rng.normal(-1.0, 2.5))) * rng.uniform(0.6, 1.4, size=count), 1)
        driver = rng.integers(0, _DRIVERS, size=count)
        expected = 2 + km * _ZONE_PACE[zone] * _slowed(hours, weekday) * (1 + 0.04 * rain) + 2.5 * stops
        left_us = (hours * 3_600e6).astype(np.int64)
        times = pl.Series(left_us).cast(pl.Duration("us")) + pl.Series([midnight]).dt.cast_time_unit("us")
        if self.slower_at is not None:
            late = (times >= self.slower_at).to_numpy() & (zone == 0)
            expected = np.where(late, 1.5 * expected, expected)
        return pl.DataFrame(
            {
                "trip_id": [f"t{number:03d}-{place:05d}" for place in range(count)],
                "left_at": times,
                "driver": [f"d{one:03d}" for one in driver],
                "zone": [_ZONES[one] for one in zone],
                "km": km,
                "stops": stops,
                "rain_mm": rain,
                "minutes": np.round(expected * _noise(rng, hours, weekday), 1),
            }
        )


def _hours(rng: np.random.Generator, count: int) -> np.ndarray:
    """When trips begin, in hours from midnight: mostly around noon and in the evening."""
    evening = rng.random(count) < 0.45
    return np.where(evening, rng.normal(18.5, 2.0, count), rng.normal(11.5, 2.8, count)).clip(0, 23.999)


def _slowed(hours: np.ndarray, weekday: int) -> np.ndarray:
    """By what a trip's kilometres are slower at an hour; weekends have no rush."""
    if weekday >= 5:
        return np.ones(len(hours))
    rush = [height * np.exp(-0.5 * ((hours - hour) / width) ** 2) for hour, width, height in _RUSH]
    return np.asarray(1.0 + np.sum(rush, axis=0))


def _noise(rng: np.random.Generator, hours: np.ndarray, weekday: int) -> np.ndarray:
    """What nobody knows before: a tenth of the trip's time, in the rush more, and now and then a very long wait."""
    spread = 0.10 * _slowed(hours, weekday)
    stuck = rng.random(len(hours)) < _LONG_TAIL
    return np.exp(spread * rng.standard_normal(len(hours))) * np.where(stuck, rng.uniform(1.5, 3.0, len(hours)), 1.0)
