"""A converter's ONNX model → the graph that is served: same arithmetic, names of ours, nothing random, nothing spare.

    input (n, k) float32 → what is not finite becomes its column's fill → the model → second class
        → the calibration, where there is one → score (n,) float32

Converters put random names, versions and a label output into what they write; here they are left behind, so that the
same model gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from everloop.bundle.graph import ROW_BLOCK_KEY
from everloop.models.score_map import ScoreMap

__all__ = ["core", "inlet", "renamed_node", "renamed_tensor", "served", "serving_graph"]

_OPSET: Final = 17
_ML_OPSET: Final = 1
_IR_VERSION: Final = 8


def serving_graph(model: Any, *, fill: np.ndarray, row_block: int, calibration: ScoreMap | None = None) -> bytes:
    """The bytes of the graph that is served.

    model: `onnx.ModelProto` with one input, whose last output are the class probabilities, shape (n, 2).
    fill: float32, shape (k,): what a missing value becomes, NaN where the model reads it itself.
    row_block: how many rows the graph must be given at once, kept in its metadata for `bundle.Graph`.
    calibration: what makes probabilities of the scores; None leaves them as the model has them.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = core(model)
    raw = "score" if calibration is None else "raw"
    last = helper.make_node("Gather", ["probabilities", "positive"], [raw], name=raw, axis=1)
    mapping, numbers = ([], []) if calibration is None else calibration.nodes(raw, "score")
    before, filling = inlet(fill)
    tensors = [*filling, numpy_helper.from_array(np.array(1, dtype=np.int64), "positive"), *constants, *numbers]
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])
    return served([*before, *nodes, last, *mapping], [score], tensors, columns=len(fill), row_block=row_block)


def inlet(fill: np.ndarray) -> tuple[list[Any], list[Any]]:
    """The nodes from `input` to `filled`, and the constants that they use; fill: as `serving_graph` has it."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("IsNaN", ["input"], ["is_nan"], name="is_nan"),
        helper.make_node("IsInf", ["input"], ["is_inf"], name="is_inf"),
        helper.make_node("Or", ["is_nan", "is_inf"], ["missing"], name="missing"),
        helper.make_node("Where", ["missing", "fill", "input"], ["filled"], name="filled"),
    ]
    return nodes, [numpy_helper.from_array(fill.astype(np.float32), "fill")]


def served(nodes: list[Any], outputs: list[Any], tensors: list[Any], *, columns: int, row_block: int) -> bytes:
    """The bytes of a graph from `input` (n, columns) to `outputs`, by these nodes and constants."""
    from onnx import TensorProto, checker, helper

    graph = helper.make_graph(
        nodes,
        "everloop",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, columns])],
        outputs,
        tensors,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="everloop")
    helper.set_model_props(whole, {ROW_BLOCK_KEY: str(row_block)})
    checker.check_model(whole)
    return bytes(whole.SerializeToString(deterministic=True))


def core(model: Any, *, output: str = "probabilities", prefix: str = "") -> tuple[list[Any], list[Any]]:
    """The nodes that lead from `filled` to `output`, and the constants that they use, renamed by order.

    prefix: before every other name, so that several models stand in one graph.
    """
    graph = model.graph
    same = _bypassed(graph)
    nodes = _needed(graph, same)
    names = {graph.input[0].name: "filled", _resolve(graph.output[-1].name, same): output}
    known = {tensor.name: tensor for tensor in graph.initializer}
    renamed: list[Any] = []
    constants: list[Any] = []
    for node in nodes:
        inputs = [_resolve(name, same) for name in node.input]
        for name in inputs:
            if name in known and name not in names:
                names[name] = f"{prefix}c{len(constants)}"
                constants.append(renamed_tensor(known[name], names[name]))
        for name in node.output:
            names.setdefault(name, f"{prefix}t{len(names)}")
        renamed.append(renamed_node(node, f"{prefix}n{len(renamed)}", inputs, names))
    return renamed, constants


def renamed_node(node: Any, name: str, inputs: Sequence[str], names: dict[str, str]) -> Any:
    """A copy of `node` called `name`, its edges under `names`, its attributes in order of theirs."""
    from onnx import NodeProto

    copy = NodeProto()
    copy.CopyFrom(node)
    outputs = [names[output] for output in node.output]
    del copy.input[:]
    del copy.output[:]
    copy.input.extend("" if item == "" else names[item] for item in inputs)
    copy.output.extend(outputs)
    copy.name = name
    copy.doc_string = ""
    attributes = sorted(copy.attribute, key=lambda attribute: str(attribute.name))
    del copy.attribute[:]
    copy.attribute.extend(attributes)
    return copy


def renamed_tensor(tensor: Any, name: str) -> Any:
    """A copy of `tensor` called `name`."""
    from onnx import TensorProto

    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    copy.doc_string = ""
    return copy


def _bypassed(graph: Any) -> dict[str, str]:
    """Outputs that are only another tensor again: of an Identity, of a multiplication by one, or as a list of maps."""
    from onnx import numpy_helper

    ones = {tensor.name for tensor in graph.initializer if np.all(numpy_helper.to_array(tensor) == 1.0)}
    same: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in ("Identity", "ZipMap") or (node.op_type == "Mul" and node.input[1] in ones):
            same[node.output[0]] = node.input[0]
    return same


def _resolve(name: str, same: dict[str, str]) -> str:
    while name in same:
        name = same[name]
    return name


def _needed(graph: Any, same: dict[str, str]) -> list[Any]:
    """The nodes that the probabilities come from, in their order; what makes the label is left out."""
    wanted = {_resolve(graph.output[-1].name, same)}
    nodes: list[Any] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(_resolve(name, same) for name in node.input)
            nodes.append(node)
    return nodes[::-1]
