"""Small projects for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.project import Model, parse_model

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

PAYMENTS = """\
task: classification
data:
  source: payments.parquet
  time: paid_at
  id: payment_id
  entity: card
  target: fraud
  segments: [country]
outcome: {delay: 7d, absent: negative, acts: {column: action, blocked: [declined], holdout: 1%}}
objective: recall at precision >= 0.80
"""


def model_of(text: str, folder: Path) -> Model:
    folder.mkdir(parents=True, exist_ok=True)
    model, mistakes = parse_model(text, name=folder.name, folder=folder)
    assert model is not None, mistakes
    return model


def payments(count: int = 3000, *, days: int = 30, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, days * 86_400, count))
    return pl.DataFrame(
        {
            "payment_id": [f"pay_{i}" for i in range(count)],
            "paid_at": [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=int(x)) for x in at],
            "card": [f"c{x}" for x in random.integers(0, 99, count)],
            "amount": random.lognormal(3, 1, count),
            "items": random.integers(1, 9, count),
            "online": random.random(count) < 0.4,
            "country": random.choice(["AT", "DE", "FR"], count),
            "note": [f"text {i}" for i in range(count)],
            "action": random.choice(["approved", "approved", "approved", "declined"], count),
            "fraud": random.random(count) < 0.1,
        }
    )


def payments_model(root: Path, frame: pl.DataFrame | None = None, text: str = PAYMENTS) -> Model:
    model = model_of(text, root / "fraud")
    (payments() if frame is None else frame).write_parquet(root / "payments.parquet")
    return model


def shared_file(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} of the shared data is not beside the project")
    return path
