"""Gates: the conditions a model must meet, each answered with a verdict, all of them always evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from everloop.errors import NotEnoughData
from everloop.production.measured import Measured
from everloop.project import (
    CALIBRATION_ERROR,
    COVERAGE,
    BeatsGate,
    Gate,
    MeasureGate,
    MetricGate,
    NotWorseGate,
    Objective,
    PredictedGate,
    SegmentGate,
    StableGate,
    format_bound,
    format_share,
)
from everloop.stats import Interval, Json, Outcome, Verdict
from everloop.tasks import Evaluated, NumericEvaluation, Task, calibration_error, get_task, predicted_over_actual

__all__ = ["MINIMUM_POSITIVES", "GateEvidence", "GateVerdict", "judge_gates", "refusal"]

# Below it an estimate of a share of positives says too little to let a model through (or to stop one).
MINIMUM_POSITIVES = 30
LEVEL = 0.95
# Rows of every kind that a paired interval is widened by: else models that differ on none of few rows surely agree.
PAIRED_PRIOR = 0.5
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEvidence:
    """What gates are asked of: the candidate, and who it is compared with, on the same held-out rows.

    segments: column → one label per row, shape (n,). yardsticks: learner name → its evaluation.
    measured: plain numbers of the run, by what a gate calls them. refits: seed → the same spec fitted with it.
    answered: gate as written → its verdict, of those that were judged elsewhere: before training, or by a function of
      the project.
    seed: of the bootstrap, so that a verdict repeats to the last digit.
    """

    task: str
    objective: Objective
    candidate: Evaluated
    champion: Evaluated | None
    champion_name: str | None = None
    yardsticks: Mapping[str, Evaluated] = field(default_factory=dict)
    segments: Mapping[str, np.ndarray] = field(default_factory=dict)
    measured: Mapping[str, Measured] = field(default_factory=dict)
    refits: Mapping[int, Evaluated] = field(default_factory=dict)
    answered: Mapping[str, Verdict] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """A gate as it was written, and its answer. undecided_passes: whether the gate lets an undecided answer pass."""

    gate: str
    verdict: Verdict
    undecided_passes: bool = False

    @property
    def refuses(self) -> bool:
        """Whether the answer ends the run: a no, and what cannot be told unless the gate says otherwise."""
        return self.verdict.is_failed or (self.verdict.is_undecided and not self.undecided_passes)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {"gate": self.gate, **self.verdict.to_dict()}


def judge_gates(gates: Sequence[Gate], evidence: GateEvidence) -> tuple[GateVerdict, ...]:
    """Every gate's verdict, in the order they were written; none is skipped because another failed."""
    return tuple(
        GateVerdict(gate=str(gate), verdict=_judge(gate, evidence), undecided_passes=gate.undecided_passes)
        for gate in gates
    )


def refusal(verdicts: Sequence[GateVerdict]) -> str | None:
    """Why a model is refused, in one clause; None where nothing refuses."""
    against = dict.fromkeys(answer.verdict.sentence for answer in verdicts if answer.refuses)
    return "; ".join(against) if against else None


def _judge(gate: Gate, evidence: GateEvidence) -> Verdict:
    if (answer := evidence.answered.get(str(gate))) is not None:
        return answer
    if isinstance(gate, SegmentGate) and gate.segment is not None:
        return _each_segment(gate, gate.segment, evidence)
    return _judge_whole(gate, evidence)


def _judge_whole(gate: Gate | SegmentGate, evidence: GateEvidence, *, among: int = 1) -> Verdict:
    """The gate asked of all rows of the evidence. What they cannot say, such as for want of a class, is undecided.

    among: how many segments are asked the same, of which one may seem worse by chance.
    """
    try:
        match gate:
            case MetricGate():
                return _metric(gate, evidence.candidate, evidence.seed, get_task(evidence.task))
            case PredictedGate():
                return _predicted(gate, evidence.candidate, get_task(evidence.task))
            case BeatsGate(reference="yardstick"):
                return _beats_yardsticks(evidence)
            case BeatsGate() | NotWorseGate():
                return _against_champion(gate, evidence, among=among)
            case MeasureGate():
                return _measured(gate, evidence)
            case StableGate():
                return _stable(gate, evidence)
            case _:
                return Verdict.undecided(f"'{gate}' was not asked in this run; start another")
    except NotEnoughData as error:
        return Verdict.undecided(str(error), few=True)


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
        few=True,
    )


def _metric(gate: MetricGate, evaluation: Evaluated, seed: int, task: Task) -> Verdict:
    """`metric >= x` asks the point estimate; with `at 95%` the end of the interval that lies on the bad side."""
    name = gate.metric.replace("_", " ") if gate.metric == CALIBRATION_ERROR else gate.metric
    if (few := _too_few(name, evaluation, task)) is not None:
        return few
    interval = _estimate(evaluation, gate.metric, seed=seed, level=gate.at_level or LEVEL)
    asked = interval.point if gate.at_level is None else (interval.low if _rises(gate.op) else interval.high)
    kept = {"metric": gate.metric, "bound": gate.bound, "positives": evaluation.positives, **interval.to_dict()}
    if gate.condition.holds(asked):
        return Verdict.passed(f"{name} {_sided(interval, asked, gate.op, gate.bound, met=True)}", **kept)
    return Verdict.failed(f"{name} {_sided(interval, asked, gate.op, gate.bound, met=False)}", **kept)


def _estimate(evaluation: Evaluated, metric: str, *, seed: int, level: float) -> Interval:
    """A metric of the task, or one that only gates ask for."""
    if metric == CALIBRATION_ERROR:
        return calibration_error(evaluation, seed=seed, level=level)
    if metric == COVERAGE:
        covered = evaluation.coverage(level=level) if isinstance(evaluation, NumericEvaluation) else None
        if covered is None:
            raise NotEnoughData("coverage is asked of a regression's outer quantiles, and this model gives none")
        return covered
    return evaluation.interval(metric, seed=seed, level=level)


def _predicted(gate: PredictedGate, evaluation: Evaluated, task: Task) -> Verdict:
    """The mean score over the mean outcome; the point is asked, with `at 95%` the whole interval."""
    if (few := _too_few(f"the predicted {gate.what}", evaluation, task)) is not None:
        return few
    ratio = predicted_over_actual(evaluation, level=gate.at_level or LEVEL)
    ends = (ratio.point,) if gate.at_level is None else (ratio.low, ratio.high)
    met = all(abs(end - 1) <= gate.within for end in ends)
    off = "within" if met else "not surely within" if abs(ratio.point - 1) <= gate.within else "off by more than"
    return (Verdict.passed if met else Verdict.failed)(
        f"the predicted {gate.what} is {ratio:.2f} times the actual, {off} {format_share(gate.within)}",
        within=gate.within,
        **ratio.to_dict(),
    )


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


def _each_segment(gate: SegmentGate, segment: str, evidence: GateEvidence) -> Verdict:
    """The gate asked of every value of a segment that has enough rows; the others are named, not judged.

    Where an interval decides, one value of many is called worse only where it is so among as many as there are.
    """
    labels = evidence.segments.get(segment)
    if labels is None:
        return Verdict.undecided(f"the held-out rows have no segment {segment!r}; name it under data.segments")
    whole, values = replace(gate, segment=None, least_rows=None), labels.astype(str)
    if isinstance(whole, NotWorseGate | BeatsGate) and whole.words != "beats yardstick" and evidence.champion is None:
        return _judge_whole(whole, evidence)
    parts = {str(label): np.flatnonzero(values == label) for label in np.unique(values)}
    least = gate.least_rows or 0
    asked = {label: _of_rows(evidence, rows) for label, rows in parts.items() if rows.size >= least}
    among = max(1, sum(part.candidate.positives >= MINIMUM_POSITIVES for part in asked.values()))
    answers = {label: _judge_whole(whole, part, among=among) for label, part in asked.items()}
    small = [label for label in parts if label not in asked]
    return _of_segments(gate, segment, answers, small, get_task(evidence.task))


def _of_segments(
    gate: SegmentGate, segment: str, answers: Mapping[str, Verdict], small: Sequence[str], task: Task
) -> Verdict:
    """One verdict of those of the values. small: the values that have fewer rows than the gate asks for."""
    asked, counted = replace(gate, segment=None, least_rows=None).words, _counted(task)
    few = [label for label, answer in answers.items() if answer.is_undecided and answer.evidence.get("few")]
    judged = {label: answer for label, answer in answers.items() if label not in few}
    kept: dict[str, Json] = {
        "segments": {label: answer.to_dict() for label, answer in answers.items()},
        "not_judged": [*small, *few],
    }
    note = _not_judged(gate, small, few, task)
    answered: tuple[Outcome, ...] = ("failed", "undecided")
    for outcome in answered:
        said = [
            f"for {segment} {label} {answer.sentence}" for label, answer in judged.items() if answer.outcome == outcome
        ]
        if said:
            rest = f"; and for {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
            return Verdict(outcome=outcome, sentence="; ".join(said[:_MOST_NAMED]) + rest + note, evidence=kept)
    if not judged:
        needed = f"{gate.least_rows:,} rows and " if gate.least_rows else ""
        return Verdict.undecided(
            f"no {segment} has the {needed}{MINIMUM_POSITIVES} {counted} that '{asked}' needs", **kept
        )
    of = f"each of {len(judged)} values of {segment}" if len(judged) > 1 else f"{segment} {next(iter(judged))}"
    worst = _worst(gate, judged) if len(judged) > 1 else ""
    return Verdict.passed(f"'{asked}' holds for {of}{worst}{note}", **kept)


def _not_judged(gate: SegmentGate, small: Sequence[str], few: Sequence[str], task: Task) -> str:
    """` (not judged: FI, SE with fewer than 200 rows)`; empty where all were."""
    parts = [f"{_named(small)} with fewer than {gate.least_rows:,} rows"] if small else []
    parts += [f"{_named(few)} for want of {'rows of a class' if task.decides else 'rows'}"] if few else []
    return f" (not judged: {'; '.join(parts)})" if parts else ""


def _worst(gate: SegmentGate, judged: Mapping[str, Verdict]) -> str:
    """`, the least is 0.62 for SE`: how near to a metric's bound a value comes."""
    points = {label: answer.evidence.get("point") for label, answer in judged.items()}
    known = {label: point for label, point in points.items() if isinstance(point, float)}
    if not isinstance(gate, MetricGate) or not known:
        return ""
    label = (min if _rises(gate.op) else max)(known, key=lambda name: known[name])
    return f", the {'least' if _rises(gate.op) else 'most'} is {known[label]:.3g} for {label}"


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_MOST_NAMED])
    return shown if len(labels) <= _MOST_NAMED else f"{shown} and {len(labels) - _MOST_NAMED} more"


def _of_rows(evidence: GateEvidence, rows: np.ndarray) -> GateEvidence:
    """The evidence of some of its rows."""
    champion = evidence.champion
    return replace(
        evidence,
        candidate=evidence.candidate.of_rows(rows),
        champion=None if champion is None else champion.of_rows(rows),
        yardsticks={name: one.of_rows(rows) for name, one in evidence.yardsticks.items()},
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


def _against_champion(gate: BeatsGate | NotWorseGate, evidence: GateEvidence, *, among: int) -> Verdict:
    """Candidate minus champion on a metric, paired on the same rows: the interval decides, not the two numbers.

    `not worse by x` passes where the whole interval lies above -x, fails where it lies below, and is undecided where -x
    lies in it; `beats` asks the same of 0. Called worse, one of many segments is so at the level of them together; each
    must be surely not worse by itself. A first model has no champion to be compared with, and passes.
    """
    task, named = get_task(evidence.task), gate.metric if isinstance(gate, NotWorseGate) else None
    metric = evidence.objective.metric if named is None else named
    if evidence.champion is None:
        return Verdict.passed(f"there is no champion yet to compare {metric} with")
    if (few := _too_few(metric, evidence.candidate, task)) is not None:
        return few
    if named is None and (broken := _breaks_constraint(evidence)) is not None:
        return broken
    maximise = evidence.objective.maximise if named is None else task.metrics[metric].maximise
    level = gate.at_level or LEVEL
    found, wide = (_difference(evidence, metric, level=at) for at in (level, 1 - (1 - level) / among))
    worst, best = (found.low, wide.high) if maximise else (-found.high, -wide.low)
    margin = gate.margin if isinstance(gate, NotWorseGate) else 0.0
    strictly = isinstance(gate, BeatsGate)
    outcome, tail = _paired_answer(worst, best, margin, strictly=strictly)
    shown = wide if outcome == "failed" else found
    name = evidence.champion_name or "the champion"
    said = f"{metric} differs from {name} by {shown.point:+.3f} [{shown.low:+.3f}, {shown.high:+.3f}]"
    kept: dict[str, Json] = {"metric": metric, "margin": margin, "rows": evidence.candidate.rows, **shown.to_dict()}
    return Verdict(outcome=outcome, sentence=f"{said}{tail}", evidence=kept)


def _difference(evidence: GateEvidence, metric: str, *, level: float) -> Interval:
    champion, candidate = evidence.champion, evidence.candidate
    assert champion is not None
    if _same_answers(candidate, champion):
        return Interval(low=0.0, point=0.0, high=0.0, level=level)
    task = get_task(evidence.task)
    return task.paired_interval(metric, candidate, champion, seed=evidence.seed, level=level, prior=PAIRED_PRIOR)


def _same_answers(one: Evaluated, other: Evaluated) -> bool:
    """Whether every row is answered alike to the last bit: then they are one model, and no rows are too few."""
    mine, theirs = (item.quantiles if isinstance(item, NumericEvaluation) else None for item in (one, other))
    alike = mine is theirs if mine is None or theirs is None else np.array_equal(mine, theirs)
    return alike and one.threshold == other.threshold and np.array_equal(one.score, other.score)


def _paired_answer(worst: float, best: float, margin: float, *, strictly: bool) -> tuple[Outcome, str]:
    """The outcome of an interval of gains from `worst` to `best`, and how its sentence ends."""
    if strictly:
        if worst > 0:
            return "passed", ""
        return ("failed", ", which is not better") if best <= 0 else ("undecided", ", which is not surely better")
    if worst >= -margin:
        return "passed", ""
    if best < -margin:
        return "failed", f", more than {margin:g} worse"
    return "undecided", f", which leaves open whether it is more than {margin:g} worse"


def _measured(gate: MeasureGate, evidence: GateEvidence) -> Verdict:
    """A plain number of the run against the bound."""
    found = evidence.measured.get(gate.measure)
    if found is None:
        return Verdict.undecided(f"{gate.measure} was not measured in this run; start another")
    met = gate.holds(found.value)
    kept = {"measure": gate.measure, "bound": gate.bound, "value": found.value, **found.details}
    return (Verdict.passed if met else Verdict.failed)(
        f"{found.says}, {gate.side(met)} {gate.told(gate.bound)}", **kept
    )


def _stable(gate: StableGate, evidence: GateEvidence) -> Verdict:
    """The spread of the fits that differ by their seed alone, each with its own threshold, on the same rows."""
    metric = evidence.objective.metric if gate.metric is None else gate.metric
    task = get_task(evidence.task)
    if (few := _too_few(metric, evidence.candidate, task)) is not None:
        return few
    fits = {evidence.seed: evidence.candidate, **dict(list(evidence.refits.items())[: gate.seeds - 1])}
    if len(fits) < gate.seeds:
        return Verdict.undecided(f"{len(fits)} of {gate.seeds} seeds were fitted in this run; start another")
    values = {
        str(seed): _objective_value(evidence, one) if gate.metric is None else one.value(metric)
        for seed, one in fits.items()
    }
    low, high = min(values.values()), max(values.values())
    name = str(evidence.objective) if gate.metric is None else metric
    kept = {"metric": metric, "values": values, "spread": high - low, "within": gate.within}
    said = f"over {gate.seeds} seeds {name} goes from {low:.3f} to {high:.3f}"
    if high - low <= gate.within:
        return Verdict.passed(f"{said}, within {format_bound(gate.within)}", **kept)
    return Verdict.failed(f"{said}, {high - low:.3f} apart and not within {format_bound(gate.within)}", **kept)
