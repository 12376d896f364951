"""What a run says of a model: every metric its rows can give, each with its interval."""

from __future__ import annotations

import numpy as np

from everloop.production.judged import REPORTED, estimates
from everloop.tasks import Evaluation

Y = np.array([1, 0, 0, 1, 0, 0, 0, 1])
SCORE = np.array([0.9, 0.1, 0.6, 0.2, 0.3, 0.1, 0.2, 0.7], dtype=np.float32)


def test_every_metric_has_its_interval_rows_and_positives() -> None:
    found = estimates(Evaluation(y=Y, score=SCORE, threshold=0.5), seed=0)
    assert tuple(found) == REPORTED["classification"]
    for name, value in found.items():
        assert value["low"] <= value["point"] <= value["high"], name
        assert (value["rows"], value["positives"], value["level"]) == (8, 3, 0.95)


def test_cost_is_told_where_there_are_prices() -> None:
    found = estimates(Evaluation(y=Y, score=SCORE, threshold=0.5, costs={"fn": 100.0, "fp": 1.0}), seed=0)
    assert found["cost"]["point"] == (1 * 100 + 1 * 1) / 8


def test_what_one_class_cannot_give_is_left_out() -> None:
    found = estimates(Evaluation(y=np.zeros(8), score=SCORE, threshold=0.5), seed=0)
    assert "recall" not in found
    assert "accuracy" in found
