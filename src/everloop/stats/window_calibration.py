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

MIN_WINDOWS = 5
MIN_PER_GROUP = 3
# Tails beyond what a few dozen windows can show are taken as Student's with at most this many degrees: at one alarm
# in ten years over 40 columns a normal tail (5 sd) would be a claim about windows nobody has seen.
MAX_DEGREES = 12.0
# A distance that varies by less than this from window to window (on the log scale) is taken to vary by this much.
MIN_LOG_SD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The spread of one statistic over quiet windows. Made by `calibrate`; JSON through to_dict and from_dict.

    log: whether centres and sd are those of log(statistic + resolution).
    centres: the mean and number of windows per group, such as a weekday; "" is all of them.
    sd: the windows' spread around their group's mean, with `degrees` of freedom.
    """

    log: bool
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
                p = float(t.sf(score, self.degrees))
            case "below":
                p = float(t.cdf(score, self.degrees))
            case _:
                p = 2 * float(t.sf(abs(score), self.degrees))
        # Windows that never differed say only that a difference is rarer than one in so many.
        return max(p, 1 / (self.windows + 1)) if self.sd == 0 else p

    def standardised(self, statistic: float, *, group: str = "") -> float:
        """The statistic in predictive standard deviations from its group's centre."""
        centre, windows = self.centres.get(group, self.centres[""])
        gap = self._transformed(statistic) - centre
        if self.sd == 0:
            return math.copysign(math.inf, gap) if gap else 0.0
        return gap / (self.sd * math.sqrt(1 + 1 / windows))

    def threshold(self, alpha: float, *, group: str = "") -> float:
        """The statistic whose p-value is `alpha`: the upper one, with tail="below" the lower one."""
        from scipy.stats import t

        centre, windows = self.centres.get(group, self.centres[""])
        score = float(t.isf(alpha / 2 if self.tail == "both" else alpha, self.degrees))
        value = centre + (-score if self.tail == "below" else score) * self.sd * math.sqrt(1 + 1 / windows)
        return math.exp(value) - self.resolution if self.log else value

    def expected(self, *, group: str = "") -> float:
        """The statistic of a middling quiet window."""
        centre, _ = self.centres.get(group, self.centres[""])
        return math.exp(centre) - self.resolution if self.log else centre

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON; `from_dict` reads it back."""
        return {
            "log": self.log,
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

    def _transformed(self, statistic: float) -> float:
        return math.log(max(statistic, 0.0) + self.resolution) if self.log else statistic


def calibrate(
    statistics: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    tail: Tail = "above",
    log: bool | None = None,
    resolution: float = 1e-4,
) -> Calibration:
    """The `Calibration` of a statistic from quiet windows.

    statistics: shape (windows,), one per baseline window, computed just as it will be live. NaN is left out. Where
    the reference holds the window itself, take more than a dozen windows, or leave the window out of its reference.
    groups: one name per window, such as its weekday; those with fewer than 3 windows share the common centre.
    tail: "above" for distances, "both" for means and shares.
    log: judge ratios instead of differences; None means so for statistics that are ≥ 0 and have tail "above".
    resolution: a difference too small to matter, > 0, in the statistic's unit; what keeps a constant one finite.
    Raises NotEnoughData below 5 windows.
    """
    values = np.asarray(statistics, dtype=np.float64)
    names = np.asarray([""] * values.size if groups is None else list(groups))
    if values.shape != names.shape or resolution < 0:
        raise ValueError(f"one group per window and resolution ≥ 0: got {values.shape}, {names.shape}, {resolution}")
    known = np.isfinite(values)
    values, names = values[known], names[known]
    if values.size < MIN_WINDOWS:
        raise NotEnoughData(
            f"{values.size} baseline windows cannot show how much quiet windows differ; {MIN_WINDOWS} are the least: "
            "take a longer baseline or shorter windows"
        )
    logged = (tail == "above" and bool(values.min() >= 0)) if log is None else log
    if logged and resolution == 0:
        raise ValueError("a statistic judged on the log scale needs a resolution above 0")
    scaled = np.log(np.maximum(values, 0.0) + resolution) if logged else values
    centres, residual = centred(scaled, names)
    degrees = float(values.size - max(1, len(centres) - 1))
    sd = math.sqrt(float(np.square(residual).sum()) / degrees)
    floor = MIN_LOG_SD if logged else resolution
    return Calibration(
        log=logged,
        tail=tail,
        sd=math.hypot(sd, floor),
        degrees=min(degrees, MAX_DEGREES),
        resolution=resolution,
        windows=int(values.size),
        centres=centres,
    )


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
