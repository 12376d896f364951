"""Plain numbers of a run that gates ask about, such as how long a row alone takes to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock, SystemClock
from everloop.project import format_micros

__all__ = ["Measured", "row_latency"]

_WARM_UP: Final = 100
_ROUNDS: Final = 5
_ROWS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One number. says: the sentence with it, without the bound. details: what is kept beside it as evidence."""

    value: float
    says: str
    details: Mapping[str, Any] = field(default_factory=dict)


def row_latency(bundle: Bundle, rows: pl.DataFrame, *, clock: Clock | None = None) -> Measured:
    """How long one row alone takes from a frame to its score, in µs: features and graph as the endpoint has them.

    rows: held-out rows, at least one, as the contract types them. It is the median over rounds of the mean row, so that
    what else the machine does is left out. Reading the request and recording the answer are not in it.
    """
    clock = SystemClock() if clock is None else clock
    asked = rows.gather_every(max(1, rows.height // _ROWS)).head(_ROWS)
    alone = [asked[place] for place in range(asked.height)]
    for frame in alone[:_WARM_UP]:
        bundle.score_frame(frame)
    rounds = [_round_us(bundle, alone, clock) for _ in range(_ROUNDS)]
    features_us, graph_us = (round(median(parts), 1) for parts in zip(*rounds, strict=True))
    return Measured(
        value=round(features_us + graph_us, 1),
        says=f"a row alone takes {format_micros(features_us + graph_us)} (features {format_micros(features_us)}, graph "
        f"{format_micros(graph_us)})",
        details={
            "features_us": round(features_us, 2),
            "graph_us": round(graph_us, 2),
            "rounds_us": [round(sum(parts), 2) for parts in rounds],
            "rows": len(alone),
        },
    )


def _round_us(bundle: Bundle, alone: list[pl.DataFrame], clock: Clock) -> tuple[float, float]:
    """The mean row's features, and its graph, in µs: timed together, so that a coarse clock does."""
    begun_s = clock.monotonic_s()
    matrices = [bundle.features.matrix(frame) for frame in alone]
    made_s = clock.monotonic_s()
    for matrix in matrices:
        bundle.score_matrix(matrix)
    scored_s = clock.monotonic_s()
    return (made_s - begun_s) / len(alone) * 1e6, (scored_s - made_s) / len(alone) * 1e6
