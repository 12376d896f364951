"""Calibration by whatever rises: pool adjacent violators, joined by straight lines so that no two scores become one.

Source: Zadrozny & Elkan, Transforming classifier scores into accurate multiclass probability estimates (2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.models.score_map import LANES

__all__ = ["IsotonicMap"]

_KNOTS: Final = 4 * LANES
_RISE: Final = 0.01
"""What is left to rise, as a share, beyond the outermost knots: enough to keep scores apart."""


@dataclass(frozen=True, slots=True)
class IsotonicMap:
    """Straight lines through (knots, values): both rise strictly, the knots from 0 to 1; at most 64 of them."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def fit(cls, scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> IsotonicMap:
        """The rising steps nearest to `y`, each told by its mean score. scores, y, weight: shape (n,), both classes."""
        centre, value, mass = _steps(np.asarray(scores, dtype=np.float64), y, weight)
        value = _uncertain(value, mass, float(weight.mean()))
        knots, values = list(centre), list(value)
        if knots[0] > 0.0:
            knots, values = [0.0, *knots], [values[0] * (1 - _RISE), *values]
        if knots[-1] < 1.0:
            knots, values = [*knots, 1.0], [*values, values[-1] + (1 - values[-1]) * _RISE]
        return cls(tuple(map(float, knots)), tuple(map(float, values)))

    @property
    def method(self) -> str:
        """As specs say it."""
        return "isotonic"

    @property
    def parameters(self) -> dict[str, list[float]]:
        """The points that the lines go through."""
        return {"knots": list(self.knots), "values": list(self.values)}

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities, float64, shape (n,)."""
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.knots, self.values))

    def nodes(self, source: str, target: str) -> tuple[list[Any], list[Any]]:
        """The first value and what each piece adds to it: its slope, times how much of it lies below the score."""
        from onnx import TensorProto, helper, numpy_helper

        def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
            return helper.make_node(kind, inputs, [output], name=output, **attributes)

        nodes = [
            node("Cast", [source], "map_double", to=TensorProto.DOUBLE),
            node("Unsqueeze", ["map_double", "map_axis"], "map_column"),
            node("Sub", ["map_column", "map_knots"], "map_above"),
            node("Max", ["map_above", "map_zero"], "map_begun"),
            node("Min", ["map_begun", "map_widths"], "map_within"),
            node("Mul", ["map_within", "map_slopes"], "map_added"),
            node("ReduceSum", ["map_added", "map_axis"], "map_risen", keepdims=0),
            node("Add", ["map_risen", "map_first"], "map_probability"),
            node("Cast", ["map_probability"], target, to=TensorProto.FLOAT),
        ]
        widths = np.diff(self.knots)
        pieces = {"knots": self.knots[:-1], "widths": widths, "slopes": np.diff(self.values) / widths}
        padded = {name: np.pad(np.array(part), (0, _KNOTS - len(part))) for name, part in pieces.items()}
        numbers = padded | {"zero": np.array(0.0), "first": np.array(self.values[0])}
        return nodes, [
            *(numpy_helper.from_array(array, f"map_{name}") for name, array in numbers.items()),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "map_axis"),
        ]


def _steps(scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean score, share of positives and weight of each step, lowest first; as many as a map has room for."""
    from scipy.optimize import isotonic_regression

    apart, place = np.unique(scores, return_inverse=True)
    mass = np.bincount(place, weights=weight)
    share = np.bincount(place, weights=weight * (y == 1)) / mass
    first = isotonic_regression(share, weights=mass).blocks[:-1]
    sums = [np.add.reduceat(part, first) for part in (apart * mass, share * mass, mass)]
    while len(sums[2]) > _KNOTS - 2:
        centre, positives, mass = sums
        gaps = np.diff(positives / mass) ** 2 * mass[1:] * mass[:-1] / (mass[1:] + mass[:-1])
        at = int(np.argmin(gaps))  # the two neighbours that lose least by becoming one
        sums = [np.concatenate([part[:at], [part[at] + part[at + 1]], part[at + 2 :]]) for part in sums]
    centre, positives, mass = sums
    return centre / mass, positives / mass, mass


def _uncertain(value: np.ndarray, mass: np.ndarray, row: float) -> np.ndarray:
    """`value` with half a row of doubt where the first step holds no positive, or the last no negative."""
    doubt = 0.5 * row / (mass + row)
    inner = value[(value > 0.0) & (value < 1.0)]
    lowest, highest = (float(inner[0]), float(inner[-1])) if len(inner) else (0.5, 0.5)
    value = np.where(value <= 0.0, np.minimum(doubt, lowest / 2), value)
    return np.where(value >= 1.0, 1 - np.minimum(doubt, (1 - highest) / 2), value)
