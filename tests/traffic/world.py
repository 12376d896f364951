"""A small place for traffic: rows that follow from their ids, a spool, a mover, a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.clock import SimulatedClock, to_us
from everloop.traffic import Forgetting, Mover, OutcomeRecord, PredictionBatch, Spool, TrafficLog, row_digest

START = datetime(2026, 3, 1, tzinfo=UTC)
MODEL = "fraud"


def row(prediction_id: str, *, at: datetime = START, amount: float = 1.0, card: str | None = "c1") -> dict[str, Any]:
    return {"id": prediction_id, "at": at, "amount": amount, "card": card}


def batch(rows: Sequence[dict[str, Any]], *, answer: str = "first", versions: int = 2, **other: Any) -> PredictionBatch:
    n = len(rows)
    amounts = np.array([r["amount"] for r in rows], dtype=np.float64)
    scores = np.stack([(amounts / 100 + v).astype(np.float32) for v in range(versions)], axis=1)
    columns: dict[str, Any] = {
        "model": MODEL,
        "routing_revision": 3,
        "ids": [r["id"] for r in rows],
        "digests": [row_digest(r) for r in rows],
        "answers": [f"{r['id']} {answer}".encode() for r in rows],
        "event_time_us": np.array([to_us(r["at"]) for r in rows], dtype=np.int64),
        "entities": [r["card"] for r in rows],
        "versions": tuple(range(1, versions + 1)),
        "thresholds": (0.5,) * (versions - 1) + (None,),
        "scores": scores,
        "decisions": scores >= 0.5,
        "answered": np.arange(n) % versions,
        "sides": ["champion"] * n,
        "propensities": np.full(n, 0.9),
        "inputs": pl.DataFrame({"amount": amounts, "country": ["AT"] * n}),
        "feature_names": ("amount_log",),
        "features": np.log1p(amounts).astype(np.float32)[:, None],
    }
    return PredictionBatch(**(columns | other))


def said(prediction_id: str, value: Any, at: datetime, *, name: str = "fraud") -> OutcomeRecord:
    return OutcomeRecord(prediction_id=prediction_id, name=name, value=value, observed_at_us=to_us(at), source="test")


def said_of(card: str, of: datetime, value: Any, at: datetime, *, name: str = "fraud") -> OutcomeRecord:
    """What `said` says, told by entity and event time."""
    told = {"entity": card, "event_time_us": to_us(of), "observed_at_us": to_us(at)}
    return OutcomeRecord(**told, name=name, value=value, source="test")  # type: ignore[arg-type]


@dataclass
class World:
    root: Path
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(START))

    @property
    def spools(self) -> Path:
        return self.root / "spool"

    @property
    def traffic(self) -> Path:
        return self.root / "traffic"

    def spool(self, **options: Any) -> Spool:
        return Spool.open(self.spools, clock=self.clock, **options)

    def mover(self, **options: Any) -> Mover:
        return Mover.open(spool=self.spools, traffic=self.traffic, clock=self.clock, **options)

    def move(self) -> None:
        with self.mover() as mover:
            mover.move_once()

    def forgetting(self, entity: str, **options: Any) -> Forgetting:
        return Forgetting(self.traffic, self.spools, MODEL, entity, **{"alone": True} | options)

    @property
    def log(self) -> TrafficLog:
        return TrafficLog(self.traffic, MODEL)

    def ids(self) -> list[str]:
        """Every id of the log, by time; the tables themselves hold none twice."""
        ids: list[str] = self.log.predictions().select("prediction_id").collect().to_series().to_list()
        assert len(ids) == self.log.count()[0]
        return ids


def hours(n: float) -> timedelta:
    return timedelta(hours=n)
