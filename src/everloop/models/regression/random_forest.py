"""Random forest of scikit-learn for numbers, kept small as the one for classes is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.learner import Training
from everloop.models.lightgbm import float32_floor
from everloop.models.regression.sklearn_graph import FittedRegressor
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
    Hyperparameter(name="max_depth", search=Int(5, 12), default=10, minimum=1, maximum=20),
    Hyperparameter(
        name="min_child_samples",
        search=Int(1, 50, log=True),
        default=5,
        minimum=1,
        maximum=1e9,
        aliases=("min_samples_leaf", "nodesize"),
    ),
    Hyperparameter(name="max_features", search=Float(0.2, 1.0), default=0.5, minimum=1e-3, maximum=1.0),
    Hyperparameter(name="tree_rows", search=Int(5_000, 20_000, log=True), default=15_000, minimum=1, maximum=1e9),
)
# a tree looks at every row of its array, drawn or not
_POOL_ROWS: Final = 40_000


@dataclass(frozen=True, slots=True)
class RandomForest:
    """Trees on `tree_rows` rows drawn by weight, columns drawn at every split; the mean of their leaves' means.

    By the squared error alone: the absolute one would sort the rows at every split anew.
    """

    name: str = "random_forest"
    yardstick: bool = False
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: {"criterion": ("squared_error",)})
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> FittedRegressor:
        """Every tree has its own seed, drawn from the seed: threads do not matter."""
        from sklearn.ensemble import RandomForestRegressor

        params: Mapping[str, Any] = training.params
        kept = np.arange(len(training.y))
        if len(kept) > _POOL_ROWS:
            kept = np.sort(np.random.default_rng(training.seed).choice(kept, _POOL_ROWS, replace=False))
        weight = training.weight[kept] / training.weight[kept].mean()
        forest = RandomForestRegressor(
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
        for tree in forest.estimators_:  # the same decisions on float32 rows, and a graph can hold them
            tree.tree_.threshold[:] = float32_floor(tree.tree_.threshold)
        return FittedRegressor(forest)
