"""A fitted scikit-learn regressor or pipeline: its scores and its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FittedRegressor"]


@dataclass(frozen=True, slots=True)
class FittedRegressor:
    """A fitted scikit-learn estimator that has `predict`. rounds: how many it kept, where it stopped early."""

    estimator: Any
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The number per row, float64, shape (n,)."""
        return np.asarray(self.estimator.predict(X), dtype=np.float64).reshape(len(X))

    def onnx(self) -> Any:
        """The estimator as an `onnx.ModelProto`; the number, shape (n, 1), is its last output."""
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType

        return convert_sklearn(
            self.estimator,
            initial_types=[("x", FloatTensorType([None, self.estimator.n_features_in_]))],
            target_opset={"": 17, "ai.onnx.ml": 1},
        )
