"""What a task makes of a model.yaml: learners and quantiles where nothing is said, and keys it has no use for.

A regression decides nothing: no positive class, no threshold, no share of decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from everloop.project.document import KeyPath
from everloop.project.gates import (
    CALIBRATION_ERROR,
    COVERAGE,
    MetricGate,
    NotWorseGate,
    PredictedGate,
    StableGate,
    TargetGate,
    UsualGate,
)
from everloop.project.metrics import METRICS, TASK_LEARNERS, did_you_mean, metric_name
from everloop.project.quantiles import QUANTILES

if TYPE_CHECKING:
    from everloop.project.model import ModelFile

__all__ = ["task_mistakes", "with_task_defaults"]


def with_task_defaults(read: ModelFile) -> ModelFile:
    """The file with its task's learners and quantiles, where it names none."""
    if read.task == "classification":
        return read
    update: dict[str, object] = {}
    if "learners" not in read.search.model_fields_set:
        update["search"] = read.search.model_copy(update={"learners": TASK_LEARNERS[read.task][1:]})
    if "quantiles" not in read.model_fields_set:
        update["quantiles"] = QUANTILES
    return read.model_copy(update=update)


def task_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    """Metrics and learners of another task, and keys that this one has no use for."""
    found = [*_metric_mistakes(read), *_learner_mistakes(read), *_gate_mistakes(read)]
    return [*found, *(_of_regression(read) if read.task == "regression" else _of_classification(read))]


def _metric_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    named: list[tuple[KeyPath, str]] = [(("objective",), read.objective.metric)]
    if read.objective.constraint is not None:
        named.append((("objective",), read.objective.constraint.metric))
    named += [
        (("gates", i), gate.metric)
        for i, gate in enumerate(read.gates)
        if isinstance(gate, MetricGate | NotWorseGate | StableGate)
        and gate.metric is not None
        and gate.metric not in (CALIBRATION_ERROR, COVERAGE)
    ]
    named += [(("monitor", "checks", i), check) for i, check in enumerate(read.monitor.checks) if check in METRICS]
    return [
        (key, f"{metric} is a metric of {task}, and this model is a {read.task}")
        for key, metric in named
        if (task := metric_name(metric).task) != read.task
    ]


def _gate_mistakes(read: ModelFile) -> Iterator[tuple[KeyPath, str]]:
    """Gates in the words of the other task."""
    numeric = read.task == "regression"
    for index, gate in enumerate(read.gates):
        key: KeyPath = ("gates", index)
        if isinstance(gate, UsualGate | TargetGate | PredictedGate) and gate.what != "rows":
            word = "mean" if numeric else "rate"
            if not gate.what.endswith(word):
                said = "a number has a mean" if numeric else "a class has a rate"
                other = str(gate).replace(gate.what, gate.what.replace("mean" if word == "rate" else "rate", word), 1)
                yield key, f"'{gate}': this model is a {read.task}, and {said}; did you mean '{other}'?"
        needs_quantiles = isinstance(gate, MetricGate) and (
            gate.metric == COVERAGE or (gate.metric == CALIBRATION_ERROR and numeric)
        )
        if needs_quantiles and not numeric:
            yield key, f"'{gate}': a probability has no quantiles to cover outcomes; did you mean 'calibration error'?"
        elif needs_quantiles and not read.quantiles:
            yield key, f"'{gate}' is asked of quantiles, and `quantiles: []` gives none"


def _learner_mistakes(read: ModelFile) -> list[tuple[KeyPath, str]]:
    allowed = TASK_LEARNERS[read.task]
    others = {name for task, names in TASK_LEARNERS.items() if task != read.task for name in names} - set(allowed)
    return [
        (
            ("search", "learners", index),
            f"{name!r} is no learner of a {read.task}{did_you_mean(name, allowed) or ' (' + ', '.join(allowed) + ')'}",
        )
        for index, name in enumerate(read.search.learners)
        if name in others
    ]


def _of_classification(read: ModelFile) -> Iterator[tuple[KeyPath, str]]:
    metric, other = read.objective.metric, read.objective.constraint
    if other is not None:
        named = [metric_name(name) for name in (metric, other.metric)]
        still = [one.name for one in named if one.task == read.task and not one.of_decisions]
        if still:
            yield (
                ("objective",),
                f"{still[0]} is the same at every threshold, so that none can be chosen for '{read.objective}'; write "
                f"{metric!r} here, and '{other}' as a gate",
            )
    if read.quantiles:
        yield (
            ("quantiles",),
            "a classification answers a probability, which has no quantiles; they are for a regression",
        )


def _of_regression(read: ModelFile) -> Iterator[tuple[KeyPath, str]]:
    if read.objective.constraint is not None and metric_name(read.objective.constraint.metric).task == read.task:
        other = read.objective.constraint
        yield (
            ("objective",),
            f"a regression has no threshold that could be moved until {other} holds; "
            f"write {read.objective.metric!r} here, and '{other}' as a gate",
        )
    if read.data.positive is not None:
        yield ("data", "positive"), "a regression has no positive class; its target is a number. Leave it out"
    if "decision" in read.data.model_fields_set:
        yield ("data", "decision"), "a regression answers a number and decides nothing. Leave it out"
    if read.data.weight is not None and read.data.weight.negative is not None:
        yield ("data", "weight"), "a regression has no negative rows; give each row its weight in a column"
    if read.outcome.absent == "negative":
        yield ("outcome", "absent"), "silence says no number; where none came the truth is unknown: absent: unknown"
    if read.outcome.acts is not None:
        yield ("outcome", "acts"), "a regression flags no rows that could be blocked for it. Leave it out"
    if "calibration" in read.search.model_fields_set and read.search.calibration != "none":
        yield ("search", "calibration"), "a regression answers no probability that could be calibrated. Leave it out"
    for index, rule in enumerate(read.rollout.stop_if):
        if rule.kind == "decision_share":
            yield ("rollout", "stop if", index), "a regression decides nothing; its scores are asked: score shifts > 5%"
