"""The log-loss of probabilities: what stops a fit early, and what a calibration is chosen by."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["log_loss", "log_losses"]

_CERTAINTY: Final = 1e-7  # next to 1, float32 knows no finer steps


def log_losses(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The log-loss of every row, in nats, shape (n,).

    y: shape (n,), 0 or 1. score: shape (n,), a probability, cut at 1e-7 from both ends.
    """
    p = np.clip(np.asarray(score, dtype=np.float64), _CERTAINTY, 1 - _CERTAINTY)
    return np.asarray(-np.log(np.where(y == 1, p, 1 - p)))


def log_loss(y: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """The weighted mean of `log_losses`. weight: shape (n,), positive."""
    return float(np.average(log_losses(y, score), weights=weight))
