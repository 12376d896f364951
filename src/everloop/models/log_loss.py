"""The log-loss of probabilities: what stops a fit early, and what a calibration is chosen by."""

from __future__ import annotations

import numpy as np

__all__ = ["log_loss"]


def log_loss(y: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """The weighted mean of the metric's own losses, in nats; all of shape (n,)."""
    from everloop.tasks.metrics import log_losses

    return float(np.average(log_losses(y, score), weights=weight))
