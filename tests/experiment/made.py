"""Small projects with generated payments, for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from everloop.data import infer_contract, scan, write_contract
from everloop.project import Model, Project

START = datetime(2024, 1, 1, tzinfo=UTC)

MODEL = """\
task: classification
data:
  source: {source}
  time: paid_at
  id: payment
  target: fraud
objective: {objective}
search: {{learners: [{learners}], trials: {trials}}}
"""
FEATURES = """\
import polars as pl
from everloop.data import features

@features
def payment():
    yield "amount_log", pl.col("amount").log1p()
    yield "night", pl.col("paid_at").dt.hour() < 6
"""


def payments(n: int = 3_000, *, seed: int = 0, positives: float = 0.08, linear: bool = False) -> pl.DataFrame:
    """Rows in order of time, ten minutes apart; fraud where two columns together are unusual, or along a line."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    risk = x[:, 0] + x[:, 1] if linear else -np.abs(x[:, 0] - 1.5) - np.abs(x[:, 1] + 1)
    risk = risk + 0.3 * rng.standard_normal(n)
    return pl.DataFrame(
        {
            "payment": [f"p{at}" for at in range(n)],
            "paid_at": [START + timedelta(minutes=10 * at) for at in range(n)],
            **{f"v{at}": x[:, at] for at in range(4)},
            "amount": np.exp(3 + rng.standard_normal(n)),
            "fraud": (risk > np.quantile(risk, 1 - positives)).astype(np.int64),
        }
    )


def project(
    root: Path,
    frame: pl.DataFrame,
    *,
    objective: str = "recall at precision >= 0.80",
    learners: str = "logistic, lightgbm",
    trials: int = 10,
    more: str = "",
) -> tuple[Project, Model]:
    """A project in `root` with `frame` as its data."""
    folder = root / "fraud"
    folder.mkdir(parents=True)
    frame.write_parquet(root / "payments.parquet")
    (root / "everloop.yaml").write_text("{}\n")
    text = MODEL.format(source="payments.parquet", objective=objective, learners=learners, trials=trials)
    (folder / "model.yaml").write_text(text + more)
    (folder / "features.py").write_text(FEATURES)
    model = Project.open(root, environment={}).model()
    write_contract(model.contract_path, infer_contract(scan("payments.parquet", root=root), model, reads={"paid_at"}))
    return opened(root)


def opened(root: Path) -> tuple[Project, Model]:
    """The project as its files are now."""
    found = Project.open(root, environment={})
    return found, found.model()


NUMBERS = """\
task: regression
data:
  source: trips.parquet
  time: left_at
  id: trip
  target: minutes
  weight: {{column: counts}}
objective: {objective}
search: {{learners: [{learners}], folds: 2, trials: 4}}
"""


def trips(n: int = 2_000, *, seed: int = 0) -> pl.DataFrame:
    """Trips in order of time, with a weight each; the longer they are, the less their minutes are known."""
    rng = np.random.default_rng(seed)
    km, stops = rng.gamma(3.0, 2.0, n), rng.poisson(2.0, n)
    minutes = 4 + 2 * km + 3 * stops + np.where(stops > 3, km, 0) + (0.5 + 0.2 * km) * rng.standard_normal(n)
    return pl.DataFrame(
        {
            "trip": [f"t{at}" for at in range(n)],
            "left_at": [START + timedelta(minutes=10 * at) for at in range(n)],
            "km": km,
            "stops": stops.astype(np.float64),
            "counts": rng.integers(1, 4, n).astype(np.float64),
            "minutes": minutes,
        }
    )


def numeric_project(root: Path, *, objective: str = "mae", learners: str = "linear, lightgbm") -> tuple[Project, Model]:
    """A project in `root` that predicts a number."""
    folder = root / "trip"
    folder.mkdir(parents=True)
    trips().write_parquet(root / "trips.parquet")
    (root / "everloop.yaml").write_text("{}\n")
    (folder / "model.yaml").write_text(NUMBERS.format(objective=objective, learners=learners))
    (folder / "features.py").write_text("")
    model = Project.open(root, environment={}).model()
    write_contract(model.contract_path, infer_contract(scan("trips.parquet", root=root), model, reads=set()))
    return opened(root)
