"""What looks wrong: every rule looks at what was measured and gives its findings, each one sentence.

The rules know no data frame: `Seen` holds all they may look at, so that each is tested on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist
from typing import Final

from everloop.experiment.association import Association
from everloop.experiment.columns import ColumnSummary
from everloop.experiment.correlated import Correlated
from everloop.experiment.finding import Finding, by_weight
from everloop.experiment.late import CopiedRows, LateCategory, LateLabels
from everloop.experiment.leaks import Leak
from everloop.experiment.overtime import Half, Halves, Span
from everloop.experiment.target import TargetSummary
from everloop.stats import Json, wilson

__all__ = ["Seen", "findings"]

#: One feature that separates the classes this well is the target in disguise.
GIVES_AWAY_AUC: Final = 0.99
#: Positives below which no share of them can be claimed: the gates ask for as many.
FEW_POSITIVES: Final = 30
#: The usual reading of the population stability index: above it a column has moved.
MOVED_PSI: Final = 0.25
WEEK: Final = timedelta(days=7)
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that the rules look at.

    backward: rows whose time is before that of the row above; far: rows that lie far from all others in time.
    duplicates: rows equal to an earlier one but for their id; repeated_ids: rows whose id an earlier row has.
    weights: least and greatest row weight, None without weights.
    clocks: features that grow with the time and nothing else. groups: features that move together.
    estimated: duplicates and repeated ids were counted in a part of the rows, and distinct values are estimates.
    problems: sentences on why the rows or the features cannot be used at all.
    """

    rows: int
    columns: tuple[ColumnSummary, ...]
    target: TargetSummary | None
    span: Span | None
    time_missing: int = 0
    backward: int = 0
    far: int = 0
    halves: Halves | None = None
    associations: tuple[Association, ...] = ()
    duplicates: int = 0
    repeated_ids: int = 0
    weights: tuple[float, float] | None = None
    weight_column: str | None = None
    blocked: int = 0
    unmatured: int = 0
    clocks: tuple[str, ...] = ()
    groups: tuple[Correlated, ...] = ()
    late_categories: tuple[LateCategory, ...] = ()
    copied: CopiedRows | None = None
    late_labels: LateLabels | None = None
    leaks: tuple[Leak, ...] = ()
    estimated: bool = False
    problems: tuple[str, ...] = ()


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "0 %"


def _features(seen: Seen) -> tuple[ColumnSummary, ...]:
    return tuple(column for column in seen.columns if column.role == "feature")


def _target(seen: Seen) -> Iterator[Finding]:
    target = seen.target
    if target is None:
        return
    name = target.column
    if target.missing:
        text = f"{target.missing:,} of {seen.rows:,} rows have no {name}; they are left out of training and judging."
        yield Finding(kind="target missing", weight="warn", column=name, sentence=text)
    if target.other_values and not target.positives:
        shown = ", ".join(target.other_values[:4])
        text = (
            f"{name} is never {target.positive}, the positive class, but {shown}: say which of them is with "
            f"data.positive in model.yaml."
        )
        yield Finding(kind="target values", weight="stop", column=name, sentence=text)
        return
    if target.other_values:
        shown = ", ".join(target.other_values[:4])
        text = f"{name} holds more than two values; {target.positive} is yes and the others ({shown}) all count as no."
        yield Finding(kind="target values", weight="warn", column=name, sentence=text)
    if target.alike and target.median is not None:
        text = f"{name} is {target.median:.10g} in every usable row: with one value there is nothing to learn."
        yield Finding(kind="one value", weight="stop", column=name, sentence=text)
    elif target.alike:
        which = "only positive" if target.rate else "no positive"
        text = f"{name} has {which} rows: with one class there is nothing to learn."
        yield Finding(kind="one class", weight="stop", column=name, sentence=text)


def _few_positives(seen: Seen) -> Iterator[Finding]:
    target = seen.target
    if target is None or target.numeric or target.positives == 0:
        return
    part = round(0.15 * target.positives)
    if part < FEW_POSITIVES:
        text = (
            f"{target.positives:,} positives in all, so about {part} each choose the threshold and judge the winner; "
            f"below {FEW_POSITIVES} a gate stays undecided."
        )
        yield Finding(
            kind="few positives",
            weight="warn",
            column=target.column,
            sentence=text,
            evidence={"positives": target.positives},
        )


def _constant(seen: Seen) -> Iterator[Finding]:
    for column in _features(seen):
        if column.distinct <= 1:
            what = "has one value only" if column.distinct else "has no value at all"
            text = f"{column.name} {what} and can tell nothing: leave it out of the features."
            yield Finding(kind="constant", weight="warn", column=column.name, sentence=text)


def _id_like(seen: Seen) -> Iterator[Finding]:
    for column in _features(seen):
        countable = column.type.startswith(("int", "uint", "str", "cat", "enum"))
        known = column.rows - column.missing
        if column.name in seen.clocks or column.marks:
            continue
        if countable and known >= 100 and column.distinct >= (0.85 if seen.estimated else 0.95) * known:
            share = ("about " if seen.estimated else "") + _share(min(column.distinct, known), known)
            text = (
                f"{column.name} differs in {share} of the rows, like an id: as a feature it is learned by heart and "
                f"says nothing about new rows."
            )
            yield Finding(kind="id as feature", weight="warn", column=column.name, sentence=text)
        elif column.type.startswith(("str", "cat")) and column.distinct > 255:
            text = (
                f"{column.name} has about {column.distinct:,} categories; most will be unseen in new rows. "
                f"Group them in features.py."
            )
            yield Finding(kind="many categories", weight="warn", column=column.name, sentence=text)


def _almost_numbers(seen: Seen) -> Iterator[Finding]:
    for column in seen.columns:
        if column.marks and column.role in ("feature", "input", "segment", "ignored"):
            shown = ", ".join(repr(mark[:20]) for mark in column.marks)
            text = (
                f"{column.name} holds numbers but for {shown}, and so is read as text: make those missing in the "
                f"source, then correct {column.name} in contract.yaml."
            )
            yield Finding(kind="almost numbers", weight="warn", column=column.name, sentence=text)


def _clock(seen: Seen) -> Iterator[Finding]:
    for name in seen.clocks:
        text = (
            f"{name} only grows, as the time does: new rows have values that no training row had. "
            f"Leave it out, or make an hour or a weekday of it in features.py."
        )
        yield Finding(kind="clock as feature", weight="warn", column=name, sentence=text)


def _gives_away(seen: Seen) -> Iterator[Finding]:
    for association in seen.associations:
        if association.auc >= GIVES_AWAY_AUC:
            what = "tells low from high" if seen.target is not None and seen.target.numeric else "separates the classes"
            text = (
                f"{association.feature} alone {what} (area under the curve {association.auc:.3f}): "
                f"is it known before the outcome is? If not, leave it out."
            )
            yield Finding(
                kind="gives the target away",
                weight="stop",
                column=association.feature,
                sentence=text,
                evidence={"auc": association.auc},
            )


def _missing(seen: Seen) -> Iterator[Finding]:
    for column in seen.columns:
        if column.role not in ("feature", "input"):
            continue
        if column.infinite:
            text = f"{column.name} is infinite in {column.infinite:,} rows; a model reads that as a number."
            yield Finding(kind="infinite", weight="warn", column=column.name, sentence=text)
        if column.missing and column.distinct:
            text = f"{column.name} is missing in {column.missing:,} rows ({_share(column.missing, column.rows)})."
            weight = "warn" if column.missing_fraction >= 0.5 else "note"
            yield Finding(
                kind="missing",
                weight="warn" if weight == "warn" else "note",
                column=column.name,
                sentence=text,
                evidence={"missing": column.missing},
            )


def _duplicates(seen: Seen) -> Iterator[Finding]:
    if seen.repeated_ids:
        about = "About " if seen.estimated else ""
        text = (
            f"{about}{seen.repeated_ids:,} rows repeat the id of an earlier row; an id counts once, "
            f"so one of them is wrong."
        )
        yield Finding(kind="repeated ids", weight="warn", sentence=text, evidence={"rows": seen.repeated_ids})
    if seen.duplicates:
        about = "About " if seen.estimated else ""
        text = (
            f"{about}{seen.duplicates:,} rows ({_share(seen.duplicates, seen.rows)}) equal an earlier row in every "
            f"column; a copy in both training and test flatters the model."
        )
        yield Finding(kind="duplicates", weight="warn", sentence=text, evidence={"rows": seen.duplicates})


def _disjoint(earlier: Half, later: Half) -> bool:
    # at 99.9 % each, so that two halves of one world are called different about once in 100,000 files
    (low, high), (other_low, other_high) = (_rate_range(half) for half in (earlier, later))
    return high < other_low or other_high < low


def _rate_range(half: Half) -> tuple[float, float]:
    if half.spread is not None:
        margin = NormalDist().inv_cdf(0.9995) * half.spread / math.sqrt(max(half.effective, 1.0))
        return half.rate - margin, half.rate + margin
    found = wilson(half.rate * half.effective, half.effective, level=0.999)
    return found.low, found.high


def _rate_jump(seen: Seen) -> Iterator[Finding]:
    if seen.halves is None or seen.target is None:
        return
    earlier, later = seen.halves.earlier, seen.halves.later
    if _disjoint(earlier, later):
        way = "rises" if later.rate > earlier.rate else "falls"
        numeric = seen.target.numeric
        what = "mean" if numeric else "rate"
        before, after = (f"{h.rate:.4g}" if numeric else _share(h.rate, 1) for h in (earlier, later))
        text = (
            f"The {what} of {seen.target.column} {way} from {before} in the earlier half of the rows to "
            f"{after} in the later: training sees another world than the test."
        )
        yield Finding(
            kind="rate jump",
            weight="warn",
            column=seen.target.column,
            sentence=text,
            evidence={"earlier": earlier.rate, "later": later.rate, "cut": seen.halves.cut.isoformat()},
        )


def _moved(seen: Seen) -> Iterator[Finding]:
    for association in sorted(seen.associations, key=lambda found: -(found.psi or 0.0)):
        if association.psi is not None and association.psi >= MOVED_PSI and association.feature not in seen.clocks:
            text = (
                f"{association.feature} has moved between the earlier and the later half of the time "
                f"(stability index {association.psi:.2f}; above {MOVED_PSI} is a change)."
            )
            yield Finding(
                kind="moved",
                weight="note",
                column=association.feature,
                sentence=text,
                evidence={"psi": association.psi},
            )


def _several_moved(seen: Seen) -> Iterator[Finding]:
    """Said of the halves as a whole, where a fifth of the features, and at least three, have moved."""
    known = [one for one in seen.associations if one.psi is not None and one.feature not in seen.clocks]
    moved = [one for one in known if one.psi is not None and one.psi >= MOVED_PSI]
    if len(moved) >= max(3, len(known) / 5):
        text = (
            f"The halves of the time differ: {len(moved)} of {len(known)} features have moved between them. What is "
            f"found on the earlier one may not hold for the later; a shorter training window may do better."
        )
        yield Finding(kind="halves differ", weight="warn", sentence=text, evidence={"features": len(moved)})


def _late_categories(seen: Seen) -> Iterator[Finding]:
    for late in seen.late_categories:
        shown = ", ".join(late.categories[:4]) + (", …" if len(late.categories) > 4 else "")
        text = (
            f"{late.column} has categories that only the later rows have ({shown}), in {_share(late.share, 1)} of "
            f"them: to a model fitted on the earlier ones they are as good as missing."
        )
        yield Finding(
            kind="late category",
            weight="warn",
            column=late.column,
            sentence=text,
            evidence={"categories": list(late.categories[:20]), "rows": late.rows},
        )


def _copied(seen: Seen) -> Iterator[Finding]:
    if seen.copied is not None:
        text = (
            f"{seen.copied.rows:,} of the later rows ({_share(seen.copied.share, 1)}) equal a training row in all but "
            f"id and time: a split by time does not keep them apart, and they flatter the model."
        )
        evidence: dict[str, Json] = {"rows": seen.copied.rows}
        yield Finding(kind="duplicates across the split", weight="warn", sentence=text, evidence=evidence)


def _late_labels(seen: Seen) -> Iterator[Finding]:
    late = seen.late_labels
    if late is None or seen.target is None:
        return
    name = seen.target.column
    if late.what == "missing":
        said = f"{_share(late.late, 1)} of the rows since {late.since:%Y-%m-%d %H:%M} have no {name}, before " + (
            f"{_share(late.before, 1)}"
        )
    else:
        said = (
            f"The rate of {name} falls to {_share(late.late, 1)} in the rows since {late.since:%Y-%m-%d %H:%M}, from "
            f"{_share(late.before, 1)} before"
        )
    text = f"{said}: outcomes that are known late look like this. Say how late with outcome.delay in model.yaml."
    evidence: dict[str, Json] = {"since": late.since.isoformat(), "late": late.late, "before": late.before}
    yield Finding(kind="label matures late", weight="warn", column=name, sentence=text, evidence=evidence)


def _leaks(seen: Seen) -> Iterator[Finding]:
    for leak in seen.leaks:
        match leak.how:
            case "after":
                text = f"{leak.column} lies after the row's own time in {_share(leak.value, 1)} of the rows"
            case "empty when new":
                text = (
                    f"{leak.column} is missing in {_share(leak.value, 1)} of the newest rows, and in "
                    f"{_share(leak.before, 1)} of the others: it is filled in later"
                )
            case _:
                text = (
                    f"Whether {leak.column} has a value at all tells the outcome (area under the curve "
                    f"{leak.value:.3f}), as of what is filled in afterwards"
                )
        yield Finding(
            kind="unknown at prediction",
            weight="stop",
            column=leak.column,
            sentence=f"{text}. A prediction will not have it: leave it out, or make sure that it will.",
            evidence={"how": leak.how, "value": leak.value},
        )


def _groups(seen: Seen) -> Iterator[Finding]:
    for group in seen.groups:
        names = ", ".join(group.features[:6]) + (", …" if len(group.features) > 6 else "")
        how = "in step" if group.least >= 0.995 else f"together (rank correlation from {group.least:.2f})"
        text = f"{names} move {how}: one of them may do."
        yield Finding(
            kind="correlated",
            weight="note",
            column=group.features[0],
            sentence=text,
            evidence={"features": list(group.features), "least": group.least},
        )


def _time(seen: Seen) -> Iterator[Finding]:
    if seen.time_missing:
        text = f"{seen.time_missing:,} rows have no time; they cannot be placed in a window and are left out."
        yield Finding(kind="time missing", weight="warn", sentence=text)
    if seen.backward:
        text = (
            f"Time runs backwards at {seen.backward:,} of {seen.rows:,} rows; rows are put in order of time before "
            f"they are split, so check that the time column is the event's."
        )
        yield Finding(kind="time backwards", weight="warn", sentence=text, evidence={"rows": seen.backward})
    if seen.far and seen.span is not None:
        text = (
            f"{seen.far:,} of {seen.rows:,} rows lie far from all others in time (all: {seen.span.start:%Y-%m-%d} to "
            f"{seen.span.end:%Y-%m-%d}): are they dated right? What is shown over time leaves them out."
        )
        yield Finding(kind="far times", weight="warn", sentence=text, evidence={"rows": seen.far})
    if seen.span is not None and seen.span.length < HOUR and seen.rows >= 100:
        name = next((column.name for column in seen.columns if column.role == "time"), "the time")
        text = (
            f"All rows lie within {seen.span.length.total_seconds():,.0f} seconds: is {name} the time of the event, "
            f"and data.time.unit its unit?"
        )
        yield Finding(kind="short span", weight="warn", column=name, sentence=text)
    elif seen.span is not None and seen.span.length < WEEK:
        days = seen.span.length / timedelta(days=1)
        text = f"The file spans {days:.1f} days, less than a week: nothing can be said about weekdays."
        yield Finding(kind="short span", weight="note", sentence=text, evidence={"days": days})


def _weights(seen: Seen) -> Iterator[Finding]:
    if seen.weights is None:
        return
    low, high = seen.weights
    if low < 0:
        text = f"{seen.weight_column} is negative in some rows; a weight is how many rows a row stands for."
        yield Finding(kind="weights", weight="stop", column=seen.weight_column, sentence=text)
    elif low != high:
        text = (
            f"Rows are a sample: {seen.weight_column} says each stands for {low:,.4g} to {high:,.4g} rows; every rate "
            f"and metric here is weighted by it."
        )
        yield Finding(kind="weights", weight="note", column=seen.weight_column, sentence=text)


def _blocked(seen: Seen) -> Iterator[Finding]:
    if seen.blocked:
        text = (
            f"{seen.blocked:,} rows were blocked by an earlier answer, so their outcome is not known; only the random "
            f"holdout among them is trained on."
        )
        yield Finding(kind="blocked", weight="note", sentence=text, evidence={"rows": seen.blocked})


def _unmatured(seen: Seen) -> Iterator[Finding]:
    if seen.unmatured:
        text = f"{seen.unmatured:,} rows are too young for their outcome to be due; nothing is learned from them yet."
        yield Finding(kind="unmatured", weight="note", sentence=text, evidence={"rows": seen.unmatured})


def _problems(seen: Seen) -> Iterator[Finding]:
    for sentence in seen.problems:
        yield Finding(kind="unusable", weight="stop", sentence=sentence)


_RULES: Final[Sequence[Callable[[Seen], Iterator[Finding]]]] = (
    _problems,
    _target,
    _gives_away,
    _leaks,
    _few_positives,
    _time,
    _rate_jump,
    _several_moved,
    _late_labels,
    _duplicates,
    _copied,
    _late_categories,
    _constant,
    _clock,
    _id_like,
    _almost_numbers,
    _missing,
    _blocked,
    _unmatured,
    _weights,
    _groups,
    _moved,
)


def findings(seen: Seen) -> tuple[Finding, ...]:
    """What looks wrong, or is worth knowing, the gravest first; an empty file is one finding."""
    if seen.rows == 0:
        return (Finding(kind="empty", weight="stop", sentence="The file has no rows."),)
    return by_weight([finding for rule in _RULES for finding in rule(seen)])
