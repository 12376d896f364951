"""A fitted scikit-learn classifier or pipeline: its scores and its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FittedPipeline"]


@dataclass(frozen=True, slots=True)
class FittedPipeline:
    """A fitted scikit-learn estimator that has `predict_proba`. rounds: how many it kept, where it stopped early."""

    estimator: Any
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The probability of the positive class, float64, shape (n,)."""
        return np.asarray(self.estimator.predict_proba(X)[:, 1], dtype=np.float64)

    def onnx(self) -> Any:
        """The estimator as an `onnx.ModelProto`; probabilities, as a list of maps, are its last output.

        No option, such as `zipmap`, is said: where one is, the converter asks every tree for all of its attributes, and
        a forest draws its rows anew for it, which takes longer than to fit it. `graphs.core` takes the maps off.
        """
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType

        return convert_sklearn(
            self.estimator,
            initial_types=[("x", FloatTensorType([None, self.estimator.n_features_in_]))],
            target_opset={"": 17, "ai.onnx.ml": 1},
        )
