"""Gates of the rows: asked before anything is fitted, each answered with a verdict, all of them always evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from everloop.errors import NotEnoughData
from everloop.production.column_drift import ColumnDrift
from everloop.production.former import FormerTraining, Usual
from everloop.production.gates import GateVerdict
from everloop.project import (
    DriftGate,
    FreshGate,
    Gate,
    MeasureGate,
    TargetGate,
    UsualGate,
    did_you_mean,
    format_duration,
    format_share,
)
from everloop.stats import Interval, Verdict

__all__ = ["DataEvidence", "judge_data_gates"]

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_MOST_NAMED = 3
_SURE_TIMES = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEvidence:
    """What gates of the rows are asked of.

    rows: those that would be trained and judged on, over `span`. target: their rate of positives, of a regression the
    mean outcome, with its interval. read: rows before any was left out. violating: of them, those that break the
    contract, as `broken` says in a sentence per column. repeated: rows that repeat another, by id where `has_id`, else
    in every column. newest: the newest row; due: what a newest row could be, the run's time less the outcome's delay.
    window: `train.window`. former: earlier trainings, oldest first. drifts: the columns against `reference`, the last
    version's rows; None where there is no version; unreadable: why they could not be compared though there is one.
    answered: gate as written → verdict, of a function of the project.
    """

    rows: int
    span: timedelta
    target: Interval
    read: int
    violating: int
    repeated: int
    has_id: bool
    newest: datetime
    due: datetime
    window: timedelta | None = None
    broken: tuple[str, ...] = ()
    former: Sequence[FormerTraining] = ()
    drifts: Sequence[ColumnDrift] | None = None
    reference: str = ""
    unreadable: str | None = None
    answered: Mapping[str, Verdict] = field(default_factory=dict)


def judge_data_gates(gates: Sequence[Gate], evidence: DataEvidence) -> tuple[GateVerdict, ...]:
    """The verdict of every gate that is asked before training, in the order they were written."""
    return tuple(
        GateVerdict(gate=str(gate), verdict=_judge(gate, evidence), undecided_passes=gate.undecided_passes)
        for gate in gates
        if gate.before_training
    )


def _judge(gate: Gate, evidence: DataEvidence) -> Verdict:
    if (answer := evidence.answered.get(str(gate))) is not None:
        return answer
    try:
        match gate:
            case UsualGate(what="rows"):
                return _usual_rows(gate, evidence)
            case UsualGate():
                return _usual_target(gate, evidence)
            case TargetGate():
                return _target(gate, evidence)
            case FreshGate():
                return _fresh(gate, evidence)
            case DriftGate():
                return _drift(gate, evidence)
            case MeasureGate():
                return _measured(gate, evidence)
            case _:
                return Verdict.undecided(f"'{gate}' was not asked in this run; start another")
    except NotEnoughData as error:
        return Verdict.undecided(str(error))


def _usual_rows(gate: UsualGate, evidence: DataEvidence) -> Verdict:
    """Rows against the median of the trainings with the same window; where there is none, rows a day."""
    same = [one for one in evidence.former if evidence.window is not None and one.window == evidence.window]
    if same:
        usual, value, of = Usual.of([one.rows for one in same]), float(evidence.rows), f"{evidence.rows:,} rows"
    else:
        usual = Usual.of([one.per_day for one in evidence.former])
        value = evidence.rows / (evidence.span / _DAY) if evidence.span > timedelta(0) else float(evidence.rows)
        of = f"{value:,.0f} rows a day"
    return _against_usual(gate, value, usual, of, f"{0 if usual is None else usual.value:,.0f}", evidence)


def _usual_target(gate: UsualGate, evidence: DataEvidence) -> Verdict:
    """The target's rate or mean against that of former trainings."""
    known = [
        one.positives / one.rows if gate.what == "target rate" else one.target_mean
        for one in evidence.former
        if one.rows and (gate.what == "target rate" or one.target_mean is not None)
    ]
    usual = Usual.of([value for value in known if value is not None])
    told = _rate if gate.what == "target rate" else _number
    said = f"the {gate.what} {_told(evidence.target, told)}"
    return _against_usual(
        gate, evidence.target.point, usual, said, "" if usual is None else told(usual.value), evidence
    )


def _against_usual(
    gate: UsualGate, value: float, usual: Usual | None, said: str, usual_said: str, evidence: DataEvidence
) -> Verdict:
    if usual is None:
        return Verdict.passed(f"{said}; there is no former training yet to say what is usual", value=value)
    if usual.value == 0:
        return Verdict.undecided(f"{said}; the usual {gate.what} is 0, of which nothing is a share", value=value)
    ratio = value / usual.value
    met = abs(ratio - 1) <= gate.within
    kept = {
        "value": value,
        "usual": usual.value,
        "ratio": ratio,
        "within": gate.within,
        "trainings": [one.to_dict() for one in evidence.former],
    }
    return (Verdict.passed if met else Verdict.failed)(
        f"{said}, {ratio:.0%} of the usual {usual_said} ({usual.said}), {'' if met else 'not '}within "
        f"{format_share(gate.within)}",
        **kept,
    )


def _rate(value: float) -> str:
    return f"{value * 100:.3g}%"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _told(interval: Interval, told: object) -> str:
    assert callable(told)
    return f"{told(interval.point)} [{told(interval.low)}, {told(interval.high)}]"


def _target(gate: TargetGate, evidence: DataEvidence) -> Verdict:
    told = _rate if gate.what == "target rate" else _number
    met = gate.low <= evidence.target.point <= gate.high
    return (Verdict.passed if met else Verdict.failed)(
        f"the {gate.what} {_told(evidence.target, told)} is {'' if met else 'not '}between {told(gate.low)} and "
        f"{told(gate.high)}",
        low_bound=gate.low,
        high_bound=gate.high,
        rows=evidence.rows,
        **evidence.target.to_dict(),
    )


def _fresh(gate: FreshGate, evidence: DataEvidence) -> Verdict:
    """How much older the newest row is than one that could just have matured."""
    age = max(evidence.due - evidence.newest, timedelta(0))
    met = age <= gate.within
    newest, due = (f"{at:%Y-%m-%d %H:%M}" for at in (evidence.newest, evidence.due))
    unit = _DAY if age >= 3 * _DAY else _MINUTE
    behind = format_duration(age // unit * unit) if age >= _MINUTE else "under a minute"
    return (Verdict.passed if met else Verdict.failed)(
        f"the newest row is of {newest}, {behind} before {due}, up to when outcomes are due; "
        f"{'' if met else 'not '}within {format_duration(gate.within)}",
        newest=evidence.newest.isoformat(),
        due=evidence.due.isoformat(),
        age_s=age.total_seconds(),
    )


def _drift(gate: DriftGate, evidence: DataEvidence) -> Verdict:
    """The farthest of the columns; fewer rows than tell such a drift from chance are undecided."""
    if evidence.unreadable is not None:
        return Verdict.undecided(f"the last training's rows cannot be compared: {evidence.unreadable}")
    if evidence.drifts is None:
        return Verdict.passed("there is no former training yet whose rows these could have drifted from")
    by_name = {one.column: one for one in evidence.drifts}
    if (gone := [name for name in gate.columns if name not in by_name]) != []:
        hint = did_you_mean(gone[0], by_name)
        return Verdict.undecided(f"{evidence.reference} and these rows do not share a feature {gone[0]!r}{hint}")
    asked = [by_name[name] for name in gate.columns] if gate.columns else list(evidence.drifts)
    if not asked:
        return Verdict.undecided(f"{evidence.reference} and these rows share no feature")
    kept = {"reference": evidence.reference, "by": gate.by, "bound": gate.bound}
    kept |= {"columns": {one.column: {"distance": one.distance(gate.by), "noise": one.noise(gate.by)} for one in asked}}
    ranked = sorted(asked, key=lambda one: one.distance(gate.by), reverse=True)
    off = [one for one in ranked if not gate.holds(one.distance(gate.by))]
    surely = [one for one in off if _is_sure(one, gate)]
    if surely:
        named = ", ".join(f"{one.column} by {one.distance(gate.by):.3g}" for one in surely[:_MOST_NAMED])
        more = f" and {len(surely) - _MOST_NAMED} more" if len(surely) > _MOST_NAMED else ""
        return Verdict.failed(
            f"drifted from the rows of {evidence.reference} ({gate.by}, not {gate.op} {gate.bound:g}): {named}{more}",
            **kept,
        )
    vague = [one for one in asked if one.noise(gate.by) >= gate.bound]
    if vague:
        return Verdict.undecided(
            f"{evidence.rows:,} rows do not tell a drift of {gate.bound:g} ({gate.by}) of {vague[0].column} from "
            f"chance, which gives {vague[0].noise(gate.by):.3g}",
            **kept,
        )
    first = ranked[0]
    return Verdict.passed(
        f"the farthest from the rows of {evidence.reference} is {first.column}, by {first.distance(gate.by):.3g} "
        f"({gate.by}), {gate.op} {gate.bound:g}",
        **kept,
    )


def _is_sure(one: ColumnDrift, gate: DriftGate) -> bool:
    """Whether a column that is too far away is so by more than chance, also where chance alone reaches the bound."""
    noise = one.noise(gate.by)
    return noise < gate.bound or one.distance(gate.by) > _SURE_TIMES * noise


def _measured(gate: MeasureGate, evidence: DataEvidence) -> Verdict:
    """Rows, duplicates or rows that break the contract, against their bound."""
    if gate.measure == "rows":
        met = gate.holds(evidence.rows)
        return (Verdict.passed if met else Verdict.failed)(
            f"{evidence.rows:,} rows, {gate.side(met)} {gate.told(gate.bound)}",
            rows=evidence.rows,
            bound=gate.bound,
        )
    count = evidence.repeated if gate.measure == "duplicates" else evidence.violating
    # what has no id is only known to be the same once it is cut to the window
    of = evidence.rows if gate.measure == "duplicates" and not evidence.has_id else evidence.read
    share = count / of if of else 0.0
    met = gate.holds(share)
    same = "repeat an id" if evidence.has_id else "repeat another in every column"
    what = same if gate.measure == "duplicates" else "break the contract"
    examples = "" if gate.measure == "duplicates" else "".join(f"; {one}" for one in evidence.broken[:_MOST_NAMED])
    return (Verdict.passed if met else Verdict.failed)(
        f"{count:,} of {of:,} rows {what} ({_rate(share)}), {gate.side(met)} {gate.told(gate.bound)}{examples}",
        count=count,
        of=of,
        share=share,
        bound=gate.bound,
        **({} if gate.measure == "duplicates" else {"broken": list(evidence.broken)}),
    )
