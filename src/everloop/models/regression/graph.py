"""The graph of numbers: a score in the target's unit, and quantiles around it, sorted.

input (n, k) → filled → the model → z (n, 1) → · spread + centre → score (n,) float32
                      → a model for each quantile, or z + lines between knots → + shift → · spread + centre → sorted
                                                                               → quantiles (n, q) float32
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from everloop.models.graphs import core, inlet, served
from everloop.models.regression.quantiles import ResidualBand
from everloop.models.regression.target_scale import TargetScale

__all__ = ["numeric_graph"]


class _Assembly:
    """Nodes and constants as they come together."""

    def __init__(self, fill: np.ndarray) -> None:
        self.nodes, self.tensors = inlet(fill)

    def model(self, model: Any, output: str) -> str:
        """The nodes of a converted model, from `filled` to `output`, shape (n, 1)."""
        nodes, constants = core(model, output=output, prefix=f"{output}_")
        self.nodes += nodes
        self.tensors += constants
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant by its name."""
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node by the name of its one output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def floats(self, name: str, value: Any) -> str:
        """A float32 constant."""
        return self.constant(name, np.asarray(value, dtype=np.float32))


def numeric_graph(
    model: Any,
    *,
    scale: TargetScale,
    fill: np.ndarray,
    row_block: int,
    boosters: Sequence[Any] = (),
    band: ResidualBand | None = None,
    shift: np.ndarray | None = None,
) -> bytes:
    """The bytes of the graph that is served.

    model: `onnx.ModelProto` whose last output is the standardised score, shape (n, 1); boosters: the same for each
    quantile. band: in place of boosters. shift: shape (q,), standardised; None where there are no quantiles.
    fill, row_block: as `models.serving_graph` has them.
    """
    from onnx import TensorProto, helper

    made = _Assembly(fill)
    z = made.model(model, "z")
    spread, centre = made.floats("spread", scale.spread), made.floats("centre", scale.centre)
    whole = made.node("Add", [made.node("Mul", [z, spread], "spread_z"), centre], "score_1")
    made.node("Gather", [whole, made.constant("first", np.array(0, dtype=np.int64))], "score", axis=1)
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])]
    if shift is not None:
        raw = _of_boosters(made, boosters) if band is None else _of_band(made, z, band)
        moved = made.node("Add", [raw, made.floats("shift", shift[None, :])], "moved")
        restored = made.node("Add", [made.node("Mul", [moved, spread], "spread_q"), centre], "unsorted")
        _sorted(made, restored, len(shift))
        outputs.append(helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, [None, len(shift)]))
    return served(made.nodes, outputs, made.tensors, columns=len(fill), row_block=row_block)


def _of_boosters(made: _Assembly, boosters: Sequence[Any]) -> str:
    names = [made.model(booster, f"q{place}") for place, booster in enumerate(boosters)]
    return made.node("Concat", names, "side_by_side", axis=1)


def _of_band(made: _Assembly, z: str, band: ResidualBand) -> str:
    """z and the lines around it: the first knot's offset, and of every line the part that z has passed of it.

    Element by element, and added up line by line: onnxruntime sums over an axis, as it multiplies matrices, in an order
    that depends on how many rows there are.
    """
    from onnx import helper

    base = made.node("Add", [z, made.floats("base", band.offsets[:1])], "z_base")
    if len(band.knots) == 1:
        return base
    slopes = np.diff(band.offsets, axis=0) / np.diff(band.knots)[:, None]
    low, high = made.floats("low", band.knots[None, :-1]), made.floats("high", band.knots[None, 1:])
    inside = made.node("Max", [made.node("Min", [z, high], "below_high"), low], "inside")
    last = made.constant("last", np.array([2], dtype=np.int64))
    passed = made.node("Unsqueeze", [made.node("Sub", [inside, low], "passed"), last], "passed_1")
    parts = made.node("Mul", [passed, made.floats("slopes", slopes[None])], "parts")
    lines = [f"line{place}" for place in range(len(slopes))]
    made.nodes.append(helper.make_node("Split", [parts], lines, name="lines", axis=1))
    middle = made.constant("middle", np.array([1], dtype=np.int64))
    risen = made.node("Squeeze", [made.node("Sum", lines, "risen_1"), middle], "risen")
    return made.node("Add", [base, risen], "z_band")


def _sorted(made: _Assembly, restored: str, count: int) -> None:
    from onnx import helper

    k = made.constant("count", np.array([count], dtype=np.int64))
    made.nodes.append(
        helper.make_node("TopK", [restored, k], ["quantiles", "places"], name="quantiles", axis=1, largest=0, sorted=1)
    )
