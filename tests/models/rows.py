"""Small rows to learn from: values missing, one column complete, one heavy-tailed, one value infinite."""

from __future__ import annotations

from typing import Any

import numpy as np

from everloop.models import FitRequest

COLUMNS = 6
NAMES = ("constant", "logistic", "random_forest", "xgboost", "lightgbm", "neural_network")
SMALL: dict[str, dict[str, Any]] = {
    "constant": {},
    "logistic": {},
    "random_forest": {"n_estimators": 30, "tree_rows": 1500, "scale_pos_weight": 1.0},
    "xgboost": {"num_round": 20, "eta": 0.3, "subsample": 0.8, "colsample_bytree": 0.8},
    "lightgbm": {"num_round": 20, "eta": 0.3, "subsample": 0.8, "colsample_bytree": 0.8},
    "neural_network": {"hidden": "16", "epochs": 25, "batch_size": 256, "learning_rate": 0.01},
}


def rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, COLUMNS)).astype(np.float32)
    X[:, 0] = np.exp(2 * X[:, 0]) * 50
    chance = 1 / (1 + np.exp(-(1.5 * X[:, 1] + X[:, 2] * X[:, 3] - 2)))
    y = (rng.random(count) < chance).astype(np.int8)
    holes = rng.random(X.shape) < 0.1
    holes[:, 5] = False  # complete in training
    X[holes] = np.nan
    X[1, 2] = np.inf
    return X, y


def request(name: str, **changes: Any) -> FitRequest:
    X, y = rows(2000)
    said: dict[str, Any] = {"learner": name, "params": SMALL[name], "X": X, "y": y, "seed": 7}
    return FitRequest(**(said | changes))
