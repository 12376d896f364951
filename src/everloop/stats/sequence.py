"""Comparisons that may be looked at any number of times: confidence sequences for a bounded mean, and a sign test.

Both are fixed mixtures of betting martingales. The state is a summary that adds up, so batches may come in any
order and size, and sequences of several machines merge. Under the null the chance of ever crossing is at most
alpha, however often one looks (Ville's inequality), at any rarity of positives: nothing here is asymptotic.
Sources: Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting"; Robbins (1970).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from everloop.stats.interval import Interval
from everloop.stats.verdict import Json, Verdict

__all__ = ["BoundedSequence", "SignSequence", "Standing"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Standing = Literal["better", "not_worse", "worse", "undecided"]

# Bin edges in units of the half range around its middle: geometric ladders away from 0 and towards both ends. A bin's
# log-wealth is bounded from below by the chord between its edges, which costs some 1.5 % of the variance term.
RATIO = 1.25
NEAREST_ZERO = 1e-5
NEAREST_END = 1e-3
# Bets as a share of all the wealth. A paired difference's best bet is its mean over its mean square: from a few per
# cent (two nearly equal models) to 1 (every disagreement goes one way).
BETS = np.concatenate([np.geomspace(0.004, 0.5, 15), [0.6, 0.72, 0.85, 0.95, 0.99]])


def ladder() -> Floats:
    """Bin edges from −1 to 1, ascending, 0 and both ends among them; shape (bins + 1,)."""

    def rungs(nearest: float) -> Floats:
        return np.geomspace(nearest, 0.5, math.ceil(math.log(0.5 / nearest) / math.log(RATIO)) + 1)

    up = np.concatenate([rungs(NEAREST_ZERO), 1 - rungs(NEAREST_END)[-2::-1], [1.0]])
    return np.concatenate([-up[::-1], [0.0], up])


EDGES = ladder()
BINS = EDGES.size - 1


def log_mean_exp(exponents: Floats) -> float:
    """log of the mean of exp(exponents), shape (k,), without overflow."""
    top = float(exponents.max())
    return top + math.log(float(np.exp(exponents - top).mean())) if math.isfinite(top) else top


def bisect(rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    """The point between `outside`, which is rejected, and `inside`, which is not, where rejection begins."""
    for _ in range(28):  # to within 1e-8 of the range
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return outside


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedSequence:
    """An anytime-valid confidence sequence for the mean of values in [lower, upper].

    For a paired comparison the values are gains, row by row: the champion's loss minus the challenger's, so
    that positive is good for the challenger. For recall feed positives only: the mean is the difference in recall.
    alpha: the chance, over both sides and all looks together, that the mean is ever outside the interval.
    counts, sums: shape (BINS,), rows and their scaled sum per bin; what `update` adds to.
    """

    lower: float = -1.0
    upper: float = 1.0
    alpha: float = 0.05
    counts: tuple[int, ...] = (0,) * BINS
    sums: tuple[float, ...] = (0.0,) * BINS

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"lower must be below upper, got {self.lower} and {self.upper}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {self.alpha}")

    @property
    def n(self) -> int:
        """Values seen."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The mean of the values seen; the middle of the range before the first."""
        return self._unscaled(math.fsum(self.sums) / self.n if self.n else 0.0)

    def update(self, values: np.ndarray[Any, Any], *, times: np.ndarray[Any, Any] | None = None) -> BoundedSequence:
        """The sequence with `values`, shape (n,), seen too; `times`, shape (n,): how often each was, once if None.

        Raises ValueError for a value outside [lower, upper].
        """
        values = np.asarray(values, dtype=np.float64)
        often = np.ones(values.size, dtype=np.int64) if times is None else np.asarray(times, dtype=np.int64)
        if values.size == 0:
            return self
        if not (values.min() >= self.lower and values.max() <= self.upper):
            raise ValueError(
                f"values must lie in [{self.lower}, {self.upper}], got [{values.min()}, {values.max()}]: "
                "the bound is what the guarantee rests on"
            )
        scaled = self._scaled(values)
        bins = np.minimum(np.searchsorted(EDGES, scaled, side="right") - 1, BINS - 1)
        seen = np.bincount(bins, weights=often, minlength=BINS).astype(np.int64)
        counts = np.asarray(self.counts) + seen
        sums = np.asarray(self.sums) + np.bincount(bins, weights=scaled * often, minlength=BINS)
        return replace(self, counts=tuple(counts.tolist()), sums=tuple(sums.tolist()))

    def __add__(self, other: BoundedSequence) -> BoundedSequence:
        """Both sequences' values together; they must share range and alpha."""
        if (self.lower, self.upper, self.alpha) != (other.lower, other.upper, other.alpha):
            raise ValueError("only sequences of one range and alpha add up")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        return replace(self, counts=counts, sums=sums)

    def log_evidence(self, mean: float, *, above: bool = True) -> float:
        """The log e-value against "the mean is at most `mean`" (at least, with above=False); ≥ log(1/α) rejects at α.

        It is a supermartingale under that null, starting at 0: valid at any time one looks.
        """
        return self._log_wealth(float(self._scaled(mean)), up=above)

    def surely_above(self, mean: float) -> bool:
        """Whether the mean is known to be above `mean`; wrong at most alpha / 2 of the time, over all looks."""
        return self.log_evidence(mean, above=True) >= math.log(2 / self.alpha)

    def surely_below(self, mean: float) -> bool:
        """Whether the mean is known to be below `mean`; wrong at most alpha / 2 of the time, over all looks."""
        return self.log_evidence(mean, above=False) >= math.log(2 / self.alpha)

    def interval(self) -> Interval:
        """The mean with all values that were never rejected; [lower, upper] before the first row."""
        needed = math.log(2 / self.alpha)
        point = math.fsum(self.sums) / self.n if self.n else 0.0
        low, high = -1.0, 1.0
        if self._log_wealth(-1 + 1e-9, up=True) >= needed:
            low = bisect(lambda m: self._log_wealth(m, up=True) >= needed, point, -1 + 1e-9)
        if self._log_wealth(1 - 1e-9, up=False) >= needed:
            high = bisect(lambda m: self._log_wealth(m, up=False) >= needed, point, 1 - 1e-9)
        return Interval(
            low=self._unscaled(low), point=self._unscaled(point), high=self._unscaled(high), level=1 - self.alpha
        )

    def standing(self, *, margin: float = 0.0) -> Standing:
        """Where the challenger stands when the values are its gains.

        better: the mean is above 0. not_worse: it is above −margin. worse: it is below 0, and not within the
        margin either. Each of better and worse is wrong at most alpha / 2 of the time, over all looks.
        """
        if self.surely_above(0.0):
            return "better"
        if margin > 0 and self.surely_above(-margin):
            return "not_worse"
        return "worse" if self.surely_below(0.0) else "undecided"

    def verdict(self, *, margin: float = 0.0, what: str = "the challenger's gain") -> Verdict:
        """passed when better or not worse by `margin`, failed when worse, else undecided."""
        return _verdict(self.standing(margin=margin), self.interval(), self.n, margin=margin, what=what)

    def verdict_better(self, *, margin: float = 0.0, what: str = "the challenger's gain") -> Verdict:
        """passed when the mean is above `margin`, failed when it is known to be below, else undecided."""
        interval = self.interval()
        evidence = {"interval": interval, "n": self.n, "margin": margin}
        if interval.low > margin:
            return Verdict.passed(f"{what} {interval:.4f} is above {margin:g}", **evidence)
        if interval.high < margin:
            return Verdict.failed(f"{what} {interval:.4f} is below {margin:g}", **evidence)
        return Verdict.undecided(f"{what} {interval:.4f} may be on either side of {margin:g}", **evidence)

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON, empty bins left out; `from_dict` reads it back."""
        filled: list[Json] = [[i, c, s] for i, (c, s) in enumerate(zip(self.counts, self.sums, strict=True)) if c]
        return {"lower": self.lower, "upper": self.upper, "alpha": self.alpha, "bins": filled}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> BoundedSequence:
        """What `to_dict` wrote."""
        counts, sums = [0] * BINS, [0.0] * BINS
        for index, count, total in record["bins"]:
            counts[index], sums[index] = count, total
        return cls(
            lower=record["lower"],
            upper=record["upper"],
            alpha=record["alpha"],
            counts=tuple(counts),
            sums=tuple(sums),
        )

    def _scaled(self, values: Any) -> Any:
        half = (self.upper - self.lower) / 2
        return np.clip((values - (self.lower + self.upper) / 2) / half, -1.0, 1.0)

    def _unscaled(self, value: float) -> float:
        return (self.lower + self.upper) / 2 + value * (self.upper - self.lower) / 2

    def _log_wealth(self, mean: float, *, up: bool) -> float:
        """log of the mean wealth over BETS after betting that the scaled mean is above (below) `mean`.

        A bet of share c multiplies the wealth by 1 − c + c (x + 1) / (mean + 1). That is concave in x, so a bin's
        rows gain at least the chord between its edges at their mean: a lower bound, hence still valid.
        """
        counts = np.asarray(self.counts, dtype=np.float64)
        filled = counts > 0
        counts, totals = counts[filled], np.asarray(self.sums)[filled]
        left, right = EDGES[:-1][filled], EDGES[1:][filled]
        ends = (left, right, mean) if up else (-left, -right, -mean)
        at_left = np.log1p(np.outer(BETS, (ends[0] + 1) / (ends[2] + 1) - 1))
        at_right = np.log1p(np.outer(BETS, (ends[1] + 1) / (ends[2] + 1) - 1))
        share = np.clip((totals / counts - left) / (right - left), 0.0, 1.0)
        return log_mean_exp((counts * (at_left * (1 - share) + at_right * share)).sum(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignSequence:
    """An anytime-valid sign test on discordant pairs: rows that exactly one of two models got right.

    wins: pairs that the challenger got right, losses: those that the champion did. Under no difference each is a
    fair coin, however rare positives are and however the scores are calibrated. It asks less than
    BoundedSequence (no margin, no size of the difference in recall) and so answers a little sooner.
    """

    wins: int = 0
    losses: int = 0
    alpha: float = 0.05

    def update(self, *, wins: int, losses: int) -> SignSequence:
        """The sequence with further pairs seen, both counts ≥ 0."""
        if wins < 0 or losses < 0:
            raise ValueError(f"counts must not be negative, got wins {wins} and losses {losses}")
        return replace(self, wins=self.wins + wins, losses=self.losses + losses)

    def __add__(self, other: SignSequence) -> SignSequence:
        """Both sequences' pairs together."""
        return self.update(wins=other.wins, losses=other.losses)

    def log_evidence(self, *, above: bool = True) -> float:
        """The log e-value against "a win is no likelier than a loss" (no less likely, with above=False).

        The alternative is uniform over win shares on its side of 1/2: a beta-binomial mixture martingale.
        """
        from scipy.special import betaln
        from scipy.stats import beta

        for_, against = (self.wins, self.losses) if above else (self.losses, self.wins)
        pairs = for_ + against
        half = float(beta.logsf(0.5, for_ + 1, against + 1))
        return pairs * math.log(2) + float(betaln(for_ + 1, against + 1)) + math.log(2) + half

    def interval(self) -> Interval:
        """The share of wins among discordant pairs, valid at any time; [0, 1] before the first pair."""
        from scipy.special import betaln

        pairs = self.wins + self.losses
        if pairs == 0:
            return Interval(low=0.0, point=0.5, high=1.0, level=1 - self.alpha)
        mixture = float(betaln(self.wins + 1, self.losses + 1))

        def rejected(share: float) -> bool:
            fit = _xlogy(self.wins, share) + _xlogy(self.losses, 1 - share)
            return mixture - fit >= math.log(1 / self.alpha)

        point = self.wins / pairs
        low = bisect(rejected, point, 0.0) if rejected(0.0) else 0.0
        high = bisect(rejected, point, 1.0) if rejected(1.0) else 1.0
        return Interval(low=low, point=point, high=high, level=1 - self.alpha)

    def standing(self) -> Standing:
        """better or worse, each wrong at most alpha / 2 of the time over all looks; else undecided."""
        needed = math.log(2 / self.alpha)
        if self.log_evidence(above=True) >= needed:
            return "better"
        return "worse" if self.log_evidence(above=False) >= needed else "undecided"

    def verdict(self, *, what: str = "the challenger's share of wins") -> Verdict:
        """passed when better, failed when worse, else undecided."""
        return _verdict(self.standing(), self.interval(), self.wins + self.losses, margin=0.0, what=what)

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON; `from_dict` reads it back."""
        return {"wins": self.wins, "losses": self.losses, "alpha": self.alpha}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SignSequence:
        """What `to_dict` wrote."""
        return cls(wins=record["wins"], losses=record["losses"], alpha=record["alpha"])


def _xlogy(count: int, share: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(share) if share > 0 else -math.inf


def _verdict(standing: Standing, interval: Interval, n: int, *, margin: float, what: str) -> Verdict:
    evidence = {"standing": standing, "interval": interval, "n": n, "margin": margin}
    said = f"{what} {interval:.4f} over {n:,} rows"
    if standing == "better":
        return Verdict.passed(f"better: {said}", **evidence)
    if standing == "not_worse":
        return Verdict.passed(f"not worse by {margin:g}: {said}", **evidence)
    if standing == "worse":
        return Verdict.failed(f"worse: {said}", **evidence)
    return Verdict.undecided(f"undecided: {said}", **evidence)
