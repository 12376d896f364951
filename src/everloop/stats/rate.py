"""Whether a rate, such as recall over matured positives, has dropped: in one window, and gathered over windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from everloop.stats.interval import wilson
from everloop.stats.verdict import Json, Verdict

__all__ = ["RateDetector", "binomial_drop_p", "overdispersion"]

# The rates a drop may fall to, as shares of the expected one. A mixture: what is not on it lies near one that is.
FALLS = (0.94, 0.88, 0.8, 0.7, 0.58, 0.45, 0.3, 0.15)


def overdispersion(successes: ArrayLike, n: ArrayLike) -> float:
    """How many times a binomial's variance the windows' rates vary by, at least 1.

    successes, n: shape (windows,). Fraud comes in rings: a day's positives are caught or missed together, and
    count for fewer than they are. Below 5 windows with rows it is 1. Source: McCullagh & Nelder (1989), 4.5.
    """
    caught, rows = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    caught, rows = caught[rows > 0], rows[rows > 0]
    if rows.size < 5:
        return 1.0
    rate = caught.sum() / rows.sum()
    if not 0 < rate < 1:
        return 1.0
    pearson = np.square(caught - rows * rate) / (rows * rate * (1 - rate))
    return max(1.0, float(pearson.sum() / (rows.size - 1)))


def binomial_drop_p(
    successes: float, n: float, *, expected_successes: float, expected_n: float, dispersion: float = 1.0
) -> float:
    """The chance of at most `successes` of `n` if the rate were still the expected one; 1 where n is 0.

    The expected rate is itself uncertain, known from `expected_successes` of `expected_n` only: beta-binomial with
    Jeffreys' prior. dispersion: from `overdispersion`; all counts are divided by it.
    """
    if not (0 <= successes <= n and 0 <= expected_successes <= expected_n and dispersion >= 1):
        raise ValueError(
            f"successes must lie in [0, n] on both sides and dispersion be ≥ 1, got {successes} of {n}, "
            f"{expected_successes} of {expected_n}, {dispersion}"
        )
    rows = round(n / dispersion)
    if rows == 0:
        return 1.0
    from scipy.stats import betabinom

    a = expected_successes / dispersion + 0.5
    b = (expected_n - expected_successes) / dispersion + 0.5
    return min(1.0, float(betabinom.cdf(math.floor(successes / dispersion + 1e-9), rows, a, b)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateDetector:
    """Evidence, gathered over windows, that a rate has dropped at some time; an e-detector of Shiryaev-Roberts kind.

    It alarms when the evidence reaches `threshold`; under no change that happens once in at least `threshold`
    windows on average (`OnlineBudget.windows_per_alarm`), averaged over what the reference leaves open about the
    rate. A lasting drop adds to the evidence window by window, so one too small for any single window is found too.
    Source: Shin, Ramdas & Rinaldo (2024), "E-detectors".

    a, b: the Beta posterior of the expected rate: the reference and all windows so far.
    rate: the reference's own rate, which drops are measured from. log_evidence: shape (drops,), per size of drop.
    """

    threshold: float
    rate: float
    a: float
    b: float
    dispersion: float = 1.0
    log_evidence: tuple[float, ...] = (-math.inf,) * len(FALLS)
    successes: float = 0.0
    n: float = 0.0
    windows: int = 0

    @classmethod
    def start(
        cls, *, expected_successes: float, expected_n: float, threshold: float, dispersion: float = 1.0
    ) -> RateDetector:
        """From what the rate is expected to be: so many of so many in evaluation, and the alarm's threshold ≥ 1."""
        if not (0 <= expected_successes <= expected_n and expected_n > 0 and threshold >= 1 and dispersion >= 1):
            raise ValueError(
                f"expected_successes must lie in [0, expected_n], threshold be ≥ 1 and dispersion ≥ 1, "
                f"got {expected_successes} of {expected_n}, {threshold}, {dispersion}"
            )
        a = expected_successes / dispersion + 0.5
        b = (expected_n - expected_successes) / dispersion + 0.5
        return cls(threshold=threshold, rate=a / (a + b), a=a, b=b, dispersion=dispersion)

    def update(self, successes: float, n: float) -> RateDetector:
        """The detector after a window with `successes` of `n` rows; a window without rows changes nothing."""
        if not 0 <= successes <= n:
            raise ValueError(f"successes must lie in [0, {n}], got {successes}")
        if n == 0:
            return self
        hits, misses = successes / self.dispersion, (n - successes) / self.dispersion
        fallen = self.rate * np.asarray(FALLS)
        ratio = hits * np.log(fallen) + misses * np.log1p(-fallen) - self._log_predictive(hits, misses)
        evidence = np.logaddexp(0.0, np.asarray(self.log_evidence)) + ratio
        return replace(
            self,
            a=self.a + hits,
            b=self.b + misses,
            log_evidence=tuple(evidence.tolist()),
            successes=self.successes + successes,
            n=self.n + n,
            windows=self.windows + 1,
        )

    @property
    def log_total(self) -> float:
        """The log of the evidence over all sizes of drop; an alarm from log(threshold) on."""
        return float(np.logaddexp.reduce(np.asarray(self.log_evidence))) - math.log(len(FALLS))

    @property
    def alarmed(self) -> bool:
        """Whether the evidence reaches the threshold now."""
        return self.log_total >= math.log(self.threshold)

    def restarted(self) -> RateDetector:
        """The detector without evidence, its knowledge of the rate kept: after an alarm was dealt with."""
        return replace(self, log_evidence=(-math.inf,) * len(FALLS))

    def verdict(self, *, what: str = "recall") -> Verdict:
        """failed when alarmed, undecided before the first row, else passed."""
        evidence = {
            "expected": self.rate,
            "seen": wilson(self.successes, self.n),
            "windows": self.windows,
            "log_evidence": self.log_total,
            "needed": math.log(self.threshold),
        }
        if self.n == 0:
            return Verdict.undecided(f"{what}: no outcomes yet", **evidence)
        said = f"{self.log_total:.1f} of the {math.log(self.threshold):.1f} nats that an alarm needs"
        if self.alarmed:
            return Verdict.failed(f"{what} dropped below its expected {self.rate:.3f}: evidence {said}", **evidence)
        return Verdict.passed(f"{what} shows no drop from its expected {self.rate:.3f}: evidence {said}", **evidence)

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON (no evidence is null); `from_dict` reads it back."""
        evidence: list[Json] = [value if math.isfinite(value) else None for value in self.log_evidence]
        return {
            "threshold": self.threshold,
            "rate": self.rate,
            "a": self.a,
            "b": self.b,
            "dispersion": self.dispersion,
            "log_evidence": evidence,
            "successes": self.successes,
            "n": self.n,
            "windows": self.windows,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RateDetector:
        """What `to_dict` wrote."""
        evidence = tuple(-math.inf if value is None else float(value) for value in record["log_evidence"])
        return cls(**{**record, "log_evidence": evidence})

    def _log_predictive(self, hits: float, misses: float) -> float:
        """log of the chance of one order of the window's rows under no change, the past rows known."""
        from scipy.special import betaln

        return float(betaln(self.a + hits, self.b + misses) - betaln(self.a, self.b))
