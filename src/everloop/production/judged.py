"""A model judged: scores on held-out rows, the threshold chosen on validation, the metrics taken on test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from everloop.bundle import Bundle, Graph
from everloop.cores import usable_cores
from everloop.data import TARGET, WEIGHT, FeatureTree, Split
from everloop.errors import ContractViolation, NotEnoughData
from everloop.project import Objective, quantile_level
from everloop.tasks import Evaluated, Evaluation, NumericEvaluation, Task

__all__ = ["Estimates", "HeldOut", "JudgedBeside", "JudgedModel", "estimates", "judge_bundle", "judge_graph"]

REPORTED: Mapping[str, tuple[str, ...]] = {
    "classification": ("recall", "precision", "accuracy", "f1", "average_precision", "roc_auc", "log_loss", "brier"),
    "regression": ("mae", "mape", "rmse", "r2", "pinball"),
}
COVERAGE = "coverage"

Estimates = Mapping[str, Mapping[str, float]]
"""metric → {point, low, high, level, rows, positives}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedModel:
    """What a model does on rows it was not fitted on.

    threshold: chosen on validation rows for the objective, never on test rows; None where the task decides nothing.
    test: the evaluation on test rows. quantiles: shape (n, q), what the model gives there under these names; None for
    none. validation: its scores on validation rows, shape (v,), where a threshold was chosen on them.
    """

    threshold: float | None
    test: Evaluated
    validation: np.ndarray | None = None
    quantiles: np.ndarray | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Rows that nothing was fitted on, and their features, made once for all graphs of one tree: `features`.

    chosen_on: of the v validation rows, judged_on: of the t test rows; float32, shape (v, k) and (t, k).
    """

    validation: pl.DataFrame
    test: pl.DataFrame
    features: FeatureTree
    chosen_on: np.ndarray
    judged_on: np.ndarray

    @classmethod
    def made(cls, split: Split, features: FeatureTree) -> HeldOut:
        """Of the two newer spans of a split."""
        validation, test = split.validation, split.test
        return cls(
            validation=validation,
            test=test,
            features=features,
            chosen_on=features.matrix(validation),
            judged_on=features.matrix(test),
        )


class JudgedBeside:
    """Models that are judged on the same rows beside what else is done, by all cores but one."""

    def __init__(
        self,
        rows: HeldOut,
        graphs: Mapping[str, bytes],
        judge: Callable[[HeldOut, bytes], tuple[JudgedModel, Estimates]],
    ) -> None:
        """graphs: name → what is judged. judge: gives of a graph the model and its metrics on the test rows."""
        self.rows = rows
        self._pool = ThreadPoolExecutor(max(1, usable_cores() - 1))
        self._begun = {name: self._pool.submit(judge, rows, graph) for name, graph in graphs.items()}

    def results(self) -> dict[str, tuple[JudgedModel, Estimates]]:
        """Each by its name, once all are judged. Raises what that came upon."""
        return {name: one.result() for name, one in self._begun.items()}

    def close(self) -> None:
        """End with what is being judged now."""
        self._pool.shutdown(cancel_futures=True)


def judge_graph(
    graph: Graph, rows: HeldOut, objective: Objective, task: Task, *, quantiles: tuple[str, ...] = ()
) -> JudgedModel:
    """A graph with no threshold yet: chosen on validation rows, judged on test rows.

    quantiles: the names of those that it gives.
    """
    threshold, scores = None, None
    if task.decides:
        scores = graph.scores(rows.chosen_on)
        threshold = task.choose_threshold(objective, _y(rows.validation), scores, _weight(rows.validation))
    found = graph.predictions(rows.judged_on)
    return replace(_judged(*found, rows.test, threshold, objective, task, names=quantiles), validation=scores)


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
    said = bundle.score_frame(test)
    return _judged(said.score, said.quantiles, test, bundle.threshold, objective, task, names=bundle.quantiles)


def _judged(
    scores: np.ndarray,
    quantiles: np.ndarray | None,
    test: pl.DataFrame,
    threshold: float | None,
    objective: Objective,
    task: Task,
    *,
    names: tuple[str, ...],
) -> JudgedModel:
    evaluation = task.evaluate(
        _y(test),
        scores,
        weight=_weight(test),
        threshold=threshold,
        costs=objective.costs,
        quantiles=quantiles,
        levels=tuple(quantile_level(name) for name in names),
    )
    return JudgedModel(threshold=threshold, test=evaluation, quantiles=quantiles, names=names)


def estimates(evaluation: Evaluated, *, seed: int) -> Estimates:
    """metric → {point, low, high, level, rows, positives}; a metric these rows cannot give is left out.

    cost is among them where the objective has prices. Of a regression with quantiles the share of outcomes between the
    outer ones is, as `coverage`.
    """
    found: dict[str, Mapping[str, float]] = {}
    counts = {"rows": evaluation.rows, "positives": evaluation.positives}
    for metric in _reported(evaluation):
        try:
            interval = evaluation.interval(metric, seed=seed)
        except NotEnoughData:
            continue
        found[metric] = {**interval.to_dict(), **counts}
    if isinstance(evaluation, NumericEvaluation) and (covered := evaluation.coverage()) is not None:
        found[COVERAGE] = {**covered.to_dict(), **counts}
    return found


def _reported(evaluation: Evaluated) -> tuple[str, ...]:
    if isinstance(evaluation, NumericEvaluation):
        return REPORTED["regression"]
    priced = isinstance(evaluation, Evaluation) and evaluation.costs is not None
    return (*REPORTED["classification"], "cost") if priced else REPORTED["classification"]


def _y(frame: pl.DataFrame) -> np.ndarray:
    return frame[TARGET].to_numpy()


def _weight(frame: pl.DataFrame) -> np.ndarray:
    return frame[WEIGHT].to_numpy()
