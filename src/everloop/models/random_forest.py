"""Random forest of scikit-learn, kept small: a trial on 200,000 rows is a matter of seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.class_weight import scale_pos_weight
from everloop.models.learner import Training, weighted_up
from everloop.models.sklearn_graph import FittedPipeline
from everloop.models.space import Float, Hyperparameter, Int, Value

__all__ = ["RandomForest"]

_HYPERPARAMETERS: Final = (
    Hyperparameter(
        name="n_estimators",
        search=Int(50, 120),
        default=100,
        minimum=1,
        maximum=2000,
        aliases=("n_trees", "num_trees", "ntree"),
    ),
    Hyperparameter(name="max_depth", search=Int(3, 10), default=8, minimum=1, maximum=20),
    Hyperparameter(
        name="min_child_samples",
        search=Int(1, 50, log=True),
        default=5,
        minimum=1,
        maximum=1e9,
        aliases=("min_samples_leaf", "nodesize"),
    ),
    Hyperparameter(name="max_features", search=Float(0.05, 0.2), default=0.15, minimum=1e-3, maximum=1.0),
    Hyperparameter(name="tree_rows", search=Int(5_000, 20_000, log=True), default=15_000, minimum=1, maximum=1e9),
    # 10 where nothing is said: a tree draws few rows, and at 0.2 % it would see a handful of positives
    scale_pos_weight(default=10.0),
)
# a tree looks at every row of its array, drawn or not: with 200,000 of them most of its time goes there
_POOL_ROWS: Final = 40_000


@dataclass(frozen=True, slots=True)
class RandomForest:
    """Trees on `tree_rows` rows drawn by weight, columns drawn at every split; the mean of their leaves' shares.

    Missing values are filled before it: a forest fitted on them converts to a graph that is wrong.
    """

    name: str = "random_forest"
    yardstick: bool = False
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: {"criterion": ("gini",)})
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> FittedPipeline:
        """Every tree has its own seed, drawn from the seed: threads do not matter."""
        from sklearn.ensemble import RandomForestClassifier

        params: Mapping[str, Any] = training.params
        kept, weight = _pool(training.y, weighted_up(training), training.seed)
        forest = RandomForestClassifier(
            n_estimators=params["n_estimators"],
            max_depth=params["max_depth"],
            min_samples_leaf=params["min_child_samples"],
            max_features=params["max_features"],
            max_samples=min(params["tree_rows"], len(kept)),
            random_state=training.seed,
            n_jobs=training.threads,
        )
        forest.fit(training.X[kept], training.y[kept], sample_weight=weight)
        forest.n_jobs = 1  # its scores are a sum over trees: in their order, whatever the threads
        return FittedPipeline(forest)


def _pool(y: np.ndarray, weight: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that trees draw from, in order, and their weights: at most `_POOL_ROWS`, rare positives all among them.

    Where a class loses rows, those that stay stand for them: the weight of each class remains what it was.
    """
    if len(y) <= _POOL_ROWS:
        return np.arange(len(y)), weight
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(y == label) for label in (0, 1)]
    positives = min(len(rows[1]), max(_POOL_ROWS // 2, _POOL_ROWS - len(rows[0])))
    most = (_POOL_ROWS - positives, positives)
    parts = [np.sort(rng.choice(part, min(len(part), most[i]), replace=False)) for i, part in enumerate(rows)]
    weights = [weight[part] * (weight[rows[i]].sum() / weight[part].sum()) for i, part in enumerate(parts)]
    kept = np.concatenate(parts)
    order = np.argsort(kept)
    return kept[order], np.concatenate(weights)[order]
