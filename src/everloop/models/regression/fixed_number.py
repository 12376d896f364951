"""The same number for every row: what the constant learner gives, and boosted trees without a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FixedNumber"]


@dataclass(frozen=True, slots=True)
class FixedNumber:
    """One number, in the unit that the learner saw. columns: how many a row has."""

    number: float
    columns: int
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The number per row, float64, shape (n,)."""
        return np.full(len(X), np.float32(self.number), dtype=np.float64)

    def onnx(self) -> Any:
        """The number per row, shape (n, 1)."""
        from onnx import TensorProto, helper, numpy_helper

        constants = [
            numpy_helper.from_array(np.array([[self.number]], dtype=np.float32), "number"),
            numpy_helper.from_array(np.array(0, dtype=np.int64), "first"),
            numpy_helper.from_array(np.array([0], dtype=np.int64), "axis"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        ]
        nodes = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["rows"], axis=0),
            helper.make_node("Unsqueeze", ["rows", "axis"], ["rows_1"]),
            helper.make_node("Concat", ["rows_1", "one"], ["out_shape"], axis=0),
            helper.make_node("Expand", ["number", "out_shape"], ["value"]),
        ]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, self.columns])
        value = helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, 1])
        return helper.make_model(helper.make_graph(nodes, "constant", [x], [value], constants))
