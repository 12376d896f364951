"""Gates: the conditions a model must meet, each answered with a verdict, all of them always evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from everloop.project import BeatsGate, Gate, MetricGate, NotWorseGate, Objective
from everloop.stats import Verdict
from everloop.tasks import Evaluation, get_task, paired_interval

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
    candidate: Evaluation
    champion: Evaluation | None
    champion_name: str | None = None
    yardsticks: Mapping[str, Evaluation] = field(default_factory=dict)
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
    match gate:
        case MetricGate(segment=None):
            return _metric(gate, evidence.candidate, evidence.seed)
        case MetricGate():
            return _each_segment(gate, evidence)
        case BeatsGate(reference="yardstick"):
            return _beats_yardsticks(evidence)
        case BeatsGate():
            return _against_champion(evidence, margin=0.0, strictly=True)
        case NotWorseGate():
            return _against_champion(evidence, margin=gate.margin, strictly=False)


def _rises(op: str) -> bool:
    """Whether the condition asks for much: `>=` and `>`."""
    return op.startswith(">")


def _metric(gate: MetricGate, evaluation: Evaluation, seed: int, where: str = "") -> Verdict:
    """`metric >= x` asks the point estimate; with `at 95%` the end of the interval that lies on the bad side."""
    name = f"{gate.metric}{where}"
    if evaluation.positives < MINIMUM_POSITIVES:
        return Verdict.undecided(
            f"{name} cannot be judged on {evaluation.positives:g} positives; at least {MINIMUM_POSITIVES} are needed",
            positives=evaluation.positives,
        )
    level = 0.95 if gate.at_level is None else gate.at_level
    interval = evaluation.interval(gate.metric, seed=seed, level=level)
    asked = interval.point if gate.at_level is None else (interval.low if _rises(gate.op) else interval.high)
    kept = {"metric": gate.metric, "bound": gate.bound, "positives": evaluation.positives, **interval.to_dict()}
    if gate.condition.holds(asked):
        return Verdict.passed(f"{name} {interval} is {_side(gate.op, True)} {gate.bound:g}", **kept)
    return Verdict.failed(f"{name} {interval} is {_side(gate.op, False)} {gate.bound:g}", **kept)


def _side(op: str, met: bool) -> str:
    if _rises(op):
        return "at least" if met else "below"
    return "at most" if met else "above"


def _each_segment(gate: MetricGate, evidence: GateEvidence) -> Verdict:
    """The gate asked of every value of a segment that has enough positives; the others are named, not judged."""
    assert gate.segment is not None
    labels = evidence.segments.get(gate.segment)
    if labels is None:
        return Verdict.undecided(f"the held-out rows have no segment {gate.segment!r}; name it under data.segments")
    answers: dict[str, Verdict] = {}
    for label in sorted({str(value) for value in labels}):
        rows = np.flatnonzero(labels.astype(str) == label)
        part = _part(evidence.candidate, rows)
        answers[label] = _metric(gate, part, evidence.seed, f" for {gate.segment} {label}")
    judged = [answer for answer in answers.values() if not answer.is_undecided]
    kept = {"segments": {label: answer.to_dict() for label, answer in answers.items()}}
    failed = [answer.sentence for answer in judged if answer.is_failed]
    if failed:
        return Verdict.failed("; ".join(failed), **kept)
    if not judged:
        return Verdict.undecided(
            f"no {gate.segment} has the {MINIMUM_POSITIVES} positives that {gate.metric} needs", **kept
        )
    skipped = len(answers) - len(judged)
    note = f" ({skipped} with fewer than {MINIMUM_POSITIVES} positives not judged)" if skipped else ""
    met = _side(gate.op, True)
    return Verdict.passed(
        f"{gate.metric} is {met} {gate.bound:g} for each of {len(judged)} {gate.segment}{note}", **kept
    )


def _part(evaluation: Evaluation, rows: np.ndarray) -> Evaluation:
    """The evaluation of some of its rows."""
    return replace(
        evaluation,
        y=evaluation.y[rows],
        score=evaluation.score[rows],
        weight=None if evaluation.weight is None else evaluation.weight[rows],
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
    if constraint.holds(interval.high if _rises(op) else interval.low):
        return None
    return Verdict.failed(
        f"{metric} {interval} is {_side(op, False)} the {bound:g} that the objective demands",
        metric=metric,
        bound=bound,
        **interval.to_dict(),
    )


def _beats_yardsticks(evidence: GateEvidence) -> Verdict:
    """Better on the objective than every yardstick: a constant, a logistic regression.

    What the objective's constraint lacks counts against each, so that calling everything positive beats nobody.
    """
    if not evidence.yardsticks:
        return Verdict.undecided("no yardstick was fitted on these rows")
    if (broken := _breaks_constraint(evidence)) is not None:
        return broken
    metric, sign = evidence.objective.metric, 1.0 if evidence.objective.maximise else -1.0
    own = _objective_value(evidence, evidence.candidate)
    values = {name: _objective_value(evidence, evaluation) for name, evaluation in evidence.yardsticks.items()}
    best = max(values, key=lambda name: sign * values[name])
    kept = {"metric": metric, "candidate": own, "yardsticks": values}
    if sign * own > sign * values[best]:
        return Verdict.passed(f"{metric} {own:.3f} beats the yardstick {best} at {values[best]:.3f}", **kept)
    return Verdict.failed(f"{metric} {own:.3f} does not beat the yardstick {best} at {values[best]:.3f}", **kept)


def _objective_value(evidence: GateEvidence, evaluation: Evaluation) -> float:
    return get_task(evidence.task).objective_value(evidence.objective, evaluation)


def _against_champion(evidence: GateEvidence, *, margin: float, strictly: bool) -> Verdict:
    """Candidate minus champion on the objective's metric, paired on the same rows.

    `beats` asks that the whole interval lies above zero; `not worse by x` that the point is at most x below.
    A first model has no champion to be compared with, and passes.
    """
    metric = evidence.objective.metric
    if evidence.champion is None:
        return Verdict.passed(f"there is no champion yet to compare {metric} with")
    if (broken := _breaks_constraint(evidence)) is not None:
        return broken
    if evidence.candidate.positives < MINIMUM_POSITIVES:
        return Verdict.undecided(
            f"{metric} cannot be compared on {evidence.candidate.positives:g} positives; "
            f"at least {MINIMUM_POSITIVES} are needed",
            positives=evidence.candidate.positives,
        )
    sign = 1.0 if evidence.objective.maximise else -1.0
    difference = paired_interval(metric, evidence.candidate, evidence.champion, seed=evidence.seed)
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
