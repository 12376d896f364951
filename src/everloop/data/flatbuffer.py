"""FlatBuffers as far as Arrow's messages need them: every offset is looked at before it is followed.

The libraries that read Arrow trust the lengths that a message claims, and end the process where one is absurd. A
stranger's bytes are therefore read here, where the worst that they can be is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from everloop.errors import DataError

__all__ = ["Table", "root"]

_LONGEST_TEXT: Final = 4_096  # bytes; texts can overlap, so that many long ones would be more than was sent
_MOST_NUMBERS: Final = 16_384


class Table:
    """One table within `data`. Fields are asked by their number in the schema; one left out gives its default."""

    __slots__ = ("_at", "_data", "_fields")

    def __init__(self, data: bytes, at: int) -> None:
        """at: where the table begins. Raises DataError where none can."""
        self._data, self._at = data, at
        begin = at - int(_number("<i", data, at))
        length = int(_number("<H", data, begin))
        if length % 2 or length < 4 or begin + length > len(data):
            raise _broken()
        self._fields = struct.unpack_from(f"<{(length - 4) // 2}H", data, begin + 4)

    def _place(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else None

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A whole number or a truth. kind: as `struct` names it, such as `<q`."""
        place = self._place(field)
        return default if place is None else _number(kind, self._data, place)

    def table(self, field: int) -> Table | None:
        """A table; None where it is left out."""
        place = self._place(field)
        return None if place is None else Table(self._data, _followed(self._data, place))

    def text(self, field: int) -> str:
        """A text; empty where it is left out."""
        place = self._place(field)
        if place is None:
            return ""
        begin, length = self._vector(place, 1)
        if length > _LONGEST_TEXT:
            raise DataError(f"a name of {length:,} bytes is longer than {_LONGEST_TEXT:,}")
        try:
            return self._data[begin : begin + length].decode()
        except UnicodeDecodeError as error:
            raise _broken() from error

    def count(self, field: int) -> int:
        """How many elements a vector has."""
        place = self._place(field)
        return 0 if place is None else self._vector(place, 0)[1]

    def tables(self, field: int) -> Iterator[Table]:
        """The tables of a vector."""
        place = self._place(field)
        if place is None:
            return
        begin, count = self._vector(place, 4)
        for at in range(begin, begin + 4 * count, 4):
            yield Table(self._data, _followed(self._data, at))

    def numbers(self, field: int, *, each: int = 1) -> list[tuple[int, ...]]:
        """The 64-bit numbers of a vector, `each` to an element."""
        place = self._place(field)
        if place is None:
            return []
        begin, count = self._vector(place, 8 * each)
        if count * each > _MOST_NUMBERS:
            raise DataError("a message lists more buffers or batches than are read")
        flat = struct.unpack_from(f"<{count * each}q", self._data, begin)
        return [flat[at : at + each] for at in range(0, len(flat), each)]

    def _vector(self, place: int, width: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many there are."""
        begin = _followed(self._data, place)
        count = _number("<I", self._data, begin)
        if begin + 4 + count * width > len(self._data):
            raise _broken()
        return begin + 4, count


def root(data: bytes) -> Table:
    """The table that a buffer holds. Raises DataError where it holds none."""
    return Table(data, _followed(data, 0))


def _followed(data: bytes, place: int) -> int:
    return place + _number("<I", data, place)


def _number(kind: str, data: bytes, place: int) -> int:
    if place < 0 or place + struct.calcsize(kind) > len(data):
        raise _broken()
    found: int = struct.unpack_from(kind, data, place)[0]
    return found


def _broken() -> DataError:
    return DataError("a message's metadata point outside of it")
