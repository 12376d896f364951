"""How unusual a window's statistic is, judged by the baseline's own windows, weekday with weekday.

A textbook p-value knows only sampling noise; with 20,000 rows a day every quiet Monday differs "significantly"
from the whole baseline. Here the yardstick is how much quiet windows differ among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from everloop.errors import NotEnoughData
from everloop.stats.verdict import Json

__all__ = ["Calibration", "calibrate"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Tail = Literal["above", "below", "both"]
Scale = Literal["plain", "root", "log"]

MIN_WINDOWS = 5
MIN_PER_GROUP = 3
# Tails beyond what a few dozen windows can show are taken as Student's with at most this many degrees, fewer where
# the windows' own kurtosis asks for it: at one alarm in ten years over 40 columns a normal tail (5 sd) would be a
# claim about windows that nobody has seen.
MAX_DEGREES = 12.0
MIN_DEGREES = 4.5
# More skew than this, one standard error added, and a distance is judged on its root, then on its log: PSI, say,
# is a sum of squares.
MAX_SKEW = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The spread of one statistic over quiet windows. Made by `calibrate`; JSON through to_dict and from_dict.

    scale: centres and sd are those of the statistic, of its root, or of log(statistic + resolution).
    centres: the mean and number of windows per group, such as a weekday; "" is all of them.
    sd: the windows' spread around their group's mean, with `degrees` of freedom.
    """

    scale: Scale
    tail: Tail
    sd: float
    degrees: float
    resolution: float
    windows: int
    centres: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def p_value(self, statistic: float, *, group: str = "") -> float:
        """The chance that a quiet window's statistic is at least this far out; NaN for NaN.

        group: as in `calibrate`; one that the baseline did not have (or hardly) is judged by all windows.
        """
        if math.isnan(statistic):
            return math.nan
        from scipy.stats import t

        score = self.standardised(statistic, group=group)
        match self.tail:
            case "above":
                return float(t.sf(score, self.degrees))
            case "below":
                return float(t.cdf(score, self.degrees))
            case _:
                return 2 * float(t.sf(abs(score), self.degrees))

    def standardised(self, statistic: float, *, group: str = "") -> float:
        """The statistic in predictive standard deviations from its group's centre."""
        centre, windows = self.centres.get(group, self.centres[""])
        value = float(rescaled(np.array([statistic]), scale=self.scale, resolution=self.resolution)[0])
        return (value - centre) / (self.sd * math.sqrt(1 + 1 / windows))

    def threshold(self, alpha: float, *, group: str = "") -> float:
        """The statistic whose p-value is `alpha`: the upper one, with tail="below" the lower one."""
        from scipy.stats import t

        centre, windows = self.centres.get(group, self.centres[""])
        score = float(t.isf(alpha / 2 if self.tail == "both" else alpha, self.degrees))
        value = centre + (-score if self.tail == "below" else score) * self.sd * math.sqrt(1 + 1 / windows)
        return restored(value, scale=self.scale, resolution=self.resolution)

    def expected(self, *, group: str = "") -> float:
        """The statistic of a middling quiet window."""
        centre, _ = self.centres.get(group, self.centres[""])
        return restored(centre, scale=self.scale, resolution=self.resolution)

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON; `from_dict` reads it back."""
        return {
            "scale": self.scale,
            "tail": self.tail,
            "sd": self.sd,
            "degrees": self.degrees,
            "resolution": self.resolution,
            "windows": self.windows,
            "centres": {name: [centre, windows] for name, (centre, windows) in self.centres.items()},
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """What `to_dict` wrote."""
        centres = {name: (float(centre), int(windows)) for name, (centre, windows) in record["centres"].items()}
        return cls(**{**record, "centres": centres})


def calibrate(
    statistics: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    tail: Tail = "above",
    scale: Scale | None = None,
    resolution: float = 1e-4,
) -> Calibration:
    """The `Calibration` of a statistic from quiet windows.

    statistics: shape (windows,), one per baseline window, computed just as it will be live. NaN is left out. Where
    the reference holds the window itself, take more than a dozen windows, or leave the window out of its reference.
    groups: one name per window, such as its weekday; those with fewer than 3 windows share the common centre.
    tail: "above" for distances, "both" for means and shares.
    scale: on which the windows' spread is taken; None picks the mildest on which they are not skewed where
    tail is "above", and "plain" for the other tails.
    resolution: a difference too small to matter, > 0, in the statistic's unit; what keeps a constant one finite.
    Raises NotEnoughData below 5 windows.
    """
    values = np.asarray(statistics, dtype=np.float64)
    names = np.asarray([""] * values.size if groups is None else list(groups))
    if values.shape != names.shape or resolution <= 0:
        raise ValueError(f"one group per window and resolution > 0: got {values.shape}, {names.shape}, {resolution}")
    known = np.isfinite(values)
    values, names = values[known], names[known]
    if values.size < MIN_WINDOWS:
        raise NotEnoughData(
            f"{values.size} baseline windows cannot show how much quiet windows differ; {MIN_WINDOWS} are the least: "
            "take a longer baseline or shorter windows"
        )
    chosen = scale_for(values, names, tail=tail, resolution=resolution) if scale is None else scale
    centres, residual = centred(rescaled(values, scale=chosen, resolution=resolution), names)
    degrees = float(values.size - max(1, len(centres) - 1))
    sd = math.sqrt(float(np.square(residual).sum()) / degrees)
    return Calibration(
        scale=chosen,
        tail=tail,
        sd=math.hypot(sd, smallest_step(centres[""][0], scale=chosen, resolution=resolution)),
        degrees=min(degrees, tail_degrees(residual)),
        resolution=resolution,
        windows=int(values.size),
        centres=centres,
    )


def rescaled(values: Floats, *, scale: Scale, resolution: float) -> Floats:
    """`values` on the scale that their spread is taken on."""
    if scale == "plain":
        return values
    raised = np.maximum(values, 0.0) + resolution
    return np.sqrt(raised) if scale == "root" else np.log(raised)


def restored(value: float, *, scale: Scale, resolution: float) -> float:
    """The statistic that `rescaled` makes `value` of."""
    if scale == "plain":
        return value
    return (max(value, 0.0) ** 2 if scale == "root" else math.exp(value)) - resolution


def smallest_step(centre: float, *, scale: Scale, resolution: float) -> float:
    """`resolution` on the scale, at the `centre` of the windows."""
    if scale == "plain":
        return resolution
    at = restored(centre, scale=scale, resolution=resolution) + resolution
    return resolution / (2 * math.sqrt(at)) if scale == "root" else resolution / at


def scale_for(values: Floats, names: np.ndarray[Any, Any], *, tail: Tail, resolution: float) -> Scale:
    """The mildest scale on which the windows are not skewed to the right; "plain" unless only high values matter."""
    if tail != "above" or values.min() < 0:
        return "plain"
    scales: tuple[Scale, ...] = ("plain", "root")
    for scale in scales:
        _, residual = centred(rescaled(values, scale=scale, resolution=resolution), names)
        sd = float(residual.std())
        if sd == 0 or float((residual**3).mean()) / sd**3 + math.sqrt(6 / values.size) <= MAX_SKEW:
            return scale
    return "log"


def tail_degrees(residual: Floats) -> float:
    """Student's degrees of freedom with the residuals' kurtosis, one standard error added, within the two bounds."""
    variance = float(np.square(residual).mean())
    if variance == 0:
        return MAX_DEGREES
    excess = float((residual**4).mean()) / variance**2 - 3 + math.sqrt(24 / residual.size)
    return MAX_DEGREES if excess <= 0 else min(MAX_DEGREES, max(MIN_DEGREES, 4 + 6 / excess))


def centred(values: Floats, names: np.ndarray[Any, Any]) -> tuple[dict[str, tuple[float, int]], Floats]:
    """Centre and size of all windows ("") and of each group large enough, and each window's gap to its centre."""
    centres = {"": (float(values.mean()), int(values.size))}
    residual = values - values.mean()
    for name in np.unique(names):
        rows = names == name
        if name and rows.sum() >= MIN_PER_GROUP:
            centres[str(name)] = (float(values[rows].mean()), int(rows.sum()))
            residual[rows] = values[rows] - values[rows].mean()
    return centres, residual
