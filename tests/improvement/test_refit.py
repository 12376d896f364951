"""A refit learns what is known and, where it stops early, asks the newest of that; never the rows it is judged on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.bundle import Graph
from everloop.clock import SystemClock
from everloop.data import TARGET, FeatureTree, load_features, load_rows, read_contract
from everloop.errors import ConfigurationError
from everloop.improvement.refit import refitted
from everloop.improvement.variation import variants
from everloop.project import Spec
from tests.experiment.made import payments, project
from tests.experiment.test_search import TREES

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, FeatureTree]:
    _, model = project(tmp_path_factory.mktemp("refit") / "p", payments())
    contract = read_contract(model)
    tree = load_features(model.features_path, contract).tree()
    return load_rows(model, contract, as_of=CLOCK.now()).frame, tree


def fitted(known: tuple[pl.DataFrame, FeatureTree], own: Path | None = None, **rest: Any) -> np.ndarray:
    """The scores of all rows by the refit."""
    frame, tree = known
    spec = Spec.new(name="fraud-s1", objective="roc_auc", **({"learner": "lightgbm"} | rest))
    graph: Graph = refitted(frame, tree, spec, spec.hyperparameters, most=frame.height, clock=CLOCK, own=own)
    return graph.scores(tree.matrix(frame))


def other_truth(frame: pl.DataFrame, newest: float) -> pl.DataFrame:
    """The rows with the newest share of them holding the opposite to be true."""
    turned = pl.int_range(pl.len()) >= int(frame.height * (1 - newest))
    return frame.with_columns(pl.when(turned).then(1 - pl.col(TARGET)).otherwise(pl.col(TARGET)).alias(TARGET))


def test_the_newest_tenth_says_when_to_stop_and_is_not_learned(known: tuple[pl.DataFrame, FeatureTree]) -> None:
    frame, tree = known
    hasty = {"n_estimators": 60, "learning_rate": 0.3, "early_stopping_rounds": 3}
    patient = hasty | {"early_stopping_rounds": 60}
    stopped = fitted(known, hyperparameters=hasty)
    turned = (other_truth(frame, 0.1), tree)
    assert (fitted(turned, hyperparameters=hasty) != stopped).any()
    # told that all it learned is wrong, it stops at its first tree: the same that the truth gives
    assert len(np.unique(fitted(turned, hyperparameters=patient))) < len(np.unique(stopped))
    one = fitted((frame[: int(frame.height * 0.9)], tree), hyperparameters={"n_estimators": 1, "learning_rate": 0.3})
    assert (fitted(turned, hyperparameters=patient)[: len(one)] == one).all()


def test_where_nothing_stops_early_every_row_is_learned(known: tuple[pl.DataFrame, FeatureTree]) -> None:
    frame, tree = known
    plain = {"n_estimators": 20}
    turned = (other_truth(frame, 0.1), tree)
    assert (fitted(turned, hyperparameters=plain) != fitted(known, hyperparameters=plain)).any()


def test_a_projects_own_learner_is_refitted(known: tuple[pl.DataFrame, FeatureTree], tmp_path: Path) -> None:
    path = tmp_path / "learners.py"
    path.write_text(TREES)
    y = known[0][TARGET].to_numpy()
    scores = fitted(known, own=path, learner="extra_trees")
    assert scores[y == 1].mean() > scores[y == 0].mean() + 0.1
    spec = Spec.new(name="fraud-s1", objective="roc_auc", learner="extra_trees")
    assert variants(spec, own=path) == [{"n_estimators": 45}]
    with pytest.raises(ConfigurationError, match="no learner 'extra_trees'"):
        variants(spec)
