"""The ONNX graph of a version: rows of features in, probabilities out, the same bytes however the rows are batched."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from everloop.errors import BundleCorrupt, BundleError

__all__ = ["ROW_BLOCK_KEY", "Graph"]

ROW_BLOCK_KEY: Final = "everloop.row_block"
"""In the graph's metadata: how many rows it must be given at once."""

_BLOCK_ROWS: Final = 8192  # the temporaries of a block stay in the cache
_WIDEST_ROW_BLOCK: Final = 1024
_PROBES: Final = 33


class Graph:
    """A graph, loaded: one thread, blocks of rows, bit-equal for a row alone and among others.

    Trees give that by themselves with one thread. A matrix product does not: onnxruntime has another kernel for a
    single row. So a graph says how many rows it wants at once (`everloop.row_block`), and the last ones are padded.
    Because a kernel is chosen by the machine, loading also asks probe rows alone and together; where they differ,
    every row is scored by itself.
    """

    __slots__ = ("_by_row", "_features", "_row_block", "_session")

    def __init__(self, onnx: bytes) -> None:
        """Load `onnx`. Raises BundleCorrupt where onnxruntime cannot, or where it is not a graph of ours."""
        self._session = _session(onnx)
        self._features = _checked_features(self._session)
        self._row_block = _row_block(self._session)
        self._by_row = False
        self._by_row = not self._is_row_stable()

    @property
    def features(self) -> int:
        """How many features a row has."""
        return self._features

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The probability of the positive class, float32, shape (n,).

        X: float32, shape (n, features). What is not finite is missing.
        """
        if X.ndim != 2 or X.shape[1] != self._features:
            raise BundleError(f"the graph scores rows of {self._features} features and got an array of shape {X.shape}")
        X = np.ascontiguousarray(X, dtype=np.float32)
        step = 1 if self._by_row else _BLOCK_ROWS
        if len(X) <= step:
            return self._block(X)
        return np.concatenate([self._block(X[start : start + step]) for start in range(0, len(X), step)])

    def _block(self, X: np.ndarray) -> np.ndarray:
        rows = len(X)
        if rows == 0:
            return np.empty(0, dtype=np.float32)
        short = -rows % self._row_block
        if short:
            X = np.concatenate([X, np.zeros((short, self._features), dtype=np.float32)])
        scores: np.ndarray = self._session.run(["score"], {"input": X})[0]
        return scores[:rows] if short else scores

    def _is_row_stable(self) -> bool:
        probes = np.random.default_rng(0).standard_normal((_PROBES, self._features)).astype(np.float32)
        together = self._block(probes)
        return all(self._block(probes[i : i + 1])[0].tobytes() == together[i].tobytes() for i in range(_PROBES))


def _session(onnx: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no class of their own
        said = str(error).strip().splitlines()[0]
        raise BundleCorrupt(f"the graph cannot be loaded by onnxruntime: {said}; package the model again") from error


def _checked_features(session: Any) -> int:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = inputs[0].shape if inputs else []
    named = [item.name for item in inputs] == ["input"] and [item.name for item in outputs] == ["score"]
    if not named or len(shape) != 2 or not isinstance(shape[1], int):
        got = f"{[item.name for item in inputs]} → {[item.name for item in outputs]}"
        raise BundleCorrupt(
            f"the graph goes from {got} and not from input (n, features) to score (n,); package it again"
        )
    return int(shape[1])


def _row_block(session: Any) -> int:
    text = session.get_modelmeta().custom_metadata_map.get(ROW_BLOCK_KEY, "1")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _WIDEST_ROW_BLOCK:
        raise BundleCorrupt(
            f"the graph's {ROW_BLOCK_KEY} is {text!r} and not 1 to {_WIDEST_ROW_BLOCK}; package it again"
        )
    return int(text)
