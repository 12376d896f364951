"""What a gate of the project's own is given: rows, answers and numbers of the run; kept as files for its process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

__all__ = ["OwnGateEvidence", "read_own_evidence", "write_own_evidence"]

_ROWS: Final = "rows.parquet"
_ANSWERS: Final = "answers.parquet"
_SAID: Final = "evidence.json"
_MINE: Final = ("y", "weight", "score", "decision", "champion_score", "champion_decision")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGateEvidence:
    """What `def check_countries(evidence)` is given.

    model: its name. as_of: up to when all is known. rows: the contract's columns and `event_time`, in order of time;
    after training the held-out test rows, before it all rows of the run. y: shape (n,), 1 where positive, or the
    number. weight: shape (n,).
    score, decision: of the candidate, shape (n,); threshold: of its decisions; quantiles: a column each, such as p10;
    champion_score, champion_decision: of the champion on the same rows. Each is None where there is none, as before
    training.
    metrics, champion_metrics: name → {point, low, high, …} on the test rows; empty before training.
    former: earlier trainings, oldest first: {version, rows, positives, days, target_mean}.
    """

    model: str
    as_of: datetime
    rows: pl.DataFrame
    y: np.ndarray
    weight: np.ndarray
    score: np.ndarray | None = None
    decision: np.ndarray | None = None
    threshold: float | None = None
    quantiles: pl.DataFrame | None = None
    champion_score: np.ndarray | None = None
    champion_decision: np.ndarray | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    champion_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    former: Sequence[Mapping[str, Any]] = ()


def write_own_evidence(evidence: OwnGateEvidence, folder: Path) -> None:
    """Leave it in `folder` for the process that asks the gate: Parquet and JSON, nothing pickled."""
    evidence.rows.write_parquet(folder / _ROWS)
    given = {name: getattr(evidence, name) for name in _MINE}
    answers = pl.DataFrame({name: value for name, value in given.items() if value is not None})
    if evidence.quantiles is not None:
        answers = answers.with_columns(evidence.quantiles.rename(lambda name: f"quantile {name}"))
    answers.write_parquet(folder / _ANSWERS)
    said = {
        "model": evidence.model,
        "as_of": evidence.as_of.isoformat(),
        "threshold": evidence.threshold,
        "metrics": evidence.metrics,
        "champion_metrics": evidence.champion_metrics,
        "former": list(evidence.former),
    }
    (folder / _SAID).write_text(json.dumps(said), encoding="utf-8")


def read_own_evidence(folder: Path) -> OwnGateEvidence:
    """What `write_own_evidence` left."""
    said = json.loads((folder / _SAID).read_bytes())
    answers = pl.read_parquet(folder / _ANSWERS)
    mine: dict[str, Any] = {name: answers[name].to_numpy() for name in _MINE if name in answers.columns}
    quantiles = [name for name in answers.columns if name.startswith("quantile ")]
    told = answers.select(quantiles).rename(lambda name: name.removeprefix("quantile ")) if quantiles else None
    as_of = datetime.fromisoformat(said.pop("as_of"))
    return OwnGateEvidence(rows=pl.read_parquet(folder / _ROWS), as_of=as_of, quantiles=told, **said, **mine)
