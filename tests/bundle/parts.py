"""Parts of small bundles, and where their scripts run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.bundle import BundleParts
from everloop.data import Column, Contract, FeatureTree
from everloop.models import fit_here
from tests.models.rows import COLUMNS, request, rows

ROOT = Path(__file__).parents[2]
NAMES = tuple(f"x{i}" for i in range(COLUMNS))


@dataclass(frozen=True, slots=True)
class PlainBaseline:
    """A reference that is only bytes: what a store needs to know of one."""

    data: bytes = b'{"rows":2000}'

    def to_json(self) -> bytes:
        return self.data


def contract() -> Contract:
    features = tuple(Column(name=name, type="float", role="feature", nullable=True) for name in NAMES)
    return Contract(columns=(*features, Column(name="fraud", type="bool", role="target")), positive=True)


def parts(learner: str = "constant", **changes: Any) -> BundleParts:
    graph = fit_here(request(learner)).graph if "graph" not in changes else changes.pop("graph")
    said: dict[str, Any] = {
        "graph": graph,
        "features": FeatureTree.of(contract()),
        "contract": contract(),
        "baseline": PlainBaseline(),
        "threshold": 0.3,
        "metrics": {"recall": 0.5, "precision": 2 / 3},
        "spec_hash": "5" * 64,
        "model": "fraud",
        "learner": learner,
        "target": "fraud",
        "positive": "fraud",
        "negative": "legitimate",
    }
    return BundleParts(**(said | changes))


def frame(count: int = 2000, seed: int = 4) -> pl.DataFrame:
    X, _ = rows(count, seed=seed)
    return pl.DataFrame({name: X[:, i].astype(np.float64) for i, name in enumerate(NAMES)})
