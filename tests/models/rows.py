"""Small rows to learn from, and hyperparameters that learn from them quickly."""

from __future__ import annotations

from typing import Any

from everloop.models import FitRequest
from everloop.testing.planted_rows import COLUMNS
from everloop.testing.planted_rows import planted_rows as rows

__all__ = ["COLUMNS", "NAMES", "SMALL", "request", "rows"]

NAMES = ("constant", "logistic", "random_forest", "xgboost", "lightgbm", "neural_network")
SMALL: dict[str, dict[str, Any]] = {
    "constant": {},
    "logistic": {},
    "random_forest": {"n_estimators": 30, "tree_rows": 1500, "scale_pos_weight": 1.0},
    "xgboost": {"num_round": 20, "eta": 0.3, "subsample": 0.8, "colsample_bytree": 0.8},
    "lightgbm": {"num_round": 20, "eta": 0.3, "subsample": 0.8, "colsample_bytree": 0.8},
    "neural_network": {"hidden": "16", "epochs": 25, "batch_size": 256, "learning_rate": 0.01},
}


def request(name: str, **changes: Any) -> FitRequest:
    X, y = rows(2000)
    said: dict[str, Any] = {"learner": name, "params": SMALL[name], "X": X, "y": y, "seed": 7}
    return FitRequest(**(said | changes))
