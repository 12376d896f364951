"""Guardrails that need no outcome: errors, latency, decision share, score shift.

Each compares the challenger with the champion on the very same rows, over all rows since the rollout started, and
may be looked at as often as one likes: the chance that a rule is ever called broken while it is kept is `alpha` at
most (`stats.above_zero`). `passed` is as strict as `failed`: until one of the two is sure, the answer is `undecided`.

- `errors > 0.5%`: the challenger gives no score for more than that share of the rows that the champion scores. Plain
  `errors` tolerates none; it passes when errors are surely rarer than 0.1 %.
- `latency p99 > 20ms`: more than 1 % of the challenger's rows take longer. Where the champion is as slow on the same
  rows, the machine is to blame and the rule holds.
- `decision share moves > 10%`: the two decide differently on more than that share of all rows. Where positives are
  rare, write it in the size of the positives: at 0.2 % fraud, `> 0.5%` lets a challenger find half as much again and
  stops one that declines every hundredth payment.
- `decision share moves > 3x` (a bound above 1): the challenger decides positively on more than three times as many
  rows as the champion, whatever their number. It needs more rows than the share: about 12,000 to be sure of 5x.
- `score shifts > 0.05`: the mean score differs by more than that, either way; of a regression by more than 5 % of the
  bundle's bound of errors, which is how far outcomes lie from their median, all but one in a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence

from everloop.project import StopRule
from everloop.rollout.counts import LATENCY_EDGES_MS, SCORE_BINS, PairedCounts
from everloop.stats import Verdict, above_zero

__all__ = [
    "DEFAULT_ALPHA",
    "DEFAULT_DECISION_RATIO",
    "ERROR_FREE_SHARE",
    "decision_ratio",
    "decision_share",
    "errors",
    "judge",
    "latency",
    "score_shift",
]

DEFAULT_ALPHA = 0.05
ERROR_FREE_SHARE = 0.001
DEFAULT_DECISION_RATIO = 3.0

_NEGLIGIBLE_SHARE = 0.0005
_ENOUGH_ROWS = 1000


def judge(rules: Sequence[StopRule], counts: PairedCounts, *, alpha: float = DEFAULT_ALPHA) -> tuple[Verdict, ...]:
    """One verdict for each of a project's `stop if` rules, in their order. alpha: of each rule, over all looks."""
    return tuple(_judged(rule, counts, alpha) for rule in rules)


def errors(counts: PairedCounts, *, share: float = 0.0, alpha: float = DEFAULT_ALPHA) -> Verdict:
    """Whether the challenger fails on more than `share` of the rows that the champion answers; 0 tolerates none."""
    failed, asked = counts.challenger_errors, counts.asked
    sentence = f"errors: the challenger failed on {failed:,} of {asked:,} rows, allowed {share:.2%}"
    if share == 0.0 and failed:
        return Verdict.failed(sentence, rows=asked, hits=failed, allowed_share=share)
    return _of_share(sentence, failed, asked, ERROR_FREE_SHARE if share == 0.0 else share, alpha)


def decision_share(counts: PairedCounts, *, share: float, alpha: float = DEFAULT_ALPHA) -> Verdict:
    """Whether the two sides decide differently on more than `share` of all rows."""
    moved = counts.champion_only + counts.challenger_only
    sentence = f"decision share: {moved:,} of {counts.rows:,} rows decided differently, allowed {share:.2%}"
    return _of_share(sentence, moved, counts.rows, share, alpha)


def decision_ratio(
    counts: PairedCounts, *, ratio: float = DEFAULT_DECISION_RATIO, alpha: float = DEFAULT_ALPHA
) -> Verdict:
    """Whether the challenger decides positively more than `ratio` times as often as the champion on the same rows.

    It also passes where its additional positive decisions are surely below 0.05 % of the rows: between two sides
    that decide nothing there is no ratio to know.
    """
    champion, challenger = counts.both + counts.champion_only, counts.both + counts.challenger_only
    sentence = (
        f"decision share: challenger {challenger:,}, champion {champion:,} positive decisions "
        f"on the same {counts.rows:,} rows, allowed {ratio:g}x"
    )
    evidence = {"rows": counts.rows, "champion": champion, "challenger": challenger, "allowed_ratio": ratio}
    cells = (counts.challenger_only, counts.champion_only, counts.both)
    if above_zero((1.0, -ratio, 1.0 - ratio), cells, alpha=alpha):
        return Verdict.failed(sentence, **evidence)
    rare = _of_share(sentence, counts.challenger_only, counts.rows, _NEGLIGIBLE_SHARE, alpha)
    if rare.outcome == "passed" or above_zero((-1.0, ratio, ratio - 1.0), cells, alpha=alpha):
        return Verdict.passed(sentence, **evidence)
    return Verdict.undecided(f"{sentence}; too few to say", **evidence)


def score_shift(counts: PairedCounts, *, bound: float, alpha: float = DEFAULT_ALPHA) -> Verdict:
    """Whether the mean score on the same rows differs by more than `bound`, 0 < bound < 2, either way.

    Differences are known to a bin of 0.01, and always read against what is being shown.
    """
    width = 2.0 / SCORE_BINS
    low = [-1.0 + place * width for place in range(SCORE_BINS)]
    high = [edge + width for edge in low]
    middle = sum((edge + width / 2) * n for edge, n in zip(low, counts.score_difference, strict=True))
    mean = middle / counts.rows if counts.rows else 0.0
    sentence = f"score shift: the mean score moved by {mean:+.3f} on {counts.rows:,} rows, allowed {bound:g}"
    evidence = {"rows": counts.rows, "mean_difference": mean, "allowed": bound}

    def shown(values: list[float], level: float) -> bool:
        return above_zero(values, counts.score_difference, alpha=level)

    if shown([edge - bound for edge in low], alpha / 2) or shown([-edge - bound for edge in high], alpha / 2):
        return Verdict.failed(sentence, **evidence)
    if shown([bound - edge for edge in high], alpha) and shown([bound + edge for edge in low], alpha):
        return Verdict.passed(sentence, **evidence)
    return Verdict.undecided(f"{sentence}; too few to say", **evidence)


def latency(counts: PairedCounts, *, bound_ms: float, quantile: float = 0.99, alpha: float = DEFAULT_ALPHA) -> Verdict:
    """Whether the `quantile` of the challenger's scoring time is above `bound_ms`.

    A bound inside a bin of the histogram is read in favour of neither answer. The rule also holds where, on at least
    1,000 rows, the challenger is late no more than twice as often as the champion: then it is the machine.
    """
    surely, maybe = _late(counts.challenger_latency, bound_ms)
    champion_late, _ = _late(counts.champion_latency, bound_ms)
    rows, champion_rows = sum(counts.challenger_latency), sum(counts.champion_latency)
    slow_share = 1.0 - quantile
    sentence = f"latency: {surely:,} of {rows:,} rows took longer than {bound_ms:g} ms, allowed {slow_share:.3g}"
    evidence = {"rows": rows, "late": surely, "champion_late": champion_late, "bound_ms": bound_ms}
    if rows == 0:
        return Verdict.undecided("latency: nothing was timed yet", **evidence)
    # On the same rows: what the champion suffers too is the machine's, not the challenger's.
    machine = champion_rows >= _ENOUGH_ROWS and surely * champion_rows <= 2 * champion_late * rows
    if machine and surely > 0:
        return Verdict.passed(f"{sentence}; the champion is as late", **evidence)
    if _of_share(sentence, surely, rows, slow_share, alpha).outcome == "failed":
        return Verdict.failed(sentence, **evidence)
    if _of_share(sentence, maybe, rows, slow_share, alpha).outcome == "passed":
        return Verdict.passed(sentence, **evidence)
    return Verdict.undecided(f"{sentence}; too few to say", **evidence)


def _judged(rule: StopRule, counts: PairedCounts, alpha: float) -> Verdict:
    match rule.kind:
        case "errors":
            return errors(counts, share=rule.bound, alpha=alpha)
        case "latency":
            quantile = 0.99 if rule.quantile is None else rule.quantile
            return latency(counts, bound_ms=rule.bound, quantile=quantile, alpha=alpha)
        case "decision_share":
            if rule.bound > 1.0:
                return decision_ratio(counts, ratio=rule.bound, alpha=alpha)
            return decision_share(counts, share=rule.bound, alpha=alpha)
        case "score_shift":
            return score_shift(counts, bound=rule.bound, alpha=alpha)


def _of_share(sentence: str, hits: int, rows: int, share: float, alpha: float) -> Verdict:
    """Whether more than `share` of the rows are hits."""
    evidence = {"rows": rows, "hits": hits, "allowed_share": share}
    counts = (hits, rows - hits)
    if above_zero((1.0 - share, -share), counts, alpha=alpha):
        return Verdict.failed(sentence, **evidence)
    if above_zero((share - 1.0, share), counts, alpha=alpha):
        return Verdict.passed(sentence, **evidence)
    return Verdict.undecided(f"{sentence}; too few to say", **evidence)


def _late(histogram: Sequence[int], bound_ms: float) -> tuple[int, int]:
    """Rows that surely, and rows that possibly took longer than `bound_ms`."""
    lower = (0.0, *LATENCY_EDGES_MS)
    upper = (*LATENCY_EDGES_MS, float("inf"))
    surely = sum(n for n, edge in zip(histogram, lower, strict=True) if edge >= bound_ms)
    maybe = sum(n for n, edge in zip(histogram, upper, strict=True) if edge > bound_ms)
    return surely, maybe
