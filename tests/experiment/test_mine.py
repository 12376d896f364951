"""Someone's own estimator beside a search: judged on what it cannot have seen, and beaten only where that is sure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.clock import SystemClock, from_us
from everloop.errors import NotEnoughData, Refused
from everloop.experiment import Mine, SearchRows, hold_against, judge_mine, load_search_rows, take_mine
from everloop.experiment.judging import better_by, evaluated
from everloop.experiment.trials import Trial
from everloop.project import FoldsPlan, Model, Objective
from tests.experiment.made import START, payments, project

sklearn = pytest.importorskip("sklearn", reason="the extra [train] is not installed")

from sklearn.linear_model import LogisticRegression  # noqa: E402

NOW = SystemClock().now()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    frame = payments(3_000, positives=0.2, linear=True)
    return project(tmp_path_factory.mktemp("mine") / "p", frame, objective="average_precision")[1]


@pytest.fixture(scope="module")
def rows(model: Model) -> SearchRows:
    return load_search_rows(model, as_of=NOW, folds=FoldsPlan.parse("2 by time"))


def fitted(rows: SearchRows, columns: int | None = None) -> Any:
    part = rows.part(rows.folds.newest.fitted)
    X = part.X if columns is None else np.where(np.arange(part.X.shape[1]) < columns, part.X, 0)
    return LogisticRegression(max_iter=500).fit(X, part.y.astype(int))


def taken(rows: SearchRows, model: Model, *, until: datetime | None = None, columns: int | None = None) -> Mine:
    return take_mine(fitted(rows, columns), rows, model, name="mine", fitted_until=until, seed=0)


def test_it_is_judged_on_the_newest_folds_rows_which_are_newer_than_all_it_saw(rows: SearchRows, model: Model) -> None:
    mine, newest = taken(rows, model), rows.folds.newest
    assert mine.until == from_us(int(rows.times_us[newest.fitted].max()))
    assert not mine.said
    assert mine.rows == newest.judged.size
    assert (mine.trial.kind, mine.trial.name, mine.trial.status) == ("own", "m1", "done")
    part = rows.part(newest.judged)
    scores = fitted(rows).predict_proba(part.X)[:, 1]
    wanted = evaluated(model.objective, part.y, scores, part.weight, threshold=0.5).value("average_precision")
    assert mine.trial.value == pytest.approx(wanted, abs=1e-3)
    assert "where a search's own fits end: older ones it may have seen" in mine.sentence
    assert "<script" not in mine._repr_html_()


def test_what_it_may_have_seen_never_judges_it(rows: SearchRows, model: Model) -> None:
    judged = rows.times_us[rows.folds.newest.judged]
    until = from_us(int(np.quantile(judged, 0.5)))
    mine = taken(rows, model, until=until)
    assert mine.said
    assert mine.rows == int((judged > int(until.timestamp() * 1e6)).sum()) < judged.size
    with pytest.raises(NotEnoughData, match=r"seen all up to 2030-01-01 .* hold no rows: fit it on older rows"):
        taken(rows, model, until=datetime(2030, 1, 1, tzinfo=UTC))
    again = judge_mine(replace(mine, until=START), rows, model, seed=0)
    assert again.rows == judged.size


def test_where_no_time_says_what_it_has_seen_someone_must(model: Model) -> None:
    dealt = load_search_rows(model, as_of=NOW, folds=FoldsPlan.parse("3 stratified"))
    with pytest.raises(Refused, match=r"dealt at random, so no time says which rows .* say it: fitted_until="):
        taken(dealt, model)
    assert taken(dealt, model, until=START + timedelta(days=10)).rows > 0


def test_quantiles_are_not_asked_of_it(rows: SearchRows, model: Model) -> None:
    asked = model.model_copy(update={"objective": Objective.parse("pinball")})
    with pytest.raises(Refused, match="asks for quantiles, which an estimator of your own has not"):
        taken(rows, asked)


def _as_winner(mine: Mine) -> Trial:
    fields = {"number": 3, "kind": "trial", "learner": "logistic", "hyperparameters": {}, "status": "done"}
    return Trial(**fields, threshold=mine.trial.threshold)


def test_the_better_one_surely_wins_and_the_same_one_never_does(rows: SearchRows, model: Model) -> None:
    good, poor = taken(rows, model), taken(rows, model, columns=1)
    won = hold_against(_as_winner(good), good.brought.graph, poor, rows, model, seed=0)
    assert won.verdict.outcome == "passed"
    assert won.gap.low > 0
    assert won.rows == rows.folds.test.size
    lost = hold_against(_as_winner(poor), poor.brought.graph, good, rows, model, seed=0)
    assert lost.verdict.outcome == "failed"
    assert "is worse than mine" in lost.verdict.sentence
    same = hold_against(_as_winner(good), good.brought.graph, good, rows, model, seed=0)
    assert same.verdict.outcome == "undecided"
    assert "does not surely beat mine" in same.verdict.sentence


def test_the_best_of_many_equals_surely_beats_another_no_more_often_than_said() -> None:
    """Twenty trials and mine are equally good: chosen on validation rows, the best of them meets mine on test rows."""
    rng, objective, called = np.random.default_rng(0), Objective.parse("average_precision"), 0

    def scores(y: np.ndarray) -> np.ndarray:
        return (y + 1.5 * rng.standard_normal(y.size)).astype(np.float32)

    def held(y: np.ndarray, score: np.ndarray) -> Any:
        return evaluated(objective, y, score, np.ones(y.size), threshold=None)

    for seed in range(60):
        validation, test = ((rng.random(400) < 0.2).astype(int) for _ in range(2))
        trials = [held(validation, scores(validation)).value("average_precision") for _ in range(20)]
        assert max(trials) > np.mean(trials)  # the best looks better than it is, there
        called += better_by(objective, held(test, scores(test)), held(test, scores(test)), seed=seed).low > 0
    assert called / 60 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 60)


def test_a_folder_is_left_alone(rows: SearchRows, model: Model, tmp_path: Path) -> None:
    before = sorted(model.folder.rglob("*"))
    taken(rows, model)
    assert sorted(model.folder.rglob("*")) == before
