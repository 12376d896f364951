"""A model judged: scores on held-out rows, the threshold chosen on validation, the metrics taken on test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from everloop.bundle import Bundle, Graph
from everloop.data import TARGET, WEIGHT, FeatureTree, Split
from everloop.errors import ContractViolation, NotEnoughData
from everloop.project import Objective
from everloop.tasks import Evaluation, Task

__all__ = ["JudgedModel", "estimates", "judge_bundle", "judge_graph"]

REPORTED = ("recall", "precision", "accuracy", "f1", "average_precision", "roc_auc", "log_loss", "brier")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedModel:
    """What a model does on rows it was not fitted on.

    threshold: chosen on validation rows for the objective, never on test rows. test: the evaluation on test rows.
    """

    threshold: float
    test: Evaluation


def judge_graph(graph: Graph, features: FeatureTree, split: Split, objective: Objective, task: Task) -> JudgedModel:
    """A graph with no threshold yet: chosen on validation rows, judged on test rows."""
    chosen_on = split.validation
    scores = graph.scores(features.matrix(chosen_on))
    threshold = task.choose_threshold(objective, _y(chosen_on), scores, _weight(chosen_on))
    return _judged(graph.scores(features.matrix(split.test)), split.test, threshold, objective, task)


def judge_bundle(bundle: Bundle, test: pl.DataFrame, objective: Objective, task: Task) -> JudgedModel:
    """A version as it is served: its own features, graph and threshold, on these test rows.

    Raises ContractViolation where the rows no longer have a column that it reads.
    """
    missing = [name for name in bundle.features.columns if name not in test.columns]
    if missing:
        raise ContractViolation(
            f"the champion reads {', '.join(missing)}, which the contract no longer keeps, so there is no comparing; "
            "give the column `role: input` in contract.yaml for as long as the champion answers"
        )
    return _judged(bundle.score_frame(test).score, test, bundle.threshold, objective, task)


def _judged(scores: np.ndarray, test: pl.DataFrame, threshold: float, objective: Objective, task: Task) -> JudgedModel:
    evaluation = task.evaluate(_y(test), scores, weight=_weight(test), threshold=threshold, costs=objective.costs)
    assert isinstance(evaluation, Evaluation)
    return JudgedModel(threshold=threshold, test=evaluation)


def estimates(evaluation: Evaluation, *, seed: int) -> Mapping[str, Mapping[str, float]]:
    """metric → {point, low, high, level, rows, positives}; a metric these rows cannot give is left out.

    cost is among them where the objective has prices.
    """
    found: dict[str, Mapping[str, float]] = {}
    for metric in REPORTED if evaluation.costs is None else (*REPORTED, "cost"):
        try:
            interval = evaluation.interval(metric, seed=seed)
        except NotEnoughData:
            continue
        found[metric] = {**interval.to_dict(), "rows": evaluation.rows, "positives": evaluation.positives}
    return found


def _y(frame: pl.DataFrame) -> np.ndarray:
    return frame[TARGET].to_numpy()


def _weight(frame: pl.DataFrame) -> np.ndarray:
    return frame[WEIGHT].to_numpy()
