"""Scores as people read them: high, medium and low risk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everloop.tasks.task import Array

__all__ = ["RiskShares", "risk_shares"]

# Medium risk begins at this share of the decision threshold: near enough to it to be worth a look.
MEDIUM = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskShares:
    """Shares of rows, adding up to 1. high: flagged; medium: from half the threshold up; low: the rest."""

    high: float
    medium: float
    low: float

    def to_dict(self) -> dict[str, float]:
        """Plain JSON."""
        return {"high": self.high, "medium": self.medium, "low": self.low}


def risk_shares(
    score: Array, threshold: float, *, weight: Array | None = None, medium: float = MEDIUM
) -> RiskShares | None:
    """The shares of high, medium and low risk among scores of shape (n,); None without rows.

    medium: where medium risk begins, as a share of `threshold`, between 0 and 1.
    """
    scores = np.asarray(score)
    if scores.size == 0:
        return None
    weights = np.ones(scores.size) if weight is None else np.asarray(weight, dtype=np.float64)
    kind = scores.dtype.type
    above = float(weights[scores >= kind(threshold)].sum() / weights.sum())
    from_medium = float(weights[scores >= kind(threshold * medium)].sum() / weights.sum())
    return RiskShares(high=above, medium=max(0.0, from_medium - above), low=max(0.0, 1.0 - from_medium))
