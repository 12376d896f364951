"""Where numbers lie in their order, without sorting them: a few passes over buckets that keep it."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["Ordered"]

_BUCKETS: Final = 65_536  # by the upper 16 bits of a number's key
_ZERO: Final = 32_768  # the bucket that begins at 0
_MISSING: Final = np.int32(0x7FC0_0000)
_FIRST_MISSING: Final = _ZERO + 0x7F81
_FINER: Final = 6  # bits more, to tell the values of one bucket apart


class Ordered:
    """A column's numbers, what is NaN being missing.

    A number's key is what its Float32 bits are as a whole number of the same sign: of two numbers the smaller never has
    the larger key, and 0 and -0 have the same. Only numbers that share the bucket of one that is asked for are
    compared themselves.
    """

    __slots__ = ("_bucket", "_is_narrow", "_key", "_numbers", "missing")

    def __init__(self, numbers: np.ndarray) -> None:
        """numbers: Float32 or Float64, shape (n,)."""
        narrow = _narrowed(numbers)
        self._key = _keys(narrow)
        unknown = np.isnan(narrow)
        self.missing = int(np.count_nonzero(unknown))
        if self.missing:
            self._key[unknown] = _MISSING
        self._bucket = _buckets(self._key).astype(np.uint16)
        # of what differs, all is missing
        self._is_narrow = narrow is numbers or int(np.count_nonzero(narrow != numbers)) == self.missing
        self._numbers = narrow if self._is_narrow else numbers

    def even_edges(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct finite numbers at even steps of them, rising, and how many numbers lie between.

        The first two shapes are (e,) with e ≤ `most`, Float64, and (e + 1,), the numbers below the first before and
        those from the last on behind.
        """
        known = len(self._numbers) - self.missing
        lowest, highest = (int(np.count_nonzero(self._numbers == end)) for end in (-np.inf, np.inf))
        finite = known - lowest - highest
        if finite == 0:
            return np.empty(0), np.array([known])
        steps = (np.arange(1, most + 1) / (most + 1) * finite).astype(np.int64)
        places = np.unique(np.concatenate([[0], np.minimum(steps, finite - 1)])) + lowest
        values, below = self._at(places)
        first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        first = first if len(first) <= most else first[1:]
        edges = values[first].astype(np.float64) + 0.0  # of 0 and -0, which are equal, always the same
        return edges, np.diff(below[first], prepend=0, append=known)

    def _at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers at these places of their order, which rise, and of each how many are smaller."""
        ends = np.cumsum(np.bincount(self._bucket, minlength=_BUCKETS))
        wanted = np.unique(np.searchsorted(ends, places, side="right"))
        row = np.full(_BUCKETS, len(wanted), dtype=np.int32)
        row[wanted] = np.arange(len(wanted))
        # every bucket that is asked for in finer ones, all others as one
        finer = (row.take(self._bucket) << _FINER) + ((self._key >> (16 - _FINER)) & ((1 << _FINER) - 1))
        sizes = np.bincount(finer, minlength=(len(wanted) + 1) << _FINER)
        within = sizes[: len(wanted) << _FINER].reshape(len(wanted), -1)
        finer_ends = (np.cumsum(within, axis=1) + np.where(wanted > 0, ends[wanted - 1], 0)[:, None]).ravel()
        asked = np.searchsorted(finer_ends, places, side="right")
        is_asked = np.zeros(len(sizes), dtype=bool)
        is_asked[asked] = True
        near = np.sort(self._numbers[is_asked.take(finer)])
        # `near` holds these finer buckets one behind another: how many smaller numbers are left out before each
        kept = np.where(is_asked[: len(finer_ends)], sizes[: len(finer_ends)], 0)
        left_out = (finer_ends - np.cumsum(kept))[asked]
        values = near[places - left_out]
        return values, np.searchsorted(near, values, side="left") + left_out

    def cells(self, edges: np.ndarray, windows: np.ndarray, span: slice | np.ndarray) -> np.ndarray:
        """How many numbers of each window lie between edges, the missing last: shape (w, e + 2).

        edges: numbers of the column, rising, shape (e,). span: the numbers that are counted. windows: shape (w + 1,),
        where each begins among these.
        """
        edges = edges.astype(self._numbers.dtype)
        bounds = _keys(_narrowed(edges))
        begins, bucket, width = _buckets(bounds), self._bucket[span], len(edges) + 2
        cell_of = np.searchsorted(begins, np.arange(_BUCKETS), side="right").astype(np.int16)
        cell_of[_FIRST_MISSING:] = width - 1
        # one that begins with its edge lies above it as a whole, where keys and numbers are the same
        split = (bounds & 0xFFFF) != 0 if self._is_narrow else np.full(len(edges), True)
        cell_of[begins[split]] = -1
        cell = cell_of.take(bucket)
        unsure = np.flatnonzero(cell < 0)
        cell[unsure] = np.searchsorted(edges, self._numbers[span][unsure], side="right")
        which = np.repeat(np.arange(len(windows) - 1, dtype=np.int32) * width, np.diff(windows))
        return np.bincount(which + cell, minlength=(len(windows) - 1) * width).reshape(-1, width)


def _narrowed(numbers: np.ndarray) -> np.ndarray:
    """As Float32; what is beyond it becomes infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32, copy=False)


def _keys(narrow: np.ndarray) -> np.ndarray:
    bits = narrow.view(np.int32)
    sign = bits >> 31
    return ((bits & 0x7FFF_FFFF) ^ sign) - sign


def _buckets(keys: np.ndarray) -> np.ndarray:
    return (keys >> 16) + _ZERO
