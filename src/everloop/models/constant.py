"""The yardstick that knows nothing: every row gets the share of positives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everloop.models.learner import Training
from everloop.models.space import Hyperparameter, Value

__all__ = ["Constant", "FittedConstant"]


@dataclass(frozen=True, slots=True)
class FittedConstant:
    """The same probability for every row, in [0, 1]."""

    share: float

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The probability per row, shape (n,)."""
        return np.full(len(X), np.float32(self.share), dtype=np.float64)

    def onnx(self) -> Any:
        """The probability pair (1 - share, share) per row."""
        from onnx import TensorProto, helper, numpy_helper

        pair = np.array([[1.0 - self.share, self.share]], dtype=np.float32)
        constants = [
            numpy_helper.from_array(pair, "pair"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "two"),
            numpy_helper.from_array(np.array(0, dtype=np.int64), "first"),
        ]
        nodes = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["rows"], axis=0),
            helper.make_node("Unsqueeze", ["rows", "axis"], ["rows_1"]),
            helper.make_node("Concat", ["rows_1", "two"], ["out_shape"], axis=0),
            helper.make_node("Expand", ["pair", "out_shape"], ["probabilities"]),
        ]
        constants.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "axis"))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None])
        p = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
        return helper.make_model(helper.make_graph(nodes, "constant", [x], [p], constants))


@dataclass(frozen=True, slots=True)
class Constant:
    """The weighted share of positives, for every row."""

    name: str = "constant"
    yardstick: bool = True
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = ()
    fixed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> FittedConstant:
        """The share of positives."""
        return FittedConstant(float(np.average(training.y, weights=training.weight)))
