"""Which trial is handed over, and whether it may become a spec."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from everloop.clock import SystemClock
from everloop.experiment import SearchRows, Trial, load_search_rows
from everloop.experiment.choice import RIVALS, Choice, choose
from everloop.experiment.judging import judged
from everloop.experiment.trials import FoldScore, combined
from everloop.experiment.verdicts import judge_winner
from everloop.models import FitRequest, fit_here
from everloop.project import FoldsPlan, Objective, SearchChoice
from tests.experiment.made import payments, project


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> SearchRows:
    _, model = project(tmp_path_factory.mktemp("rows") / "p", payments(2_000))
    return load_search_rows(model, as_of=SystemClock().now(), folds=FoldsPlan(count=2))


class Made:
    """Trials that score the judged rows about as well as each other."""

    def __init__(self, rows: SearchRows, objective: str) -> None:
        self.rows, self.objective = rows, Objective.parse(objective)
        self.said: dict[int, np.ndarray] = {}

    def trials(self, *sizes: int) -> list[Trial]:
        """Trials whose graphs are as large as that, the best first."""
        made = sorted((self.trial(number) for number in range(1, len(sizes) + 1)), key=lambda one: -(one.value or 0.0))
        return [replace(trial, graph_bytes=size) for trial, size in zip(made, sizes, strict=True)]

    def trial(self, number: int) -> Trial:
        folds, said = [], []
        for fold in self.rows.folds.folds:
            part = self.rows.part(fold.judged)
            logit = 3.0 * part.y + np.random.default_rng(0).standard_normal(part.y.size)
            logit += 0.2 * np.random.default_rng(number).standard_normal(part.y.size)
            score = (1 / (1 + np.exp(-logit))).astype(np.float32)
            found = judged(self.objective, part.y, score, part.weight, seed=0)
            folds.append(
                FoldScore(
                    value=found.value,
                    interval=found.interval.to_dict(),
                    worth=1.0,
                    threshold=found.threshold,
                    metrics=found.metrics,
                    fit_s=0.0,
                    rows=1,
                )
            )
            said.append(score)
        self.said[number] = np.concatenate(said)[:, None]
        value, interval = combined(folds)
        return Trial(
            number=number,
            kind="trial",
            learner="lightgbm",
            threshold=folds[-1].threshold,
            hyperparameters={},
            status="done",
            value=value,
            interval=interval.to_dict(),
            folds=tuple(folds),
        )

    def choice(self, trials: list[Trial], yardsticks: list[Trial], *, wanted: SearchChoice = "cheapest") -> Choice:
        return choose(
            trials,
            self.rows,
            yardsticks=yardsticks,
            predictions=lambda trial: self.said[trial.number],
            objective=self.objective,
            wanted=wanted,
            task="classification",
        )


def yardstick(value: float | None, *, sentence: str = "") -> Trial:
    status = "failed" if value is None else "done"
    fields = {"number": 1, "kind": "yardstick", "learner": "logistic", "hyperparameters": {}, "status": status}
    return Trial(**fields, value=value, sentence=sentence)  # type: ignore[arg-type]


def test_the_best_of_the_small_that_are_tied_is_chosen(rows: SearchRows) -> None:
    made = Made(rows, "roc_auc")
    trials = made.trials(2_100, 1_900, 1_000)
    choice = made.choice(trials, [])
    assert all(gap.low <= 0 for gap in choice.behind.values())
    assert choice.best == trials[0]
    assert choice.winner == trials[1]  # 900 bytes are no difference that anyone pays for


def test_a_small_one_that_a_yardstick_equals_does_not_stand_in_the_way_of_the_best(rows: SearchRows) -> None:
    made = Made(rows, "roc_auc")
    best, small = made.trials(9_000, 1_000)
    assert best.value is not None
    assert small.value is not None
    assert made.choice([best, small], [yardstick(small.value - 0.01)]).winner == small
    assert made.choice([best, small], [yardstick((best.value + small.value) / 2)]).winner == best
    assert made.choice([best, small], [yardstick(0.9999)]).winner == best


def test_a_blend_is_chosen_where_it_is_tied_and_beats_the_yardsticks(rows: SearchRows) -> None:
    made = Made(rows, "roc_auc")
    best, small = made.trials(9_000, 1_000)
    blend = replace(small, learner="blend")
    assert best.value is not None
    assert small.value is not None
    assert made.choice([best, blend], [], wanted="blend").winner == blend
    assert made.choice([best, blend], [], wanted="best").winner == best
    assert made.choice([best, small], [], wanted="blend").winner == best
    assert made.choice([best, blend], [yardstick((best.value + small.value) / 2)], wanted="blend").winner == best


@pytest.mark.parametrize(("objective", "compared"), [("roc_auc", RIVALS), ("recall at precision >= 0.5", RIVALS + 5)])
def test_ranks_are_compared_with_the_nearest_only(rows: SearchRows, objective: str, compared: int) -> None:
    made = Made(rows, objective)
    trials = [made.trial(number) for number in range(1, RIVALS + 6)]
    best = max(trials, key=lambda trial: trial.value or 0.0)
    assert all(trial.meets(best) for trial in trials)
    assert len(made.choice(trials, []).behind) == compared


def test_a_yardstick_that_failed_leaves_the_question_open(rows: SearchRows) -> None:
    made = Made(rows, "roc_auc")
    best = made.trial(1)

    def graph(_: Trial) -> bytes:
        fitted = rows.part(rows.folds.folds[0].fitted)
        return fit_here(FitRequest(learner="constant", params={}, X=fitted.X, y=fitted.y, seed=0)).graph

    lost = yardstick(None, sentence="its worker was lost")
    _, verdict = judge_winner(best, [lost], rows, graph=graph, objective=made.objective, seed=0)
    assert verdict.is_undecided
    assert "the logistic yardstick has failed, so nobody knows whether lightgbm beats it" in verdict.sentence
    assert verdict.sentence.endswith("its worker was lost")
