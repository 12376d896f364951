"""Checks of a matured window: whether recall, precision and other metrics are what the version promised.

A share (recall, precision, accuracy) is followed over all windows of a version by a detector that gathers evidence
(`stats.RateDetector`): a day has some twenty positives, too few to say anything alone. It starts from the version's
own held-out counts, so what those leave open is in it, less `TOLERANCE`: the candidate was chosen among many on
rows like these, and a live rate a little lower is no news. Other metrics are asked window by window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.errors import NotEnoughData
from everloop.monitoring.reading import span_words
from everloop.monitoring.reference import Expected
from everloop.project import METRICS
from everloop.stats import Interval, RateDetector, Verdict, binomial_drop_p, overdispersion, wilson
from everloop.tasks import Evaluated, hits
from everloop.traffic import Window

__all__ = ["NEAR", "SHARES", "TOLERANCE", "Counted", "as_before", "metric_verdict", "share_counts", "share_verdict"]

Array = np.ndarray[Any, Any]

SHARES: Final = ("recall", "precision", "accuracy")
NEAR: Final = "near"
"""Of a file of numbers, the share of outcomes as near to their scores as nine in ten were in the reference."""
TOLERANCE: Final = 0.03
# The newest windows may hold the drop itself; how much quiet windows differ is read off the ones before.
UNSETTLED: Final = 7
# How much windows of a regression differ, as a share of the metric, until that many have shown it.
UNKNOWN_BETWEEN: Final = 0.05
# Above this chance of what was seen, the expected rate is kept: the detector knows what the rate was of late too.
KEPT: Final = 1e-3
_WHAT: Final = {
    "recall": "{s:,.0f} of {n:,.0f} positives were caught",
    "precision": "{s:,.0f} of {n:,.0f} flagged rows were positive",
    "accuracy": "{s:,.0f} of {n:,.0f} decisions were right",
    NEAR: "{s:,.0f} of {n:,.0f} outcomes were near the score",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A share in one matured window: `successes` of `n`."""

    window: Window
    successes: float
    n: float


def share_counts(y: Array, decision: Array) -> dict[str, tuple[int, int]]:
    """recall, precision and accuracy of rows, each as (successes, n)."""
    found = {name: hits(name, y, decision) for name in SHARES}
    return {name: (int(values.sum()), int(values.size)) for name, values in found.items()}


def tolerated(expected: Expected) -> Expected:
    """The expected share less `TOLERANCE`, known from as many rows."""
    return Expected(successes=max(0.0, expected.point - TOLERANCE) * expected.n, n=expected.n)


def share_verdict(
    name: str,
    seen: Sequence[Counted],
    expected: Expected | None,
    *,
    windows_per_alarm: float,
    quiet: Sequence[Counted] = (),
) -> Verdict:
    """Whether a share has dropped at some time of `seen`, the version's matured windows, oldest first.

    windows_per_alarm: how many quiet windows there are to be between two false alarms, on average.
    quiet: windows of before, where they were counted one by one: they show how much quiet windows differ.
    """
    if expected is None or expected.n == 0:
        return Verdict.undecided(f"{name}: the version has no held-out {name} to compare with")
    settled = quiet if len(quiet) >= UNSETTLED else seen[:-UNSETTLED]
    spread = overdispersion([one.successes for one in settled], [one.n for one in settled])
    start = tolerated(expected)
    detector = RateDetector.start(
        expected_successes=start.successes,
        expected_n=start.n,
        threshold=max(1.0, windows_per_alarm),
        dispersion=spread,
    )
    for one in seen:
        detector = detector.update(one.successes, one.n)
    since = _since(seen, start)
    part = seen[since:]
    caught, of = sum(one.successes for one in part), sum(one.n for one in part)
    evidence: dict[str, Any] = {
        "expected": expected.point,
        "expected_n": expected.n,
        "log_evidence": detector.log_total,
        "needed": math.log(detector.threshold),
        "dispersion": spread,
        "windows": len(seen),
    }
    if not seen or sum(one.n for one in seen) == 0:
        return Verdict.undecided(f"{name}: nothing has matured that it could be taken over", **evidence)
    rate = wilson(caught, of) if of else None
    said = _WHAT[name].format(s=caught, n=of)
    # A rate that had risen above the expected one and came back fell, but breaks no promise.
    if detector.alarmed and rate is not None and not as_before(part, expected, least=0, level=KEPT):
        evidence |= {"since": part[0].window.start.isoformat(), "successes": caught, "n": of, "rate": rate}
        span = _matured_words([one.window for one in part])
        return Verdict.failed(f"{name} fell: {rate:.2f} {span}, expected {expected.point:.2f}; {said}", **evidence)
    last = seen[-1]
    evidence |= {"successes": last.successes, "n": last.n}
    said = _WHAT[name].format(s=last.successes, n=last.n)
    return Verdict.passed(f"{name}: {said}, expected {expected.point:.2f}: no sign of a drop", **evidence)


def _matured_words(windows: Sequence[Window]) -> str:
    days = all((one.end - one.start).total_seconds() % 86_400 == 0 for one in windows)
    what = "day" if days else "window"
    several = len(windows) > 1 or (windows[0].end - windows[0].start).days > 1
    return f"in the matured {what}{'s' if several else ''} {span_words(windows)}"


def _since(seen: Sequence[Counted], expected: Expected) -> int:
    """Where the drop most likely began: the place from which the pooled rate is the least like the expected one.

    The expected rate is known from its own rows only, so a small gap over a long time does not outweigh a large one.
    """
    best, place, successes, n = -math.inf, 0, 0.0, 0.0
    for index in range(len(seen) - 1, -1, -1):
        successes, n = successes + seen[index].successes, n + seen[index].n
        rate = successes / n if n else expected.point
        rows = n * expected.n / (n + expected.n)
        gain = rows * _divergence(rate, expected.point) if rate < expected.point else 0.0
        if gain > best:
            best, place = gain, index
    return place


def _divergence(rate: float, expected: float) -> float:
    """Kullback-Leibler divergence of two coins, in nats."""
    expected = min(max(expected, 1e-9), 1 - 1e-9)
    total = 0.0
    for share, other in ((rate, expected), (1 - rate, 1 - expected)):
        total += share * math.log(share / other) if share > 0 else 0.0
    return total


def as_before(seen: Sequence[Counted], expected: Expected, *, least: float = 30.0, level: float = 0.05) -> bool:
    """Whether the windows show, on at least `least` rows, no drop from what was expected: what closes an alert."""
    caught, of = sum(one.successes for one in seen), sum(one.n for one in seen)
    start = tolerated(expected)
    return of >= least and binomial_drop_p(caught, of, expected_successes=start.successes, expected_n=start.n) >= level


def _between(quiet: Sequence[Sequence[float]] | None, *, expected: float) -> float:
    """The standard deviation between windows beyond their own errors; a share of what is expected for too few."""
    if quiet is None:
        return 0.0
    if len(quiet) < UNSETTLED:
        return UNKNOWN_BETWEEN * abs(expected)
    values, own = np.asarray(quiet, dtype=np.float64).T
    return math.sqrt(max(0.0, float(values.var(ddof=1) - np.square(own).mean())))


def metric_verdict(
    name: str,
    evaluation: Evaluated,
    registered: Mapping[str, Any] | None,
    *,
    alpha: float,
    quiet: Sequence[Sequence[float]] | None = None,
) -> tuple[Interval | None, Verdict]:
    """A metric that is no share (average_precision, log_loss, cost, mae …) in one window, against the registered one.

    Judged by the two standard errors together, with Student's tails: such metrics rest on the few positives.
    quiet: value and standard error in earlier windows of the version, oldest first, where they are kept: by what those
    differ more than their errors explain (a rainy day), this one may too.
    """
    try:
        interval = evaluation.interval(name)
    except NotEnoughData as error:
        return None, Verdict.undecided(f"{name}: {error}")
    point, low, high = ((registered or {}).get(key) for key in ("point", "low", "high"))
    if point is None or low is None or high is None:
        return interval, Verdict.undecided(f"{name} {interval:.3f}; the version has none registered to compare with")
    from scipy.stats import t

    errors = math.hypot(math.hypot(interval.width, high - low) / (2 * 1.96), _between(quiet, expected=point))
    worse = (point - interval.point) if METRICS[name].maximise else (interval.point - point)
    slack = TOLERANCE * abs(point)
    degrees = min(30, max(3, evaluation.positives - 1))
    p = float(t.sf((worse - slack) / errors, degrees)) if errors > 0 else 1.0
    evidence = {"value": interval, "expected": point, "p": p, "positives": evaluation.positives}
    if p <= alpha:
        return interval, Verdict.failed(f"{name} got worse: {interval:.3f}, expected {point:.3f}", **evidence)
    return interval, Verdict.passed(f"{name} {interval:.3f}, expected {point:.3f}", **evidence)
