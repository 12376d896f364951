"""Where numbers lie in their order: evenly spaced edges, and how many numbers of each window lie between edges.

NumPy sorts floats with the machine's vector instructions, far sooner than each could be looked up among edges.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

__all__ = ["Ordered", "between", "distinct", "known_in_order"]


class Ordered:
    """A column's numbers, what is NaN being missing."""

    __slots__ = ("_known", "_numbers", "missing")

    def __init__(self, numbers: np.ndarray) -> None:
        """numbers: Float32 or Float64, shape (n,)."""
        self._numbers = numbers
        self._known = known_in_order(numbers)
        self.missing = len(numbers) - len(self._known)

    def even_edges(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct finite numbers at even steps of them, rising, and how many numbers lie between.

        The first two shapes are (e,) with e ≤ `most`, Float64, and (e + 1,), the numbers below the first before and
        those from the last on behind.
        """
        known = self._known
        finite = known[np.searchsorted(known, -np.inf, side="right") : np.searchsorted(known, np.inf, side="left")]
        if len(finite) == 0:
            return np.empty(0), np.array([len(known)])
        steps = (np.arange(1, most + 1) / (most + 1) * len(finite)).astype(np.int64)
        edges = distinct(finite, np.minimum(steps, len(finite) - 1), most)
        return edges, between(known, edges)

    def cells(self, edges: np.ndarray, windows: np.ndarray, span: slice | np.ndarray) -> np.ndarray:
        """How many numbers of each window lie between edges, the missing last: shape (w, e + 2).

        edges: numbers of the column, rising, shape (e,). span: the numbers that are counted. windows: shape (w + 1,),
        where each begins among these.
        """
        numbers = self._numbers[span]
        found = np.empty((len(windows) - 1, len(edges) + 2), dtype=np.int64)
        for place, (begin, end) in enumerate(pairwise(windows.tolist())):
            known = known_in_order(numbers[begin:end])
            found[place, :-1] = between(known, edges)
            found[place, -1] = end - begin - len(known)
        return found


def distinct(ordered: np.ndarray, places: np.ndarray, most: int) -> np.ndarray:
    """The first of the sorted numbers and those at the places, each once, at most `most`: Float64, rising."""
    edges: np.ndarray = np.unique(np.concatenate([ordered[:1], ordered[places]])).astype(np.float64)
    edges = edges if len(edges) <= most else edges[1:]
    return edges + 0.0  # of 0 and -0, which are equal, always the same


def between(ordered: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of the sorted numbers lie below the first edge, between edges, and from the last on: shape (e + 1,)."""
    below = np.searchsorted(ordered, edges.astype(ordered.dtype), side="left")
    return np.diff(below, prepend=0, append=len(ordered))


def known_in_order(numbers: np.ndarray) -> np.ndarray:
    """Those that are not missing, sorted: shape (k,) with k ≤ n."""
    ordered = np.sort(numbers)
    return ordered[: np.searchsorted(ordered, np.nan, side="left")]
