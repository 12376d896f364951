"""A model's features as data: the raw feature columns first, then those of features.py, as a Float32 matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import numpy as np
import polars as pl

from everloop.cores import usable_cores
from everloop.data.column import Column
from everloop.data.contract import Contract
from everloop.data.node import Node, check_node, columns_of, expression
from everloop.errors import DataError

__all__ = ["FeatureTree", "as_float32", "raw_node"]

_VERSION: Final = 1
_BLOCK_ROWS: Final = 8192
_FLOATS: Final = frozenset({pl.Float64, pl.Float32})


class FeatureTree(msgspec.Struct, frozen=True, kw_only=True):
    """Named nodes in the order of the matrix's columns.

    A missing value, and one that is not finite as Float32, is NaN; true and false are 1 and 0; a category is its
    place in the contract, NaN where it is unseen. A row gives the same bytes alone, in a batch and in any chunk.
    """

    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    version: int = _VERSION

    @classmethod
    def of(cls, contract: Contract, derived: Iterable[tuple[str, Node]] = ()) -> FeatureTree:
        """The contract's feature columns, then the derived ones.

        Raises DataError where there is none or two share a name.
        """
        pairs = [(column.name, raw_node(column)) for column in contract.feature_columns]
        pairs += list(derived)
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"two features are named {twice[0]!r}; a derived feature needs a name of its own")
        if not pairs:
            raise DataError("there are no features: no column has `role: feature`, and features.py gives none")
        return cls(names=tuple(names), nodes=tuple(node for _, node in pairs))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the features read, each once."""
        found = [name for node in self.nodes for name in columns_of(node)]
        return tuple(dict.fromkeys(found))

    def only(self, names: Iterable[str]) -> FeatureTree:
        """The tree of these features, in that order. Raises DataError for an unknown one."""
        by_name = dict(zip(self.names, self.nodes, strict=True))
        wanted = tuple(names)
        for name in wanted:
            if name not in by_name:
                raise DataError(f"there is no feature {name!r}; there are {', '.join(self.names)}")
        return FeatureTree(names=wanted, nodes=tuple(by_name[name] for name in wanted))

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The features of each row as Float32 columns without nulls (NaN instead)."""
        return frame.select(
            as_float32(expression(node)).alias(name) for name, node in zip(self.names, self.nodes, strict=True)
        )

    def matrix(
        self, frame: pl.DataFrame, *, allocate: Callable[[tuple[int, int]], np.ndarray] | None = None
    ) -> np.ndarray:
        """The features of each row: shape (rows, features), Float32, C order. The same values as `frame` gives.

        allocate: gives the array of a shape that they are written into; None makes one.
        """
        derived = [place for place, node in enumerate(self.nodes) if node.op != "column"]
        made = frame.select(expression(self.nodes[place]).alias(self.names[place]) for place in derived)
        shape = (frame.height, len(self.names))
        matrix = np.empty(shape, np.float32) if allocate is None else allocate(shape)
        columns = []
        for place, node in enumerate(self.nodes):
            # a plain column needs no expression, whose overhead is most of what a single row costs
            values = frame[node.name or ""] if node.op == "column" else made[self.names[place]]
            columns.append((values if type(values.dtype) in _FLOATS else values.cast(pl.Float64)).to_numpy())
        if frame.height <= _BLOCK_ROWS:
            _fill(matrix, columns, 0)
        else:
            with ThreadPoolExecutor(usable_cores()) as pool:
                list(pool.map(lambda start: _fill(matrix, columns, start), range(0, frame.height, _BLOCK_ROWS)))
        return matrix

    def categories(self) -> dict[int, int]:
        """Place in the matrix → how many categories, of the features that are the place of a category."""
        return {at: len(node.values or ()) for at, node in enumerate(self.nodes) if node.op == "code"}

    def unseen(self, frame: pl.DataFrame, matrix: np.ndarray) -> dict[str, int]:
        """Column → rows that hold a category which is not in the contract; only columns that have such rows.

        matrix: what `matrix` gave for `frame`. Such a value is missing in it, and is no error.
        """
        found: dict[str, int] = {}
        for at in self.categories():
            gone = np.isnan(matrix[:, at])
            if gone.any():
                name = self.nodes[at].args[0].name or ""
                rows = int((gone & frame[name].is_not_null().to_numpy()).sum())
                found |= {name: rows} if rows else {}
        return found

    def to_json(self) -> bytes:
        """Canonical JSON: the same tree gives the same bytes."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> FeatureTree:
        """The tree of `to_json`. Raises DataError where a node is not one of ours."""
        try:
            tree = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise DataError(f"this is not a feature tree: {error}") from error
        if tree.version != _VERSION or len(tree.names) != len(tree.nodes):
            raise DataError(f"feature tree version {tree.version} is not known; this everloop reads version {_VERSION}")
        for node in tree.nodes:
            check_node(node)
        return tree


def raw_node(column: Column) -> Node:
    """A feature column as it is: a number, 1 or 0, or the place of its category."""
    read = Node(op="column", name=column.name)
    if column.type == "string":
        return Node(op="code", args=(read,), values=column.categories or ())
    return read


def as_float32(expr: pl.Expr) -> pl.Expr:
    """The number as Float32, by way of Float64; NaN where it is missing or not finite."""
    narrow = expr.cast(pl.Float64).cast(pl.Float32)
    return pl.when(narrow.is_finite()).then(narrow).otherwise(float("nan")).cast(pl.Float32)


def _fill(matrix: np.ndarray, columns: list[np.ndarray], start: int) -> None:
    """The rows of a block, which stay in the cache, from `start` on."""
    block = matrix[start : start + _BLOCK_ROWS]
    with np.errstate(over="ignore"):  # what is beyond Float32 is infinite for a moment, then missing
        for place, values in enumerate(columns):
            block[:, place] = values[start : start + _BLOCK_ROWS]
    block[~np.isfinite(block)] = np.nan
