"""A learner as a user writes it."""

from __future__ import annotations

from typing import Any

from everloop.models import (
    FittedPipeline,
    Hyperparameter,
    Int,
    Training,
    own_learner,
    scale_pos_weight,
    weighted_up,
)


@own_learner
class ExtraTrees:
    """Extremely randomised trees of scikit-learn."""

    name = "extra_trees"
    hyperparameters = (
        Hyperparameter(
            name="n_estimators", search=Int(20, 60), default=30, minimum=1, maximum=1000, aliases=("trees",)
        ),
        Hyperparameter(name="max_depth", search=Int(3, 10), default=6, minimum=1, maximum=20),
        scale_pos_weight(),
    )

    def fit(self, training: Training) -> Any:
        from sklearn.ensemble import ExtraTreesClassifier

        params = {name: training.params[name] for name in ("n_estimators", "max_depth")}
        model = ExtraTreesClassifier(**params, random_state=training.seed, n_jobs=training.threads)
        return FittedPipeline(model.fit(training.X, training.y, sample_weight=weighted_up(training)))
