"""LightGBM, deterministic, with thresholds that float32 holds exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.boosting import SHARED, relative_weight
from everloop.models.early_stopping import ValidationLoss, validation_log_loss
from everloop.models.learner import Training, Validation
from everloop.models.space import Float, Hyperparameter, Int, Value

__all__ = ["FittedLightGBM", "LightGBM", "boosted", "exact_in_float32", "float32_floor"]

_HYPERPARAMETERS: Final = (
    Hyperparameter(
        name="num_leaves",
        search=Int(7, 127, log=True),
        default=31,
        minimum=2,
        maximum=4096,
        aliases=("max_leaves", "max_leaf", "num_leaf", "max_leaf_nodes"),
    ),
    Hyperparameter(name="max_depth", search=Int(3, 10), default=8, minimum=1, maximum=50),
    Hyperparameter(
        name="min_child_samples",
        search=Int(5, 200, log=True),
        default=20,
        minimum=0,
        maximum=1e9,
        aliases=("min_data_in_leaf", "min_data", "min_data_per_leaf", "min_samples_leaf"),
    ),
    Hyperparameter(
        name="min_child_weight",
        search=Float(1e-3, 20.0, log=True),
        default=1e-3,
        maximum=1e12,
        aliases=("min_sum_hessian_in_leaf", "min_sum_hessian_per_leaf", "min_sum_hessian", "min_hessian"),
    ),
    Hyperparameter(
        name="min_split_gain",
        search=Float(0.0, 5.0),
        default=0.0,
        maximum=1e9,
        aliases=("min_gain_to_split", "gamma", "min_split_loss"),
    ),
    *SHARED,
)


def float32_floor(values: np.ndarray) -> np.ndarray:
    """The largest float32 ≤ each value, as float64: for a float32 x, `x <= value` and `x <= floor` are the same."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float64)


def exact_in_float32(model_text: str) -> str:
    """LightGBM's model file with thresholds rounded down to float32: the same decisions, and a graph can hold them."""
    lines = model_text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith("threshold="):
            thresholds = float32_floor(np.array(line.removeprefix("threshold=").split(), dtype=np.float64))
            lines[i] = "threshold=" + " ".join(f"{value:.17g}" for value in thresholds)
        elif line.startswith("tree_sizes="):
            lines[i] = ""  # the sizes in bytes are no longer right, and the reader does without them
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class FittedLightGBM:
    """A booster; rounds: how many it kept where it stopped early."""

    booster: Any
    columns: int
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        """By the booster itself."""
        return np.asarray(self.booster.predict(X, num_threads=1), dtype=np.float64)

    def onnx(self) -> Any:
        """By onnxmltools."""
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        return convert_lightgbm(
            self.booster, initial_types=[("x", FloatTensorType([None, self.columns]))], zipmap=False, target_opset=15
        )


@dataclass(frozen=True, slots=True)
class LightGBM:
    """Gradient-boosted trees grown leaf by leaf."""

    name: str = "lightgbm"
    yardstick: bool = False
    reads_missing: bool = True
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: (
            dict.fromkeys(("objective", "objective_type", "application", "app", "loss"), ("binary",))
            | dict.fromkeys(("boosting_type", "boosting", "boost"), ("gbdt",))
        )
    )
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> FittedLightGBM:
        """Stops early by our log-loss."""
        return boosted(training, {"objective": "binary"}, loss=validation_log_loss(training))


def boosted(
    training: Training,
    objective: Mapping[str, Any],
    *,
    loss: ValidationLoss | None = None,
) -> FittedLightGBM:
    """The trees of `objective`: histograms column by column, so that the sums are those of any number of threads.

    loss: of the validation rows' scores, to stop early by where the
    hyperparameters ask for it; None never stops.
    """
    import lightgbm

    params: dict[str, Any] = {name: value for name, value in training.params.items() if name != "loss"}
    most, patience = params.pop("n_estimators"), params.pop("early_stopping_rounds")
    native = params | {
        **objective,
        "bagging_freq": int(params["subsample"] < 1.0),
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": training.threads,
        "seed": training.seed,
        "verbosity": -1,
        "metric": "None",
    }
    rows = lightgbm.Dataset(
        training.X, label=training.y, weight=relative_weight(training), params=native, free_raw_data=True
    )
    stopping = _stopping(training.validation, rows, patience, loss) if patience and loss and training.validation else {}
    booster = lightgbm.train(native, rows, num_boost_round=most, **stopping)
    kept = booster.best_iteration if stopping else booster.current_iteration()
    exact = lightgbm.Booster(model_str=exact_in_float32(booster.model_to_string(num_iteration=kept)))
    return FittedLightGBM(exact, training.X.shape[1], kept if stopping else None)


def _stopping(validation: Validation, rows: Any, patience: int, loss: ValidationLoss) -> dict[str, Any]:
    """What `lightgbm.train` is given so that it stops by `loss` on the validation rows."""
    import lightgbm

    return {
        "valid_sets": [lightgbm.Dataset(validation.X, label=validation.y, reference=rows)],
        "feval": lambda scores, _: ("loss", loss(scores), False),
        "callbacks": [lightgbm.early_stopping(patience, first_metric_only=True, verbose=False)],
    }
