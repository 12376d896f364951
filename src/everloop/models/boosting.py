"""The hyperparameters that XGBoost and LightGBM share, under the names of scikit-learn, with everybody's aliases."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from everloop.models.class_weight import scale_pos_weight
from everloop.models.early_stopping import EARLY_STOPPING
from everloop.models.learner import Training
from everloop.models.space import Float, Hyperparameter, Int

__all__ = ["SHARED", "relative_weight"]

SHARED: Final = (
    Hyperparameter(
        name="learning_rate",
        search=Float(0.01, 0.3, log=True),
        default=0.1,
        minimum=1e-6,
        maximum=1.0,
        aliases=("eta", "shrinkage_rate"),
    ),
    Hyperparameter(
        name="n_estimators",
        search=Int(50, 250),
        default=100,
        minimum=1,
        maximum=20_000,
        aliases=(
            "num_round",
            "num_rounds",
            "num_boost_round",
            "nrounds",
            "num_iterations",
            "num_iteration",
            "num_trees",
            "num_tree",
            "n_iter",
            "max_iter",
        ),
    ),
    Hyperparameter(
        name="subsample",
        search=Float(0.6, 1.0),
        default=1.0,
        minimum=0.01,
        maximum=1.0,
        aliases=("bagging_fraction", "sub_row", "bagging"),
    ),
    Hyperparameter(
        name="colsample_bytree",
        search=Float(0.6, 1.0),
        default=1.0,
        minimum=0.01,
        maximum=1.0,
        aliases=("feature_fraction", "sub_feature"),
    ),
    Hyperparameter(
        name="reg_lambda",
        search=Float(1e-3, 10.0, log=True),
        default=1.0,
        maximum=1e9,
        aliases=("lambda", "lambda_l2", "l2_regularization"),
    ),
    Hyperparameter(
        name="reg_alpha",
        search=Float(1e-3, 10.0, log=True),
        default=0.0,
        maximum=1e9,
        aliases=("alpha", "lambda_l1", "l1_regularization"),
    ),
    Hyperparameter(name="max_bin", search=Int(63, 255), default=255, minimum=2, maximum=65_535, aliases=("max_bins",)),
    scale_pos_weight(),
    replace(EARLY_STOPPING, aliases=(*EARLY_STOPPING.aliases, "early_stopping")),
)


def relative_weight(training: Training) -> np.ndarray | None:
    """The rows' weights, of mean 1, shape (n,); None where all count alike.

    LightGBM's absolute error takes three times as long with weights, though they be the same.
    """
    weight = training.weight
    return None if weight.min() == weight.max() else weight / weight.mean()
