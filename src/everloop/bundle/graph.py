"""The ONNX graph of a version: rows of features in, scores out, the same bytes however the rows are batched."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from everloop.cores import usable_cores
from everloop.errors import BundleCorrupt, BundleError

__all__ = ["ROW_BLOCK_KEY", "Graph"]

ROW_BLOCK_KEY: Final = "everloop.row_block"
"""In the graph's metadata: how many rows it must be given at once."""

_BLOCK_ROWS: Final = 8192  # the temporaries of a block stay in the cache
_WIDEST_ROW_BLOCK: Final = 1024
_PROBES: Final = 33


class Graph:
    """A graph, loaded: one thread a block of rows, bit-equal for a row alone and among others.

    Trees give that by themselves with one thread. A matrix product does not: onnxruntime has another kernel for a
    single row. So a graph says how many rows it wants at once (`everloop.row_block`), and the last ones are padded.
    Because a kernel is chosen by the machine, loading also asks probe rows alone and together; where they differ,
    every row is scored by itself.
    """

    __slots__ = ("_by_row", "_features", "_quantiles", "_row_block", "_session")

    def __init__(self, onnx: bytes) -> None:
        """Load `onnx`. Raises BundleCorrupt where onnxruntime cannot, or where it is not a graph of ours."""
        self._session = _session(onnx)
        self._features, self._quantiles = _checked_shape(self._session)
        self._row_block = _row_block(self._session)
        self._by_row = False
        self._by_row = not self._is_row_stable()

    @property
    def features(self) -> int:
        """How many features a row has."""
        return self._features

    @property
    def quantiles(self) -> int:
        """How many quantiles it gives beside the score; 0 for a graph that gives none."""
        return self._quantiles

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The probability of the positive class, or the number that is expected, float32, shape (n,).

        X: float32, shape (n, features). What is not finite is missing.
        """
        return self._outputs(X, ["score"])[0]

    def predictions(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Scores as `scores` gives them, and the quantiles, float32, shape (n, quantiles), or None without any."""
        if not self._quantiles:
            return self.scores(X), None
        score, quantiles = self._outputs(X, ["score", "quantiles"])
        return score, quantiles

    def _outputs(self, X: np.ndarray, names: list[str]) -> list[np.ndarray]:
        if X.ndim != 2 or X.shape[1] != self._features:
            raise BundleError(f"the graph scores rows of {self._features} features and got an array of shape {X.shape}")
        X = np.ascontiguousarray(X, dtype=np.float32)
        if len(X) <= _BLOCK_ROWS:
            return self._span(X, names)
        spans = [X[start : start + _BLOCK_ROWS] for start in range(0, len(X), _BLOCK_ROWS)]
        # Which thread scores a block changes nothing of it.
        with ThreadPoolExecutor(min(len(spans), usable_cores())) as pool:
            return _joined(pool.map(lambda span: self._span(span, names), spans))

    def _span(self, X: np.ndarray, names: list[str]) -> list[np.ndarray]:
        if self._by_row and len(X) > 1:
            return _joined(self._block(X[row : row + 1], names) for row in range(len(X)))
        return self._block(X, names)

    def _block(self, X: np.ndarray, names: list[str]) -> list[np.ndarray]:
        rows = len(X)
        if rows == 0:
            widths = {"score": (0,), "quantiles": (0, self._quantiles)}
            return [np.empty(widths[name], dtype=np.float32) for name in names]
        short = -rows % self._row_block
        if short:
            X = np.concatenate([X, np.zeros((short, self._features), dtype=np.float32)])
        outputs: list[np.ndarray] = self._session.run(names, {"input": X})
        return [output[:rows] for output in outputs] if short else outputs

    def _is_row_stable(self) -> bool:
        probes = np.random.default_rng(0).standard_normal((_PROBES, self._features)).astype(np.float32)
        names = ["score", "quantiles"] if self._quantiles else ["score"]
        together = self._block(probes, names)
        return all(
            alone[0].tobytes() == whole[i].tobytes()
            for i in range(_PROBES)
            for alone, whole in zip(self._block(probes[i : i + 1], names), together, strict=True)
        )


def _joined(blocks: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


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


def _checked_shape(session: Any) -> tuple[int, int]:
    """How many features a row has, and how many quantiles there are beside its score."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = inputs[0].shape if inputs else []
    names = [item.name for item in outputs]
    widths = [item.shape[-1] for item in outputs[1:] if len(item.shape) == 2 and isinstance(item.shape[-1], int)]
    named = [item.name for item in inputs] == ["input"] and names in (["score"], ["score", "quantiles"])
    if not named or len(shape) != 2 or not isinstance(shape[1], int) or len(widths) != len(names) - 1:
        got = f"{[item.name for item in inputs]} → {names}"
        raise BundleCorrupt(
            f"the graph goes from {got} and not from input (n, features) to score (n,); package it again"
        )
    return int(shape[1]), int(widths[0]) if widths else 0


def _row_block(session: Any) -> int:
    text = session.get_modelmeta().custom_metadata_map.get(ROW_BLOCK_KEY, "1")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _WIDEST_ROW_BLOCK:
        raise BundleCorrupt(
            f"the graph's {ROW_BLOCK_KEY} is {text!r} and not 1 to {_WIDEST_ROW_BLOCK}; package it again"
        )
    return int(text)
