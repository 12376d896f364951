"""Several graphs as they are served → one that answers with their mean."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import Any, Final

from everloop.bundle.graph import ROW_BLOCK_KEY
from everloop.models.graphs import renamed_node, renamed_tensor, served
from everloop.models.score_map import ScoreMap

__all__ = ["blended"]

_INPUT: Final = "input"


def blended(graphs: Sequence[bytes], *, calibration: ScoreMap | None = None) -> bytes:
    """The bytes of the graph whose every output is the mean of theirs, float32.

    graphs: of one task, for the same columns, with the same outputs. calibration: of the mean; None leaves it.
    """
    from onnx import ModelProto, helper

    models = [ModelProto.FromString(graph) for graph in graphs]
    nodes: list[Any] = []
    tensors: list[Any] = []
    for number, model in enumerate(models, 1):
        before, constants = _numbered(model.graph, number)
        nodes += before
        tensors += constants
    outputs = list(models[0].graph.output)
    for output in outputs:
        mean = "raw" if calibration is not None and output.name == "score" else output.name
        parts = [_name(output.name, number) for number in range(1, len(models) + 1)]
        nodes.append(helper.make_node("Mean", parts, [mean], name=f"mean_{output.name}"))
    if calibration is not None:
        mapping, numbers = calibration.nodes("raw", "score")
        nodes += mapping
        tensors += numbers
    columns = models[0].graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return served(nodes, outputs, tensors, columns=columns, row_block=lcm(*map(_row_block, models)))


def _numbered(graph: Any, number: int) -> tuple[list[Any], list[Any]]:
    """Nodes and constants of a graph, under names that no other's have; all read the one input."""
    names = {name: _name(name, number) for node in graph.node for name in (*node.input, *node.output)}
    names[_INPUT] = _INPUT
    nodes = [renamed_node(node, _name(node.name, number), node.input, names) for node in graph.node]
    tensors = [renamed_tensor(tensor, _name(tensor.name, number)) for tensor in graph.initializer]
    return nodes, tensors


def _name(name: str, number: int) -> str:
    return f"m{number}.{name}"


def _row_block(model: Any) -> int:
    return next((int(entry.value) for entry in model.metadata_props if entry.key == ROW_BLOCK_KEY), 1)
