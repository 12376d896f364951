"""Tables in Arrow's IPC format from strangers: plain columns, bounded, read without trust in anything they claim."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import polars as pl

from everloop.clock import to_us
from everloop.data.flatbuffer import Table, root
from everloop.errors import DataError, TooMuchData

__all__ = ["MOST_COLUMNS", "read_arrow"]

MOST_COLUMNS: Final = 512
_MOST_PIECES: Final = 65_536  # columns times batches: each costs some microseconds, however little it holds
_TEXT_BYTES: Final = 64_000_000  # of a whole table: views and dictionaries can name the same bytes again and again
_LONGEST_TEXT: Final = 40_004  # bytes; more than any text that a contract takes, so that cut texts stay too long
_FILE: Final = b"ARROW1\x00\x00"
_CONTINUED: Final = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_INTS: Final[Mapping[tuple[int, bool], str]] = {
    (bits, signed): f"<{'i' if signed else 'u'}{bits // 8}" for bits in (8, 16, 32, 64) for signed in (True, False)
}
_FLOATS: Final = ("<f2", "<f4", "<f8")
_DAY_US: Final = 86_400_000_000
_UNIT_US: Final = (1_000_000, 1_000, 1)
_FIRST_US, _LAST_US = to_us(datetime(1, 1, 1, tzinfo=UTC)), to_us(datetime.max.replace(tzinfo=UTC))
# What is skipped where the contract has no such column: type → name and number of buffers.
_SKIPPED: Final[Mapping[int, tuple[str, int]]] = {
    4: ("binary", 3), 7: ("decimal", 2), 9: ("time of day", 2), 11: ("interval", 2), 15: ("fixed-size binary", 2),
    18: ("duration", 2), 19: ("large binary", 3), 23: ("binary view", 2),
}  # fmt: skip
_NESTED: Final[Mapping[int, str]] = {
    12: "list", 13: "struct", 14: "union", 16: "fixed-size list", 17: "map", 21: "large list", 22: "run-end encoded",
    25: "list view", 26: "large list view",
}  # fmt: skip
_BUFFERS: Final[Mapping[str, int]] = {"null": 0, "text": 3, "large text": 3, "text view": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A column. kind: null, number, bool, text, large text, text view, time, or what is skipped, in words.

    dtype: of numbers, times and a dictionary's places. us: a time's unit in microseconds, 0 for nanoseconds. aware:
    whether times are UTC's. dictionary: the id of the dictionary that the texts are in. buffers: how many it has.
    """

    name: str
    kind: str
    dtype: str = ""
    us: int = 1
    aware: bool = False
    dictionary: int | None = None
    buffers: int
    variadic: bool = False


@dataclass(slots=True, kw_only=True)
class _Parts:
    """A batch's buffers, taken one after the other. body: what they lie in."""

    rows: int
    body: memoryview
    nodes: Iterator[tuple[int, ...]]
    buffers: Iterator[tuple[int, ...]]
    variadic: Iterator[tuple[int, ...]]

    @classmethod
    def of(cls, batch: Table, body: memoryview) -> _Parts:
        if batch.table(3) is not None:
            raise DataError("its record batches are compressed; write it without compression")
        rows = batch.number(0, "<q")
        if rows < 0:
            raise DataError("a record batch has a negative number of rows")
        nodes, buffers, variadic = batch.numbers(1, each=2), batch.numbers(2, each=2), batch.numbers(4)
        return cls(rows=rows, body=body, nodes=iter(nodes), buffers=iter(buffers), variadic=iter(variadic))

    def taken(self, of: _Field) -> list[memoryview]:
        """The buffers of the next column. Raises DataError where they lie outside of the body, or are missing."""
        node = next(self.nodes, None)
        if node is None or node[0] != self.rows:
            raise DataError(f"column {_shown(of.name)} has not as many rows as its batch")
        count = of.buffers
        if of.variadic:
            more = next(self.variadic, (-1,))[0]
            if not 0 <= more <= len(self.body):
                raise DataError(f"column {_shown(of.name)} does not say how many buffers it has")
            count += more
        return [self._buffer(of) for _ in range(count)]

    def _buffer(self, of: _Field) -> memoryview:
        begin, length = next(self.buffers, (-1, -1))
        if begin < 0 or length < 0 or begin + length > len(self.body):
            raise DataError(f"a buffer of column {_shown(of.name)} lies outside of its message")
        return self.body[begin : begin + length]


@dataclass(slots=True, kw_only=True)
class _Dictionary:
    rows: int
    buffers: list[memoryview]
    of: _Field


@dataclass(slots=True)
class _Reader:
    """A table in the making. wanted: the columns that are read; of the others only the names matter."""

    wanted: Collection[str]
    max_rows: int
    fields: list[_Field] = field(default_factory=list)
    dictionaries: dict[int, _Dictionary] = field(default_factory=dict)
    columns: dict[str, list[pl.Series]] = field(default_factory=dict)
    rows: int = 0
    pieces: int = 0
    text_bytes: int = 0

    def schema(self, schema: Table) -> None:
        if schema.number(0, "<h") != 0:
            raise DataError("its numbers are big-endian; write them little-endian")
        if (count := schema.count(1)) > MOST_COLUMNS:
            raise TooMuchData(
                f"it has {count:,} columns, which are more than {MOST_COLUMNS}; send those of the contract"
            )
        self.fields = [self._field(one) for one in schema.tables(1)]
        names = [one.name for one in self.fields]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise DataError(f"two columns are named {_shown(twice)}")
        self.columns = {name: [] for name in names if name in self.wanted}

    def _field(self, one: Table) -> _Field:
        name, kind, detail = one.text(0), one.number(2, "<B"), one.table(3)
        found = None if detail is None else _plain(name, kind, detail)
        if found is None:
            what = _NESTED.get(kind) or _SKIPPED.get(kind, ("unknown", 0))[0]
            plain = "numbers, booleans, texts or times"
            if kind not in _SKIPPED or name in self.wanted:
                raise DataError(f"column {_shown(name)} is of Arrow's type {what}; a column holds {plain}")
            return _Field(name=name, kind=what, buffers=_SKIPPED[kind][1], variadic=kind == 23)
        encoding = one.table(4)
        if encoding is None:
            return found
        if found.kind not in ("text", "large text", "text view"):
            raise DataError(f"column {_shown(name)} is a dictionary of something else than texts; write plain values")
        places = encoding.table(1)
        key = "<i4" if places is None else _INTS.get((places.number(0, "<i"), bool(places.number(1, "<?"))))
        if key is None:
            raise DataError(f"column {_shown(name)} is a dictionary whose places are no numbers")
        identity = encoding.number(0, "<q")
        self.dictionaries.setdefault(identity, _Dictionary(rows=0, buffers=[], of=found))
        return _Field(name=name, kind="dictionary", dtype=key, dictionary=identity, buffers=2)

    def dictionary(self, told: Table, body: memoryview) -> None:
        known, batch = self.dictionaries.get(told.number(0, "<q")), told.table(1)
        if known is None or batch is None:
            raise DataError("it has a dictionary of no column")
        if told.number(2, "<?"):
            raise DataError("its dictionaries come in several parts; write each whole")
        parts = _Parts.of(batch, body)
        known.rows, known.buffers = parts.rows, parts.taken(known.of)

    def batch(self, batch: Table, body: memoryview) -> None:
        parts = _Parts.of(batch, body)
        self.rows += parts.rows
        self.pieces += len(self.fields)
        if self.rows > self.max_rows:
            raise TooMuchData(f"it has more than {self.max_rows:,} rows; send several requests")
        if self.pieces > _MOST_PIECES:
            raise TooMuchData("its rows come in too many record batches; write them in one")
        for one in self.fields:
            buffers = parts.taken(one)
            if one.name in self.columns:
                self.columns[one.name].append(self._series(one, parts.rows, buffers))

    def _series(self, of: _Field, rows: int, buffers: list[memoryview]) -> pl.Series:
        if of.kind == "null":
            return pl.Series(of.name, [None] * rows, dtype=pl.Null)
        valid = _valid(of, rows, buffers[0])
        if of.kind == "bool":
            return _with_nulls(pl.Series(of.name, _bits(of, rows, buffers[1])), valid)
        if of.kind in ("number", "time", "dictionary"):
            values = _fixed(of, rows, buffers[1], of.dtype)
            if of.kind == "number":
                wide = values.astype("<f4" if of.dtype == "<f2" else of.dtype)  # a copy, where it is aligned
                return _with_nulls(pl.Series(of.name, wide), valid)
            if of.kind == "time":
                return _with_nulls(_times(of, values), valid)
            return self._from_dictionary(of, values, valid)
        every = np.arange(rows) if valid is None else np.flatnonzero(valid)
        return _spread(of.name, self._texts(of, rows, buffers, every), every, rows)

    def _from_dictionary(self, of: _Field, places: np.ndarray, valid: np.ndarray | None) -> pl.Series:
        assert of.dictionary is not None
        known = self.dictionaries[of.dictionary]
        every = np.arange(len(places)) if valid is None else np.flatnonzero(valid)
        used, which = np.unique(places[every], return_inverse=True)
        if len(used) and (used[0] < 0 or used[-1] >= known.rows):
            raise DataError(f"column {_shown(of.name)} has a place that its dictionary does not have")
        used = used.astype(np.int64)
        held = used[_valid_at(of, known.buffers[0], used)] if len(used) else used
        texts = dict(zip(held.tolist(), self._texts(known.of, known.rows, known.buffers, held), strict=True))
        found = [texts.get(place) for place in used.tolist()]
        lengths = np.array([0 if text is None else len(text) for text in found], np.int64)
        self._spend(of, int(lengths[which].sum()))
        return _spread(of.name, [found[place] for place in which.tolist()], every, len(places))

    def _texts(self, of: _Field, rows: int, buffers: list[memoryview], every: np.ndarray) -> list[str]:
        """The texts of some rows."""
        if not len(every):
            return []
        if of.kind == "text view":
            return self._viewed(of, rows, buffers, every)
        offsets = _fixed(of, rows + 1, buffers[1], "<i8" if of.kind == "large text" else "<i4")
        begins, ends = offsets[every].astype(np.int64), offsets[every + 1].astype(np.int64)
        if (begins < 0).any() or (ends < begins).any() or (ends > len(buffers[2])).any():
            raise DataError(f"a text of column {_shown(of.name)} lies outside of its buffer")
        ends = np.minimum(ends, begins + _LONGEST_TEXT)
        self._spend(of, int((ends - begins).sum()))
        first, last = int(begins.min()), int(ends.max())
        raw = bytes(buffers[2][first:last])
        spans = zip((begins - first).tolist(), (ends - first).tolist(), strict=True)
        if raw.isascii():
            whole = raw.decode("ascii")
            return [whole[begin:end] for begin, end in spans]
        return [_decoded(of, raw[begin:end]) for begin, end in spans]

    def _viewed(self, of: _Field, rows: int, buffers: list[memoryview], every: np.ndarray) -> list[str]:
        """Texts of up to 12 bytes lie in their view; of longer ones it says in which buffer they are, and where."""
        views = _fixed(of, 4 * rows, buffers[1], "<i4").reshape(rows, 4)[every]
        data, lengths = buffers[2:], views[:, 0]
        if (lengths < 0).any():
            raise DataError(f"a text of column {_shown(of.name)} has a negative length")
        self._spend(of, int(np.minimum(lengths.astype(np.int64), _LONGEST_TEXT).sum()))
        inline = views[:, 1:].tobytes()
        found = []
        for n, (length, _, buffer, begin) in enumerate(views.tolist()):
            if length <= 12:
                raw = inline[12 * n : 12 * n + length]
            elif 0 <= buffer < len(data) and 0 <= begin <= len(data[buffer]) - length:
                raw = bytes(data[buffer][begin : begin + min(length, _LONGEST_TEXT)])
            else:
                raise DataError(f"a text of column {_shown(of.name)} lies outside of its buffer")
            found.append(_decoded(of, raw))
        return found

    def _spend(self, of: _Field, size: int) -> None:
        self.text_bytes += size
        if self.text_bytes > _TEXT_BYTES:
            raise TooMuchData(f"with column {_shown(of.name)} its texts are more than {_TEXT_BYTES:,} bytes")

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame([parts[0] if len(parts) == 1 else _joined(parts) for parts in self.columns.values()])


def read_arrow(data: bytes, *, wanted: Collection[str], max_rows: int) -> tuple[pl.DataFrame, tuple[str, ...], int]:
    """The wanted columns of an Arrow stream or file, the names of all, and how many rows there are.

    Columns hold numbers, booleans, texts (plain, as views, in a dictionary) or times; a naive time stays naive, another
    is UTC's, both in microseconds. Raises DataError (TooMuchData) with
    what is wrong, whatever the bytes are.
    """
    reader = _Reader(wanted, max_rows)
    seen = False
    for kind, header, body in _parts_of_file(data) if data.startswith(_FILE) else _parts_of_stream(data):
        if (kind == _SCHEMA) == seen:
            raise DataError("it does not begin with its schema, or has two")
        seen = True
        if kind == _SCHEMA:
            reader.schema(header)
        elif kind == _DICTIONARY:
            reader.dictionary(header, body)
        elif kind == _BATCH:
            reader.batch(header, body)
        else:
            raise DataError(f"it has a message of kind {kind}; a table is a schema, dictionaries and record batches")
    if not seen:
        raise DataError("it ends before its schema")
    columns = reader.frame() if reader.rows else pl.DataFrame()
    return columns, tuple(one.name for one in reader.fields), reader.rows


def _parts_of_stream(data: bytes) -> Iterator[tuple[int, Table, memoryview]]:
    """Kind, header and body of each message of a stream."""
    at, count = 0, 0
    while at < len(data):
        if data[at + 4 : at + 8] == b"\0\0\0\0" and data[at : at + 4] == _CONTINUED:
            return
        kind, header, body, at = _message(data, at)
        yield kind, header, body
        count += 1
        if count > _MOST_PIECES:
            raise TooMuchData("it has too many messages; write its rows in one record batch")


def _parts_of_file(data: bytes) -> Iterator[tuple[int, Table, memoryview]]:
    """The same of a file, whose end says where everything is."""
    end = len(data) - 10
    length = int.from_bytes(data[end : end + 4], "little")
    if end < 8 or data[end + 4 :] != _FILE[:6] or length > end:
        raise DataError("the file is cut off")
    footer = root(data[end - length : end])
    schema = footer.table(1)
    if schema is None:
        raise DataError("the file has no schema")
    yield _SCHEMA, schema, memoryview(b"")
    for blocks in (2, 3):  # dictionaries, record batches
        for at, _, _ in footer.numbers(blocks, each=3):
            yield _message(data, at)[:3]


def _message(data: bytes, at: int) -> tuple[int, Table, memoryview, int]:
    """Kind, header and body of the message there, and where it ends."""
    if at < 0 or data[at : at + 4] != _CONTINUED or at + 8 > len(data):
        raise DataError(f"byte {at:,} begins no message")
    length = int.from_bytes(data[at + 4 : at + 8], "little", signed=True)
    begin = at + 8 + length
    if length <= 0 or begin > len(data):
        raise DataError(f"the message at byte {at:,} is cut off")
    message = root(data[at + 8 : begin])
    size, header = message.number(3, "<q"), message.table(2)
    if size < 0 or begin + size > len(data):
        raise DataError(f"the message at byte {at:,} is cut off")
    if header is None:
        raise DataError(f"the message at byte {at:,} has no header")
    return message.number(1, "<B"), header, memoryview(data)[begin : begin + size], begin + size


def _plain(name: str, kind: int, detail: Table) -> _Field | None:
    """The field of a type that is read; None of another one."""
    dtype: str | None = None
    if kind == 1:
        return _Field(name=name, kind="null", buffers=0)
    if kind == 6:
        return _Field(name=name, kind="bool", buffers=2)
    if kind in (5, 20, 24):
        told = {5: "text", 20: "large text", 24: "text view"}[kind]
        return _Field(name=name, kind=told, buffers=_BUFFERS[told], variadic=kind == 24)
    if kind == 2:
        dtype = _INTS.get((detail.number(0, "<i"), bool(detail.number(1, "<?"))))
    elif kind == 3:
        precision = detail.number(0, "<h")
        dtype = _FLOATS[precision] if 0 <= precision < 3 else None
    elif kind == 8:
        days = detail.number(0, "<h", 1) == 0
        return _Field(name=name, kind="time", dtype="<i4" if days else "<i8", us=_DAY_US if days else 1_000, buffers=2)
    elif kind == 10:
        unit = detail.number(0, "<h")
        if 0 <= unit <= 3:
            us = _UNIT_US[unit] if unit < 3 else 0
            return _Field(name=name, kind="time", dtype="<i8", us=us, aware=bool(detail.text(1)), buffers=2)
    return None if dtype is None else _Field(name=name, kind="number", dtype=dtype, buffers=2)


def _fixed(of: _Field, count: int, buffer: memoryview, dtype: str) -> np.ndarray:
    """Values of one width. Raises DataError where the buffer holds fewer."""
    if count * np.dtype(dtype).itemsize > len(buffer):
        raise DataError(f"a buffer of column {_shown(of.name)} is shorter than its rows")
    return np.frombuffer(buffer, dtype, count=count)


def _bits(of: _Field, rows: int, buffer: memoryview) -> np.ndarray:
    packed = _fixed(of, (rows + 7) // 8, buffer, "u1")
    return np.unpackbits(packed, count=rows, bitorder="little").astype(bool)


def _valid(of: _Field, rows: int, buffer: memoryview) -> np.ndarray | None:
    """Which rows have a value; None where all have. A bitmap may be left out then."""
    if not len(buffer):
        return None
    found = _bits(of, rows, buffer)
    return None if found.all() else found


def _valid_at(of: _Field, buffer: memoryview, places: np.ndarray) -> np.ndarray:
    """Which of some places have a value."""
    if not len(buffer):
        return np.ones(len(places), bool)
    packed = _fixed(of, int(places.max()) // 8 + 1, buffer, "u1")
    found: np.ndarray = (packed[places >> 3] >> (places & 7).astype(np.uint8)) & 1 == 1
    return found


def _with_nulls(values: pl.Series, valid: np.ndarray | None) -> pl.Series:
    return values if valid is None else values.set(pl.Series(~valid), None)


def _times(of: _Field, values: np.ndarray) -> pl.Series:
    """Microseconds; what lies outside the years 1 to 9999 is cut to them, where no row's time may lie anyway."""
    whole = values.astype(np.int64)
    whole = whole // 1_000 if of.us == 0 else np.clip(whole, _FIRST_US // of.us, _LAST_US // of.us) * of.us
    times = pl.Series(of.name, np.clip(whole, _FIRST_US, _LAST_US)).cast(pl.Datetime("us"))
    return times.dt.replace_time_zone("UTC") if of.aware else times


def _spread(name: str, texts: Sequence[str | None], at: np.ndarray, rows: int) -> pl.Series:
    """A column of texts, null where none is given. at: where each text belongs."""
    if len(at) == rows:
        return pl.Series(name, texts, dtype=pl.String)
    values: list[str | None] = [None] * rows
    for place, text in zip(at.tolist(), texts, strict=True):
        values[place] = text
    return pl.Series(name, values, dtype=pl.String)


def _joined(parts: Sequence[pl.Series]) -> pl.Series:
    return pl.concat(parts, rechunk=True)


def _decoded(of: _Field, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if len(raw) == _LONGEST_TEXT:  # it was cut, perhaps within a letter
            return raw.decode(errors="replace")
        raise DataError(f"a text of column {_shown(of.name)} is not UTF-8") from error


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:59]}…")
