"""Calibration by a line in the log-odds: probability = 1 / (1 + exp(-(slope · logit(score) + intercept))).

Source: Platt, Probabilistic outputs for support vector machines (1999), with his smoothed targets; here of the logit,
so that slope 1 and intercept 0 change nothing, and an intercept alone undoes a weight that positives had in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.models.score_map import LANES

__all__ = ["LogisticMap"]

_EDGE: Final = 1e-12
_LEAST_SLOPE: Final = 1e-3
_STEPS: Final = 100
_SETTLED: Final = 1e-10
_RIDGE: Final = 1e-9  # where all scores are one score, any slope fits: then it stays 1


@dataclass(frozen=True, slots=True)
class LogisticMap:
    """slope > 0, so that it rises."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> LogisticMap:
        """The line of the least weighted log-loss. scores, y, weight: shape (n,), both classes there.

        Where higher scores are rarer positives, the slope is as good as 0 and the ranking stays.
        """
        z, targets = _logit(scores), _smoothed(y)
        weight = weight / weight.mean()
        slope, intercept = _newton(z, targets, weight, start=(1.0, 0.0), free=np.array([True, True]))
        if slope < _LEAST_SLOPE:
            start = (_LEAST_SLOPE, intercept)
            slope, intercept = _newton(z, targets, weight, start=start, free=np.array([False, True]))
        return cls(slope, intercept)

    @property
    def method(self) -> str:
        """As specs say it."""
        return "logistic"

    @property
    def parameters(self) -> dict[str, list[float]]:
        """Both numbers."""
        return {"slope": [self.slope], "intercept": [self.intercept]}

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities, float64, shape (n,)."""
        return _sigmoid(self.slope * _logit(scores) + self.intercept)

    def nodes(self, source: str, target: str) -> tuple[list[Any], list[Any]]:
        """The same in float64, every row `LANES` times over, of which one is kept."""
        from onnx import TensorProto, helper, numpy_helper

        def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
            return helper.make_node(kind, inputs, [output], name=output, **attributes)

        nodes = [
            node("Cast", [source], "map_double", to=TensorProto.DOUBLE),
            node("Unsqueeze", ["map_double", "map_axis"], "map_column"),
            node("Expand", ["map_column", "map_lanes"], "map_wide"),
            node("Clip", ["map_wide", "map_low", "map_high"], "map_score"),
            node("Log", ["map_score"], "map_log"),
            node("Sub", ["map_one", "map_score"], "map_rest"),
            node("Log", ["map_rest"], "map_log_rest"),
            node("Sub", ["map_log", "map_log_rest"], "map_logit"),
            node("Mul", ["map_logit", "map_slope"], "map_scaled"),
            node("Add", ["map_scaled", "map_intercept"], "map_shifted"),
            node("Sigmoid", ["map_shifted"], "map_probability"),
            node("Gather", ["map_probability", "map_first"], "map_kept", axis=1),
            node("Cast", ["map_kept"], target, to=TensorProto.FLOAT),
        ]
        numbers = {"low": _EDGE, "high": 1 - _EDGE, "one": 1.0, "slope": self.slope, "intercept": self.intercept}
        places = {"axis": [1], "lanes": [1, LANES], "first": 0}
        return nodes, [
            *(numpy_helper.from_array(np.array(value, dtype=np.float64), f"map_{k}") for k, value in numbers.items()),
            *(numpy_helper.from_array(np.array(value, dtype=np.int64), f"map_{k}") for k, value in places.items()),
        ]


def _logit(scores: np.ndarray) -> np.ndarray:
    p = np.clip(np.asarray(scores, dtype=np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p) - np.log(1 - p))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(z))


def _smoothed(y: np.ndarray) -> np.ndarray:
    """Platt's targets: a little less than certain, by how many rows a class has."""
    positives = int((y == 1).sum())
    negatives = len(y) - positives
    return np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _newton(
    z: np.ndarray, targets: np.ndarray, weight: np.ndarray, *, start: tuple[float, float], free: np.ndarray
) -> tuple[float, float]:
    """Slope and intercept of the least loss, those that are not `free` as they start; the loss is convex."""
    at = np.array(start)
    X = np.column_stack([z, np.ones(len(z))])

    def loss(point: np.ndarray) -> float:
        line = X @ point
        return float(np.sum(weight * (np.logaddexp(0.0, line) - targets * line)) + _ridge(point))

    def _ridge(point: np.ndarray) -> float:
        return float(0.5 * _RIDGE * len(z) * (point[0] - 1.0) ** 2)

    now = loss(at)
    for _ in range(_STEPS):
        p = _sigmoid(X @ at)
        gradient = X.T @ (weight * (p - targets)) + _RIDGE * len(z) * np.array([at[0] - 1.0, 0.0])
        curve = (X * (weight * p * (1 - p))[:, None]).T @ X + _RIDGE * len(z) * np.eye(2)
        step = np.zeros(2)
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], gradient[free])
        share = 1.0
        while (then := loss(at - share * step)) > now and share > _SETTLED:
            share /= 2
        at, now = at - share * step, then
        if np.abs(share * step).max() < _SETTLED:
            break
    return float(at[0]), float(at[1])
