"""The trees that XGBoost's estimators are given are those of their own `fit`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.models.boosting import relative_weight
from everloop.models.learner import Training, Validation
from everloop.models.log_loss import log_loss
from everloop.models.regression.loss import mean_loss
from everloop.models.xgboost_fit import fit_trees
from tests.models.rows import rows

xgboost = pytest.importorskip("xgboost")

OF_CLASSES = {"objective": "binary:logistic", "base_score": 0.1}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "classes": OF_CLASSES,
    "some columns and rows": OF_CLASSES | {"subsample": 0.7, "colsample_bytree": 0.5},
    "few bins": OF_CLASSES | {"max_bin": 63, "scale_pos_weight": 5.0},
    "squared": {"objective": "reg:squarederror", "base_score": 0.0},
    "absolute": {"objective": "reg:absoluteerror", "base_score": 0.0},
    "quantile": {"objective": "reg:quantileerror", "quantile_alpha": 0.9, "base_score": 0.0},
}


def training(*, holes: bool, weighted: bool, numbers: bool = False, count: int = 6000) -> Training:
    X, y = rows(count)
    random = np.random.default_rng(3)
    X = np.nan_to_num(X, nan=0.0, posinf=0.0, neginf=0.0)
    target = X[:, 0] * 3 + random.standard_normal(count) if numbers else y
    if holes:
        X = np.where(random.random(X.shape) < 0.1, np.float32(np.nan), X)
    weight = random.uniform(0.2, 5.0, count) if weighted else np.ones(count)
    return Training(X=X, y=target, weight=weight, params={"early_stopping_rounds": 0}, seed=7, threads=2)


def estimator(objective: str, **said: Any) -> Any:
    params = OBJECTIVES[objective]
    kind = xgboost.XGBClassifier if params["objective"].startswith("binary") else xgboost.XGBRegressor
    return kind(**params, n_estimators=20, tree_method="hist", random_state=7, n_jobs=2, verbosity=0, **said)


def trees(estimator: Any) -> list[str]:
    found: list[str] = estimator.get_booster().get_dump(with_stats=True, dump_format="json")
    return found


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_they_are_those_of_its_own_fit(objective: str, holes: bool, weighted: bool) -> None:
    numbers = OBJECTIVES[objective]["objective"].startswith("reg")
    given = training(holes=holes, weighted=weighted, numbers=numbers)
    ours, theirs = estimator(objective), estimator(objective)
    assert fit_trees(ours, given) is None
    theirs.fit(given.X, given.y, sample_weight=relative_weight(given))
    assert trees(ours) == trees(theirs)
    assert len(trees(ours)) == 20
    score = "predict_proba" if objective in ("classes", "few bins") else "predict"
    assert getattr(ours, score)(given.X).tobytes() == getattr(theirs, score)(given.X).tobytes()


@pytest.mark.parametrize("numbers", [False, True], ids=["classes", "numbers"])
def test_they_end_where_its_own_fit_would(numbers: bool) -> None:
    given = training(holes=True, weighted=True, numbers=numbers)
    held = training(holes=False, weighted=True, numbers=numbers, count=900)
    objective = "squared" if numbers else "classes"

    def loss(y: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
        return mean_loss(y, score, weight, loss="squared") if numbers else log_loss(y, score, weight)

    def theirs_loss(y: np.ndarray, score: np.ndarray, sample_weight: np.ndarray) -> float:
        return loss(y, score, sample_weight)

    ours = estimator(objective, learning_rate=1.0).set_params(n_estimators=200)
    judged = replace(given, params={"early_stopping_rounds": 3}, validation=Validation(X=held.X, y=held.y))
    rounds = fit_trees(ours, judged, loss=lambda scores: loss(held.y, scores, held.weight))
    stop = xgboost.callback.EarlyStopping(rounds=3, metric_name="theirs_loss", maximize=False, save_best=True)
    theirs = estimator(
        objective, learning_rate=1.0, eval_metric=theirs_loss, disable_default_eval_metric=True, callbacks=[stop]
    ).set_params(n_estimators=200)
    theirs.fit(
        given.X,
        given.y,
        sample_weight=relative_weight(given),
        eval_set=[(held.X, held.y)],
        sample_weight_eval_set=[held.weight],
        verbose=False,
    )
    assert trees(ours) == trees(theirs)
    assert rounds == len(trees(ours))
    assert 1 <= len(trees(ours)) < 200


def test_rows_that_are_mapped_from_a_file_are_there_again_when_they_are_asked_for(tmp_path: Path) -> None:
    given = training(holes=True, weighted=False)
    np.save(tmp_path / "X.npy", given.X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    ours, theirs = estimator("classes"), estimator("classes")
    fit_trees(ours, replace(given, X=mapped))
    fit_trees(theirs, given)
    assert trees(ours) == trees(theirs)
    assert mapped.tobytes() == given.X.tobytes()
