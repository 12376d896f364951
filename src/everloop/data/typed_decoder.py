"""The fast twin of the decoder: a body's bytes straight to typed rows, where nothing is wrong with any of them.

msgspec reads a row into a type that is made from the contract, and holds it to types, ranges and nulls as it reads;
what it refuses, for whatever reason, is left to `Decoder`, which says what is wrong. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import ceil, floor
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from everloop.clock import to_us
from everloop.data.column import Column
from everloop.data.contract import Contract
from everloop.data.decoder import INT_HIGH, INT_LOW, LONGEST_TEXT, LONGEST_TIME, Decoded, Decoder
from everloop.data.event_time import parse_time
from everloop.data.translate import EVENT_TIME
from everloop.ids import is_prediction_id

__all__ = ["RowDigests", "TypedDecoder", "TypedRow"]

TypedRow = tuple[Any, ...]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_ROWS_KEY: Final = b'"rows"'
_TEXT: Final = Annotated[str, Meta(max_length=LONGEST_TEXT)]
_ID: Final = Annotated[str, Meta(max_length=64)] | int
_pack = msgspec.msgpack.Encoder().encode


class TypedDecoder:
    """Reads bodies of one contract; made once per routing, then only read."""

    def __init__(self, decoder: Decoder, contract: Contract) -> None:
        self._decoder = decoder
        self._columns = tuple(column for column in contract.columns if column.at_prediction)
        self._timezone = contract.timezone
        names = [column.name for column in self._columns]
        self._names = names
        self._looked_at = [
            (place, column)
            for place, column in enumerate(self._columns)
            if column.role in ("id", "time", "entity") or column.type == "datetime"
        ]
        self._alias = None if "id" in names else len(names)
        self._no_id = all(column.role != "id" for column in self._columns)
        self._row: type[msgspec.Struct] | None = None
        self._read: tuple[Callable[[bytes], Any], Callable[[bytes], Any]] | None = None
        if "rows" not in names:
            row = self._row = _row_type(self._columns)
            body = msgspec.defstruct("Body", [("rows", list[row])], forbid_unknown_fields=True)  # type: ignore[valid-type]
            self._read = msgspec.json.Decoder(body).decode, msgspec.json.Decoder(row).decode

    def read(self, body: bytes, *, max_rows: int) -> tuple[list[TypedRow], bool] | None:
        """The rows of `{"rows": [...]}`, or of a body that is one row, and whether it is; None: have a second look."""
        if self._read is None:
            return None
        many, one = self._read
        try:
            # A key may be written with escapes: then it is not found here, and the row's own type refuses it.
            if _ROWS_KEY not in body:
                return [astuple(one(body))], True
            rows = many(body).rows
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return ([astuple(row) for row in rows], False) if 0 < len(rows) <= max_rows else None

    def convert(self, rows: Sequence[Any]) -> list[TypedRow] | None:
        """Rows of plain values as typed ones; None: have a second look."""
        if self._row is None:
            return None
        try:
            return [astuple(msgspec.convert(row, self._row)) for row in rows]
        except (msgspec.MsgspecError, RecursionError):
            return None

    def decode(self, rows: Sequence[TypedRow], *, now: datetime) -> Decoded | None:
        """The rows by column, as `Decoder.decode` gives them; None where one needs a second look.

        Where the contract has no column of ids, those that the rows give stand in `columns` as `id`.
        rows: one or more, as `read` gives them.
        """
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        found: dict[str, Sequence[Any]] = dict(zip(self._names, columns, strict=False))
        arrived: Sequence[int] = ()
        try:
            for place, column in self._looked_at:
                values = columns[place]
                if column.role == "time" and None in values:
                    arrived = [n for n, value in enumerate(values) if value is None]
                    arrival = self._decoder.arrival(column, now)
                    values = [arrival if value is None else value for value in values]
                elif column.role == "id" and self._alias is not None and None in values:
                    values = [b if a is None else a for a, b in zip(values, columns[self._alias], strict=True)]
                found[column.name] = self._values(column, values)
            if self._no_id and self._alias is not None:
                found["id"] = [_identity(value) for value in columns[self._alias]]
        except ValueError:
            return None
        found[EVENT_TIME], problems = self._decoder.event_times(found, now, rows)
        if problems:
            return None
        return Decoded(
            columns=found,
            kept=range(len(rows)),
            problems=(),
            schema=self._decoder.schema,
            arrived=arrived,
            exact=True,
        )

    def _values(self, column: Column, values: Sequence[Any]) -> Sequence[Any]:
        if column.role == "id":
            return [_identity(value) for value in values]
        if column.role == "entity":
            return [str(value) if type(value) is int else value for value in values]
        if column.type == "datetime":
            return [None if value is None else self._instant_us(value) for value in values]
        return values

    def _instant_us(self, text: str) -> int:
        at = datetime.fromisoformat(text)
        return (at - _EPOCH) // _US if at.tzinfo is UTC else to_us(parse_time(text, self._timezone))


class RowDigests:
    """Tells rows of one contract from others with the same id; made once, then only called.

    Neither the order of keys matters nor how a number or a time is written, nor a key that the contract does not have;
    nor the time of arrival, where the row brought none.
    """

    def __init__(self, contract: Contract) -> None:
        columns = [column for column in contract.columns if column.at_prediction and column.role != "id"]
        self._names = [column.name for column in columns]
        self._fractions = [place for place, column in enumerate(columns) if column.type == "float"]
        self._time = next((place for place, column in enumerate(columns) if column.role == "time"), None)

    def __call__(self, decoded: Decoded) -> list[bytes]:
        """16 bytes a row, over its values by the contract, as decoded."""
        columns = [decoded.columns[name] for name in self._names]
        if not columns:
            return [b"\x00" * 16] * len(decoded.kept)
        if self._time is not None and decoded.arrived:
            late = set(decoded.arrived)
            columns[self._time] = [None if n in late else value for n, value in enumerate(columns[self._time])]
        for place in () if decoded.exact else self._fractions:
            if int in set(map(type, columns[place])):
                columns[place] = [value if value is None else float(value) for value in columns[place]]
        return [blake2b(_pack(row), digest_size=16).digest() for row in zip(*columns, strict=True)]


def _row_type(columns: Sequence[Column]) -> type[msgspec.Struct]:
    """The type of a row: the contract's columns, then `id` where it is none of them, then a trap for `rows`."""
    fields: list[tuple[str, Any, Any]] = []
    for place, column in enumerate(columns):
        optional = column.nullable or column.role in ("id", "time")
        kind = _kind(column)
        fields.append((f"c{place}", kind | None if optional else kind, None if optional else msgspec.NODEFAULT))
    rename = {f"c{place}": column.name for place, column in enumerate(columns)}
    if "id" not in rename.values():
        fields.append(("id", _ID | None, None))
    fields.append(("rows", msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct("Row", fields, kw_only=True, rename=rename, gc=False)


def _kind(column: Column) -> Any:
    if column.role == "id":
        return _ID
    if column.role == "entity":
        return _TEXT | int
    if column.type == "datetime":
        return Annotated[str, Meta(max_length=LONGEST_TIME)]
    if column.type == "float":
        return Annotated[float, Meta(ge=column.minimum, le=column.maximum)]
    if column.type == "int":
        low, high = _inside(column.minimum, up=True), _inside(column.maximum, up=False)
        return Annotated[int, Meta(ge=INT_LOW if low is None else low, le=INT_HIGH if high is None else high)]
    return bool if column.type == "bool" else _TEXT


def _inside(end: float | None, *, up: bool) -> int | None:
    """The first whole number within a range's end, as msgspec bounds whole numbers by whole numbers."""
    if end is None or not INT_LOW <= end <= INT_HIGH:
        return None
    return ceil(end) if up else floor(end)


def _identity(value: Any) -> str | None:
    text = str(value) if type(value) is int else value
    if text is not None and not is_prediction_id(text):
        raise ValueError(text)
    return text
