"""Whether the best trial may become a spec: it must beat what is simpler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from everloop.bundle import Graph
from everloop.experiment.choice import unbeaten
from everloop.experiment.judging import better_by, evaluated, judgement, reported
from everloop.experiment.leaderboard import Judged
from everloop.experiment.rows import SearchRows
from everloop.experiment.trials import Trial
from everloop.project import Objective
from everloop.stats import Interval, Verdict
from everloop.tasks import Evaluated

__all__ = ["judge_winner"]

GraphOf = Callable[[Trial], bytes]


def judge_winner(
    best: Trial | None,
    yardsticks: Sequence[Trial],
    rows: SearchRows,
    *,
    graph: GraphOf,
    objective: Objective,
    seed: int,
    task: str = "classification",
    levels: tuple[float, ...] = (),
) -> tuple[Judged | None, Verdict]:
    """The best trial on the test rows, at the threshold it has, and whether it may become a spec.

    It must be better than every yardstick of another learner on the rows that ranked it, and not shown to be worse on
    the test rows. Where such a yardstick failed, nobody knows.
    """
    if best is None:
        return None, Verdict.failed("every trial failed; the leaderboard says why, trial by trial")
    fitted = [yardstick for yardstick in yardsticks if yardstick.value is not None]

    def on_test(trial: Trial) -> Evaluated:
        scores, quantiles = Graph(graph(trial)).predictions(rows.test.X)
        return evaluated(
            objective,
            rows.test.y,
            scores,
            rows.test.weight,
            threshold=trial.threshold,
            task=task,
            quantiles=quantiles,
            levels=levels,
        )

    evaluations, winner = {trial.learner: on_test(trial) for trial in fitted}, on_test(best)
    against = {
        trial.learner: better_by(objective, winner, evaluations[trial.learner], seed=seed, task=task)
        for trial in fitted
        if trial.learner != best.learner
    }
    found = _judged(best, winner, evaluations, against, objective, seed=seed, task=task)
    return found, _verdict(found, yardsticks, objective)


def _judged(
    best: Trial,
    winner: Evaluated,
    yardsticks: dict[str, Evaluated],
    against: dict[str, Interval],
    objective: Objective,
    *,
    seed: int,
    task: str,
) -> Judged:
    names = reported(objective, task=task)
    return Judged(
        trial=best,
        objective=judgement(objective, winner, seed=seed, task=task).interval,
        metrics={name: winner.interval(name, seed=seed) for name in names},
        against=against,
        yardsticks={
            learner: {name: evaluation.value(name) for name in names} for learner, evaluation in yardsticks.items()
        },
    )


def _verdict(found: Judged, yardsticks: Sequence[Trial], objective: Objective) -> Verdict:
    best, yardstick = found.trial, unbeaten(found.trial, yardsticks, objective)
    if yardstick is not None and yardstick.value is None:
        return Verdict.undecided(
            f"the {yardstick.learner} yardstick has failed, so nobody knows whether {best.learner} beats it: "
            f"{yardstick.sentence}",
            trial=best.number,
            value=best.value,
            yardstick=yardstick.learner,
        )
    if yardstick is not None:
        return Verdict.failed(
            f"no trial beats the {yardstick.learner} yardstick: {objective} is {best.value:.3f} for the best trial "
            f"({best.learner}) and {yardstick.value:.3f} for it; other features or more rows may change that",
            trial=best.number,
            value=best.value,
            yardstick=yardstick.learner,
            yardstick_value=yardstick.value,
        )
    for name, gap in found.against.items():
        if gap.high < 0:
            return Verdict.failed(
                f"the best trial ({best.learner}) is worse than the {name} yardstick on the test rows, by {gap} in "
                f"{objective}: what it learned does not last",
                trial=best.number,
                yardstick=name,
            )
    beaten = " and ".join(trial.learner for trial in yardsticks if trial.learner != best.learner)
    return Verdict.passed(
        f"{best.learner} beats {beaten}; on test rows {_said(found, objective)}", trial=best.number, value=best.value
    )


def _said(found: Judged, objective: Objective) -> str:
    """`recall is 0.71 [0.66, 0.76] at precision 0.83 [0.75, 0.90]`, and whether the constraint held there."""
    text = f"{objective.metric} is {found.metrics[objective.metric]}"
    constraint = objective.constraint
    if constraint is None:
        return text
    value = found.metrics[constraint.metric]
    text += f" at {constraint.metric} {value}"
    return text if constraint.holds(value.point) else f"{text}, which is not {constraint.op} {constraint.bound:.12g}"
