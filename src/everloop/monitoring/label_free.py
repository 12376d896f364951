"""Checks of one window that need no outcome: schema, drift, score. Pure functions over counts.

Each check has its own part `alpha` of the window's false-alarm budget and divides it among its columns (Bonferroni).
Two arguments may call a column shifted, and both are made for quiet to stay quiet (law 7):

- it lies farther from the baseline than the quiet windows' own spread explains, weekday with weekday, and clearly
  farther than the farthest of them;
- it lies farther than twice the farthest quiet window, by more than sampling can do. That needs few quiet windows or
  none, and finds a gross shift (another unit, another population) on the first day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.errors import NotEnoughData
from everloop.monitoring.reference import BURST, MANY_WINDOWS, ColumnReference, Expected, distance
from everloop.stats import Verdict, calibrate, overdispersion, psi

__all__ = [
    "LiveColumn",
    "LiveScores",
    "QuietWindow",
    "Shift",
    "drift_verdict",
    "schema_verdict",
    "score_verdict",
    "shift_of",
]

Array = np.ndarray[Any, Any]

# Fewer rows of a column say nothing about its distribution.
LEAST_ROWS: Final = 100
# A share of missing or unseen values may exceed the quiet windows' by this without being worth a word.
MISSING_SLACK: Final = 0.02
# The share of decisions may move by this factor either way before it is a question at all.
DECISION_FACTOR: Final = 1.5
# Decisions come in bursts, and how large they are is not known of a new version: their variance is at least this
# many times a binomial's.
LEAST_DISPERSION: Final = 2.0
NAMED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveColumn:
    """A column of a window. counts: shape (coarse bins,), as its reference's. nulls: the missing."""

    reference: ColumnReference
    counts: Array
    nulls: float

    @property
    def rows(self) -> float:
        """Rows with a value."""
        return float(self.counts.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far a column lies from its baseline, and the chance of that in quiet."""

    name: str
    distance: float
    usual: float
    p: float


def shift_of(live: LiveColumn, *, weekday: str, whole: bool) -> Shift | None:
    """The column's shift; None where it has too few values, or is made of time and the window is not whole."""
    reference = live.reference
    if live.rows < LEAST_ROWS or reference.counts.sum() <= 0 or (reference.of_time and not whole):
        return None
    ordered = reference.column.is_number
    far = float(distance(reference.counts, live.counts, ordered=ordered))
    p = _sampling_p(far - reference.allowance(whole=whole), live)
    if whole and reference.calibration is not None and far > 1.25 * reference.usual + 0.01:
        p = min(1.0, 2 * min(p, reference.calibration.p_value(far, group=weekday)))
    return Shift(name=reference.name, distance=far, usual=reference.usual, p=p)


def _sampling_p(excess: float, live: LiveColumn) -> float:
    """The chance that sampling alone adds `excess` to the distance.

    Sources: Massart (1990) for the Kolmogorov-Smirnov distance; Weissman et al. (2003) for total variation.
    """
    if excess <= 0:
        return 1.0
    n = 1.0 / (BURST / live.rows + 1.0 / max(live.reference.rows, 1.0))
    sides = math.log(2.0) * (1 if live.reference.column.is_number else live.counts.size)
    return math.exp(min(0.0, sides - 2.0 * n * excess * excess))


def drift_verdict(columns: Sequence[LiveColumn], *, alpha: float, weekday: str, whole: bool, rows: int) -> Verdict:
    """Whether any column's distribution left what quiet windows show. whole: as `ColumnReference.allowance`."""
    found = [shift for live in columns if (shift := shift_of(live, weekday=weekday, whole=whole)) is not None]
    if not found:
        return Verdict.undecided(f"drift: {rows:,} rows are too few to say ({LEAST_ROWS} are the least)", rows=rows)
    found.sort(key=lambda shift: (shift.p, shift.usual - shift.distance))
    failed = [shift for shift in found if shift.p <= alpha / len(found)]
    named = found[: max(NAMED, min(len(failed), 12))]
    evidence = {"rows": rows, "columns": len(found), "alpha": alpha, "shifts": [_shift_record(one) for one in named]}
    if failed:
        evidence["shifted"] = [shift.name for shift in failed]
        evidence["psi"] = dict(_psi_of(columns, failed[:NAMED]))
        return Verdict.failed(f"drift: {_shift_words(failed)} in {rows:,} rows", **evidence)
    return Verdict.passed(f"drift: {len(found)} columns as in the baseline", **evidence)


def _shift_record(shift: Shift) -> dict[str, Any]:
    return {"column": shift.name, "distance": shift.distance, "usual": shift.usual, "p": shift.p}


def _psi_of(columns: Sequence[LiveColumn], shifts: Sequence[Shift]) -> Iterator[tuple[str, float]]:
    wanted = {shift.name for shift in shifts}
    for live in columns:
        if live.reference.name in wanted:
            yield live.reference.name, psi(live.reference.counts, live.counts)


def _shift_words(shifts: Sequence[Shift]) -> str:
    said = [f"{shift.name} moved by {shift.distance:.2f} (quiet: {shift.usual:.2f})" for shift in shifts[:NAMED]]
    more = len(shifts) - NAMED
    return ", ".join(said) + (f" and {more} more columns" if more > 0 else "")


def schema_verdict(columns: Sequence[LiveColumn], *, alpha: float, rows: int, unknown: Sequence[str] = ()) -> Verdict:
    """Whether values are missing, or of no known category, more than in quiet. unknown: columns nobody asked for."""
    if rows == 0 or not columns:
        return Verdict.undecided("schema: no rows", rows=rows)
    problems: list[str] = []
    shares: dict[str, dict[str, float]] = {}
    level = alpha / (2 * len(columns))
    for live in columns:
        reference = live.reference
        missing = _share_words(live.nulls, live.rows + live.nulls, reference.most_nulls, reference.null_share, level)
        if missing:
            problems.append(f"{reference.name} is missing in {missing}")
            shares[reference.name] = {"missing": live.nulls / (live.rows + live.nulls)}
        if not reference.column.is_number and reference.counts.sum() > 0:
            unseen, usual = float(live.counts[-1]), float(reference.counts[-1] / reference.counts.sum())
            strange = _share_words(unseen, live.rows, usual, usual, level)
            if strange:
                problems.append(f"{reference.name} has a value that the baseline does not know in {strange}")
                shares[reference.name] = {"unseen": unseen / live.rows}
    evidence: dict[str, Any] = {"rows": rows, "columns": len(columns), "alpha": alpha, "unknown": list(unknown)}
    if problems:
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        return Verdict.failed(f"schema: {'; '.join(problems[:NAMED])}{more}", shares=shares, **evidence)
    return Verdict.passed(f"schema: {len(columns)} columns keep what the baseline promised", **evidence)


def _share_words(count: float, of: float, most: float, usual: float, alpha: float) -> str:
    """`95% of 11,000 rows (baseline 0%)` where that is surely above what quiet windows had; else nothing."""
    allowed = min(1.0, 1.5 * most + MISSING_SLACK)
    if of <= 0 or count / of <= allowed or allowed >= 1.0:
        return ""
    from scipy.stats import binom

    if float(binom.sf(math.ceil(count / BURST) - 1, max(1, round(of / BURST)), allowed)) > alpha:
        return ""
    return f"{count / of:.0%} of {of:,.0f} rows (baseline {usual:.0%})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScores:
    """A window's scores. column: their counts over the baseline's bins, None where it has none.

    decides: whether a score becomes a decision at all.
    """

    rows: int
    decisions: int
    mean: float
    column: LiveColumn | None
    decides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietWindow:
    """What an earlier window of the same version showed, where no score alert was open."""

    weekday: str
    rows: int
    decisions: int
    mean: float


def score_verdict(
    live: LiveScores,
    quiet: Sequence[QuietWindow],
    *,
    expected: Expected | None,
    alpha: float,
    weekday: str,
    whole: bool,
) -> Verdict:
    """Whether the version's scores left what its held-out rows and its own quiet windows show.

    expected: the share of positive decisions on held-out rows, None where it is not known.
    """
    if live.rows < LEAST_ROWS:
        return Verdict.undecided(f"score: {live.rows:,} scored rows are too few to say", rows=live.rows)
    parts = [
        _distribution_part(live, weekday=weekday, whole=whole),
        _decision_part(live, expected, quiet),
        _mean_part(live, quiet, weekday=weekday) if whole else None,
    ]
    asked = [part for part in parts if part is not None]
    evidence: dict[str, Any] = {
        "rows": live.rows,
        "mean": live.mean,
        "decisions": live.decisions,
        "alpha": alpha,
        "p": {name: p for name, p, _ in asked},
    }
    if not asked:
        return Verdict.undecided("score: no held-out scores and no quiet windows to compare with yet", **evidence)
    failed = [words for _, p, words in asked if p <= alpha / len(parts)]
    if failed:
        return Verdict.failed(f"score: {'; '.join(failed)}", **evidence)
    flagged = f", {live.decisions / live.rows:.2%} flagged" if live.decides else ""
    return Verdict.passed(f"score: mean {live.mean:.4f}{flagged}, as expected", **evidence)


Part = tuple[str, float, str]


def _distribution_part(live: LiveScores, *, weekday: str, whole: bool) -> Part | None:
    if live.column is None:
        return None
    shift = shift_of(live.column, weekday=weekday, whole=whole)
    if shift is None:
        return None
    words = f"the scores moved by {shift.distance:.2f} from the held-out rows' (quiet: {shift.usual:.2f})"
    return "distribution", shift.p, words


def _decision_part(live: LiveScores, expected: Expected | None, quiet: Sequence[QuietWindow]) -> Part | None:
    """The share of positive decisions against the held-out rows', which are known from a few counts only."""
    if expected is None:
        return None
    from scipy.stats import betabinom

    settled = quiet[:-7]
    spread = overdispersion([one.decisions for one in settled], [one.rows for one in settled])
    spread = max(LEAST_DISPERSION, spread)
    n = max(1, round(live.rows / spread))
    tails = []
    for factor in (DECISION_FACTOR, 1 / DECISION_FACTOR):
        share = min(0.999, expected.point * factor)
        a, b = share * expected.n / spread + 0.5, (1 - share) * expected.n / spread + 0.5
        if factor > 1:
            # rounded apart, all of the rows would be more than there are
            tails.append(float(betabinom.sf(min(n, math.ceil(live.decisions / spread)) - 1, n, a, b)))
        else:
            tails.append(float(betabinom.cdf(math.floor(live.decisions / spread), n, a, b)))
    words = f"{live.decisions / live.rows:.2%} of {live.rows:,} rows flagged, expected {expected.point:.2%}"
    return "decisions", min(1.0, 2 * min(tails)), words


def _mean_part(live: LiveScores, quiet: Sequence[QuietWindow], *, weekday: str) -> Part | None:
    """The mean score against the version's own quiet windows; nothing before there are two weeks of them."""
    if len(quiet) < MANY_WINDOWS:
        return None
    means = np.array([one.mean for one in quiet])
    groups = [one.weekday for one in quiet] if len(quiet) >= 2 * MANY_WINDOWS else None
    resolution = max(1e-6, 0.1 * float(means.mean()))
    try:
        calibration = calibrate(means, groups=groups, tail="both", resolution=resolution)
    except NotEnoughData:
        return None
    usual = calibration.expected(group=weekday)
    words = f"mean score {live.mean:.4f}, in quiet windows {usual:.4f}"
    return "mean", calibration.p_value(live.mean, group=weekday), words
