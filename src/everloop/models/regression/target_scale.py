"""The unit in which learners see a target: how far an outcome lies from the middle one, in usual distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everloop.models.regression.weighted import weighted_quantiles

__all__ = ["TargetScale"]

# the levels between which a normal distribution has so many standard deviations
_INSIDE = ((0.25, 0.75, 1.349), (0.05, 0.95, 3.290))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScale:
    """centre: the median outcome. spread: > 0, the standard deviation that the middle half of the outcomes has.

    Outcomes of a clock that was wrong, a thousand times too long, move neither. Where the middle half is all the same,
    nine tenths say it, and at last the standard deviation of all.
    """

    centre: float
    spread: float

    @classmethod
    def of(cls, y: np.ndarray, weight: np.ndarray) -> TargetScale:
        """The scale of training rows; y, weight: shape (n,), n ≥ 1."""
        centre = float(weighted_quantiles(y, weight, (0.5,))[0])
        for low, high, deviations in _INSIDE:
            ends = weighted_quantiles(y, weight, (low, high))
            if ends[1] > ends[0]:
                return cls(centre=centre, spread=float(ends[1] - ends[0]) / deviations)
        deviation = float(np.sqrt(np.average(np.square(y - np.average(y, weights=weight)), weights=weight)))
        return cls(centre=centre, spread=deviation if deviation > 0 else 1.0)

    def standardised(self, y: np.ndarray) -> np.ndarray:
        """Outcomes as learners see them; float64, the same shape."""
        return (np.asarray(y, dtype=np.float64) - self.centre) / self.spread

    def restored(self, z: np.ndarray) -> np.ndarray:
        """What a learner says, in the target's unit; float64, the same shape."""
        return np.asarray(z, dtype=np.float64) * self.spread + self.centre
