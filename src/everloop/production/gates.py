"""Gates: the conditions a model must meet, each answered with a verdict, all of them always evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from everloop.errors import NotEnoughData
from everloop.project import BeatsGate, Gate, MetricGate, NotWorseGate, Objective, format_bound
from everloop.stats import Interval, Verdict
from everloop.tasks import Evaluated, Task, get_task

__all__ = ["MINIMUM_POSITIVES", "GateEvidence", "GateVerdict", "judge_gates", "refusal"]

# Below it an estimate of a share of positives says too little to let a model through (or to stop one).
MINIMUM_POSITIVES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEvidence:
    """What gates are asked of: the candidate, and who it is compared with, on the same held-out rows.

    segments: column → one label per row, shape (n,). yardsticks: learner name → its evaluation.
    seed: of the bootstrap, so that a verdict repeats to the last digit.
    """

    task: str
    objective: Objective
    candidate: Evaluated
    champion: Evaluated | None
    champion_name: str | None = None
    yardsticks: Mapping[str, Evaluated] = field(default_factory=dict)
    segments: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """A gate as it was written, and its answer."""

    gate: str
    verdict: Verdict

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {"gate": self.gate, **self.verdict.to_dict()}


def judge_gates(gates: Sequence[Gate], evidence: GateEvidence) -> tuple[GateVerdict, ...]:
    """Every gate's verdict, in the order they were written; none is skipped because another failed."""
    return tuple(GateVerdict(gate=str(gate), verdict=_judge(gate, evidence)) for gate in gates)


def refusal(verdicts: Sequence[GateVerdict]) -> str | None:
    """Why a model is refused, in one clause; None where every gate passed. Undecided refuses."""
    against = [answer.verdict.sentence for answer in verdicts if not answer.verdict.is_passed]
    return "; ".join(against) if against else None


def _judge(gate: Gate, evidence: GateEvidence) -> Verdict:
    if isinstance(gate, MetricGate | NotWorseGate) and gate.segment is not None:
        return _each_segment(gate, gate.segment, evidence)
    return _judge_whole(gate, evidence)


def _judge_whole(gate: Gate, evidence: GateEvidence) -> Verdict:
    """The gate asked of all rows of the evidence. What they cannot say, such as for want of a class, is undecided."""
    try:
        match gate:
            case MetricGate():
                return _metric(gate, evidence.candidate, evidence.seed, get_task(evidence.task))
            case BeatsGate(reference="yardstick"):
                return _beats_yardsticks(evidence)
            case BeatsGate():
                return _against_champion(evidence, margin=0.0, strictly=True)
            case NotWorseGate():
                return _against_champion(evidence, margin=gate.margin, strictly=False)
    except NotEnoughData as error:
        return Verdict.undecided(str(error))


def _rises(op: str) -> bool:
    """Whether the condition asks for much: `>=` and `>`."""
    return op.startswith(">")


def _counted(task: Task) -> str:
    """What there must be enough of."""
    return "positives" if task.decides else "rows"


def _too_few(name: str, evaluation: Evaluated, task: Task) -> Verdict | None:
    """Undecided where there are fewer positives, or of a regression rows, than any estimate needs."""
    if evaluation.positives >= MINIMUM_POSITIVES:
        return None
    return Verdict.undecided(
        f"{name} cannot be judged on {evaluation.positives:g} {_counted(task)}; "
        f"at least {MINIMUM_POSITIVES} are needed",
        positives=evaluation.positives,
    )


def _metric(gate: MetricGate, evaluation: Evaluated, seed: int, task: Task) -> Verdict:
    """`metric >= x` asks the point estimate; with `at 95%` the end of the interval that lies on the bad side."""
    if (few := _too_few(gate.metric, evaluation, task)) is not None:
        return few
    level = 0.95 if gate.at_level is None else gate.at_level
    interval = evaluation.interval(gate.metric, seed=seed, level=level)
    asked = interval.point if gate.at_level is None else (interval.low if _rises(gate.op) else interval.high)
    kept = {"metric": gate.metric, "bound": gate.bound, "positives": evaluation.positives, **interval.to_dict()}
    if gate.condition.holds(asked):
        return Verdict.passed(f"{gate.metric} {_sided(interval, asked, gate.op, gate.bound, met=True)}", **kept)
    return Verdict.failed(f"{gate.metric} {_sided(interval, asked, gate.op, gate.bound, met=False)}", **kept)


def _sided(interval: Interval, asked: float, op: str, bound: float, *, met: bool) -> str:
    """`0.71 [0.66, 0.76] is below 0.80`: two decimals, and as many more as tell the numbers from bound, 0 and 1."""
    told = [(asked, bound), (interval.point, bound), (interval.point, 0.0), (interval.point, 1.0)]
    places = 2
    while places < 6 and (round(bound, places) != bound or any(_alike(*pair, places) for pair in told)):
        places += 1
    return f"{interval:.{places}f} is {_side(op, met)} {format_bound(bound)}"


def _alike(one: float, other: float, places: int) -> bool:
    """Whether two different numbers are written the same."""
    return one != other and f"{one:.{places}f}" == f"{other:.{places}f}"


def _side(op: str, met: bool) -> str:
    if _rises(op):
        return "at least" if met else "below"
    return "at most" if met else "above"


def _each_segment(gate: MetricGate | NotWorseGate, segment: str, evidence: GateEvidence) -> Verdict:
    """The gate asked of every value of a segment that has enough positives; the others are named, not judged."""
    labels = evidence.segments.get(segment)
    if labels is None:
        return Verdict.undecided(f"the held-out rows have no segment {segment!r}; name it under data.segments")
    whole, values = replace(gate, segment=None), labels.astype(str)
    if isinstance(whole, NotWorseGate) and evidence.champion is None:
        return _judge_whole(whole, evidence)
    answers = {
        str(label): _judge_whole(whole, _of_rows(evidence, np.flatnonzero(values == label)))
        for label in np.unique(values)
    }
    kept = {"segments": {label: answer.to_dict() for label, answer in answers.items()}}
    failed = [f"for {segment} {label} {answer.sentence}" for label, answer in answers.items() if answer.is_failed]
    if failed:
        return Verdict.failed("; ".join(failed), **kept)
    counted = _counted(get_task(evidence.task))
    passed = sum(answer.is_passed for answer in answers.values())
    if not passed:
        return Verdict.undecided(f"no {segment} has the {MINIMUM_POSITIVES} {counted} that '{whole}' needs", **kept)
    skipped = len(answers) - passed
    of_a_class = " of a class" if get_task(evidence.task).decides else ""
    note = f" ({skipped} with too few rows{of_a_class} not judged)" if skipped else ""
    return Verdict.passed(f"'{whole}' holds for each of {passed} values of {segment}{note}", **kept)


def _of_rows(evidence: GateEvidence, rows: np.ndarray) -> GateEvidence:
    """The evidence of some of its rows."""
    champion = evidence.champion
    return replace(
        evidence,
        candidate=evidence.candidate.of_rows(rows),
        champion=None if champion is None else champion.of_rows(rows),
    )


def _breaks_constraint(evidence: GateEvidence) -> Verdict | None:
    """The objective's own condition, as `precision >= 0.80`: broken where even the good end of its interval fails.

    The threshold was chosen on other rows, so the point alone falls on the wrong side half of the time.
    """
    constraint = evidence.objective.constraint
    if constraint is None:
        return None
    metric, op, bound = constraint
    interval = evidence.candidate.interval(metric, seed=evidence.seed)
    good = interval.high if _rises(op) else interval.low
    if constraint.holds(good):
        return None
    return Verdict.failed(
        f"{metric} {_sided(interval, good, op, bound, met=False)}, which the objective demands",
        metric=metric,
        bound=bound,
        **interval.to_dict(),
    )


def _beats_yardsticks(evidence: GateEvidence) -> Verdict:
    """Better on the objective than every yardstick: a constant, a logistic or a linear regression.

    What the objective's constraint lacks counts against each, so that calling everything positive beats nobody.
    """
    if not evidence.yardsticks:
        return Verdict.undecided("no yardstick was fitted on these rows")
    if (few := _too_few(evidence.objective.metric, evidence.candidate, get_task(evidence.task))) is not None:
        return few
    if (broken := _breaks_constraint(evidence)) is not None:
        return broken
    metric, sign = evidence.objective.metric, 1.0 if evidence.objective.maximise else -1.0
    own = _objective_value(evidence, evidence.candidate)
    values = {name: _objective_value(evidence, evaluation) for name, evaluation in evidence.yardsticks.items()}
    best = max(values, key=lambda name: sign * values[name])
    kept = {"metric": metric, "candidate": own, "yardsticks": values}
    # not the metric alone: what the constraint lacks is taken off
    said = f"{evidence.objective} comes to {own:.3f}"
    if sign * own > sign * values[best]:
        return Verdict.passed(f"{said} and beats the yardstick {best}'s {values[best]:.3f}", **kept)
    return Verdict.failed(f"{said} and does not beat the yardstick {best}'s {values[best]:.3f}", **kept)


def _objective_value(evidence: GateEvidence, evaluation: Evaluated) -> float:
    return get_task(evidence.task).objective_value(evidence.objective, evaluation)


def _against_champion(evidence: GateEvidence, *, margin: float, strictly: bool) -> Verdict:
    """Candidate minus champion on the objective's metric, paired on the same rows.

    `beats` asks that the whole interval lies above zero; `not worse by x` that the point is at most x below.
    A first model has no champion to be compared with, and passes.
    """
    metric, task = evidence.objective.metric, get_task(evidence.task)
    if evidence.champion is None:
        return Verdict.passed(f"there is no champion yet to compare {metric} with")
    if (few := _too_few(metric, evidence.candidate, task)) is not None:
        return few
    if (broken := _breaks_constraint(evidence)) is not None:
        return broken
    sign = 1.0 if evidence.objective.maximise else -1.0
    difference = task.paired_interval(metric, evidence.candidate, evidence.champion, seed=evidence.seed)
    gain = sign * difference.point
    worst = sign * (difference.low if sign > 0 else difference.high)
    met = worst > 0 if strictly else gain >= -margin
    name = evidence.champion_name or "the champion"
    sentence = (
        f"{metric} differs from {name} by {difference.point:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    )
    kept = {"metric": metric, "margin": margin, **difference.to_dict()}
    if met:
        return Verdict.passed(sentence, **kept)
    wanted = "which is not surely better" if strictly else f"more than {margin:g} worse"
    return Verdict.failed(f"{sentence}, {wanted}", **kept)
