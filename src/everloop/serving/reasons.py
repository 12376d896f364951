"""Why a score is what it is: occlusion. Each feature in turn is made typical, and what that changes is its effect.

The score is asked of the served graph itself, all the changed rows of a block in one call. Occlusion says what one
feature alone moves; what features do only together, it splits among none or several of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np

from everloop.bundle import Bundle
from everloop.data import BaselineColumn, Column, Decoded

__all__ = ["Reason", "Typical", "effects", "reasons_of", "typical_of", "typical_value"]

_LOG = logging.getLogger("everloop.serving")
_BLOCK_ROWS: Final = 8_192  # scored in one call: what a graph takes at once anyway
Matrix = np.ndarray[Any, np.dtype[np.float32]]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """What one feature does to one score.

    value: the row's. typical: the baseline's, in its place. effect: by how much the score is higher with the value than
    with the typical one. None is a missing value.
    """

    feature: str
    value: float | int | bool | str | None
    typical: float | int | bool | str | None
    effect: float
    direction: Literal["raises", "lowers"]


class _Columns(msgspec.Struct, frozen=True):
    """Of a baseline only the columns: its windows are most of it."""

    columns: tuple[BaselineColumn, ...]


_decode_columns = msgspec.json.Decoder(_Columns).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """A version's typical row, of the features that its baseline knows.

    places: in the matrix, shape (m,). values: there, shape (m,), float32, NaN where missing is typical. shown: as
    people say it. names: of the features. columns: the contract's column that a feature is, None of a derived one.
    """

    places: np.ndarray[Any, np.dtype[np.int64]]
    values: Matrix
    shown: tuple[Any, ...]
    names: tuple[str, ...]
    columns: tuple[Column | None, ...]


def typical_of(bundle: Bundle) -> Typical | None:
    """The typical row by the bundle's baseline; None where that cannot be read, or something else serves the version.

    Takes some milliseconds.
    """
    if bundle.external:
        return None
    try:
        known = {column.name: column for column in _decode_columns(bundle.baseline_json).columns}
    except msgspec.MsgspecError as error:
        _LOG.warning("the baseline of bundle %s cannot be read, so its scores have no reasons: %s", bundle.id, error)
        return None
    contract = {column.name: column for column in bundle.contract.columns}
    found: list[tuple[int, float, Any, str, Column | None]] = []
    for place, (name, node) in enumerate(zip(bundle.features.names, bundle.features.nodes, strict=True)):
        reference = known.get(name)
        if reference is None:
            continue
        value = typical_value(reference)
        if node.op == "code":
            codes = {category: float(code) for code, category in enumerate(node.values or ())}
            found.append((place, codes.get(value, np.nan), value, name, contract.get(name)))
            continue
        number = np.nan if value is None else float(value)
        column = contract.get(name) if node.op == "column" else None
        found.append((place, number, _shown(value, column), name, column))
    places, values, shown, names, columns = zip(*found, strict=True) if found else ((), (), (), (), ())
    return Typical(
        places=np.array(places, dtype=np.int64),
        values=np.array(values, dtype=np.float32),
        shown=tuple(shown),
        names=tuple(names),
        columns=tuple(columns),
    )


def typical_value(column: BaselineColumn) -> Any:
    """The median of numbers, to a bin; the most frequent of texts; None where that is to be missing."""
    if column.categories is not None:
        counts = column.counts[: len(column.categories)]
        if not counts or column.nulls > max(counts):
            return None
        return column.categories[counts.index(max(counts))]
    if not column.edges or column.nulls > sum(column.counts):
        return None
    middle = int(np.searchsorted(np.cumsum(column.counts), sum(column.counts) / 2))
    return column.edges[max(0, middle - 1)]  # a bin begins at a value that rows had


def effects(score: Callable[[Matrix], np.ndarray[Any, Any]], X: Matrix, typical: Typical) -> np.ndarray[Any, Any]:
    """What each feature does to each score, shape (n, m), float64: the score less that with the feature made typical.

    score: shape (rows, k) → (rows,). X: shape (n, k), float32. A feature that is typical already does nothing, and
    costs nothing; so a row costs at most m + 1, and at most `_BLOCK_ROWS` or one row's are there at once.
    """
    found = np.zeros((len(X), len(typical.places)))
    at_once = max(1, _BLOCK_ROWS // (len(typical.places) + 1))
    for begin in range(0, len(X), at_once):
        block = X[begin : begin + at_once]
        own = block[:, typical.places]
        rows, which = np.nonzero((own != typical.values) & ~(np.isnan(own) & np.isnan(typical.values)))
        changed = block[rows]
        changed[np.arange(len(rows)), typical.places[which]] = typical.values[which]
        scores = score(np.concatenate([block, changed])).astype(np.float64)
        found[begin + rows, which] = scores[rows] - scores[len(block) :]
    return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


def reasons_of(bundle: Bundle, typical: Typical, X: Matrix, decoded: Decoded, count: int) -> Iterator[list[Reason]]:
    """Of each row the features that move its score most, at most `count`, the largest effect first.

    X: the bundle's features of the decoded rows. A feature that moves nothing is no reason.
    """
    assert bundle.graph is not None  # who has a typical row has a graph
    found = effects(bundle.graph.scores, X, typical)
    order = np.argsort(-np.abs(found), axis=1, kind="stable")[:, :count]
    # the digits that a float32 has, for a score is one
    written = [[float(str(value)) for value in row] for row in np.take_along_axis(found, order, 1).astype(np.float32)]
    for row, (places, sizes) in enumerate(zip(order.tolist(), written, strict=True)):
        yield [
            Reason(
                feature=typical.names[place],
                value=_value(typical, place, X, decoded.columns, row),
                typical=typical.shown[place],
                effect=size,
                direction="raises" if size > 0 else "lowers",
            )
            for place, size in zip(places, sizes, strict=True)
            if size
        ]


def _value(typical: Typical, place: int, X: Matrix, columns: Mapping[str, Sequence[Any]], row: int) -> Any:
    """The row's own value: as it came where the feature is a column of it."""
    column = typical.columns[place]
    if column is not None:
        return columns[column.name][row]
    number = X[row, typical.places[place]]
    return None if np.isnan(number) else float(str(number))


def _shown(value: Any, column: Column | None) -> Any:
    if value is None or column is None:
        return None if value is None else float(str(np.float32(value)))
    return bool(value) if column.type == "bool" else int(value) if column.type == "int" else value
