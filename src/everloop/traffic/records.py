"""What is captured: a batch of predictions as the endpoint answered it, and the outcomes that come later.

A batch crosses the spool as one block of bytes, columns beside columns, so that capturing 20 or 10,000 rows is
one insert. Nothing in a block is executable: it is msgpack with raw arrays and Arrow inside.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec.structs import replace

from everloop.errors import TrafficError

__all__ = [
    "DECODE",
    "InputColumns",
    "OutcomeRecord",
    "PredictionBatch",
    "outcomes_without",
    "predictions_without",
    "row_digest",
    "row_digests",
    "storable",
]

_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
# Below it a float and a whole number of the same value are one number.
_WHOLE = 2.0**53
_ROW_ARRAYS: Final = ("event_time_us", "scores", "decisions", "answered", "propensities", "features")
_canonical = msgspec.json.Encoder(order="deterministic").encode
_as_given = msgspec.json.Encoder().encode
_UTC: Final = pl.Datetime("us", "UTC")
_KINDS: Final[Mapping[str, pl.DataType]] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
    "time": _UTC,
}
_KIND_OF: Final = {dtype: kind for kind, dtype in _KINDS.items()}
OutcomeValue = bool | int | float | str | None


def row_digest(row: Mapping[str, Any]) -> bytes:
    """The sha256 of a row's canonical JSON: what "the same row" means for a repeated prediction id.

    Neither the order of keys matters nor how a number is written (7, 7.0, 7e0); values do, to the last digit.
    """
    written: dict[str, Any] | None = None
    for name, value in row.items():
        if type(value) is float and value.is_integer() and -_WHOLE < value < _WHOLE:
            if written is None:
                written = dict(row)
            written[name] = int(value)
    return hashlib.sha256(_canonical(row if written is None else written)).digest()


def row_digests(rows: pl.DataFrame) -> list[bytes]:
    """`row_digest` of each row of a frame, in order: its fast twin, which looks at columns and sorts them once."""
    names = sorted(rows.columns)
    if not names:
        return [row_digest({})] * rows.height
    columns = [_whole_as_int(rows[name]) for name in names]
    return [
        hashlib.sha256(_as_given(dict(zip(names, row, strict=True)))).digest() for row in zip(*columns, strict=True)
    ]


def _whole_as_int(values: pl.Series) -> list[Any]:
    """A column's values, floats that are whole numbers as such."""
    found = values.to_list()
    if values.dtype.is_float():
        numbers = values.to_numpy()
        for place in np.flatnonzero((np.floor(numbers) == numbers) & (np.abs(numbers) < _WHOLE)):
            found[place] = int(found[place])
    return found


class InputColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by column as plain values: of a few rows this costs a tenth of a frame.

    kinds: as `kinds_of` gives them. values: one sequence a column, None where missing; times are microseconds since
        1970 UTC.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Sequence[Sequence[Any]]

    @staticmethod
    def kinds_of(dtypes: Iterable[pl.DataType]) -> tuple[str, ...]:
        """float, int, bool, string or time, for Float64, Int64, Boolean, String and Datetime("us", "UTC")."""
        return tuple(_KIND_OF[dtype] for dtype in dtypes)

    def __len__(self) -> int:
        return len(self.values[0]) if self.values else 0

    def take(self, rows: Sequence[int]) -> InputColumns:
        """These rows alone, in this order."""
        return replace(self, values=[[column[row] for row in rows] for column in self.values])

    def frame(self) -> pl.DataFrame:
        """The same as a frame."""
        columns = zip(self.names, self.kinds, self.values, strict=True)
        return pl.DataFrame([_series(name, _KINDS[kind], values) for name, kind, values in columns])


class PredictionBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one answer: `n` rows, scored by `v` live versions, `k` features.

    ids, digests, answers, entities, sides: length n. `digests` tell rows apart that come with the same id; `answers`
        are the bytes that were (or will be) given for each row, and are given again when the same row comes again.
    layout: what the digests were made over; two of different layouts cannot be compared, and count as the same row.
    event_time_us: shape (n,), int64, microseconds since 1970 UTC.
    versions, thresholds: length v; the version numbers that scored the rows, and their decision thresholds.
    scores: shape (n, v), float32. decisions: shape (n, v), bool: whether the score reached its threshold;
        kept as null where it has none, unless the version is in `decided`.
    decided: versions whose decisions are known though their threshold is not, as others gave them.
    answered: shape (n,), the column of `scores` whose answer was given. propensities: shape (n,), its probability.
    inputs: n rows, the contract's columns as they came. features: shape (n, k), float32, named by `feature_names`.
    """

    model: str
    routing_revision: int
    schema_version: int = 1
    ids: Sequence[str]
    digests: Sequence[bytes]
    answers: Sequence[bytes]
    event_time_us: npt.NDArray[np.int64]
    entities: Sequence[str | None]
    versions: tuple[int, ...]
    thresholds: tuple[float | None, ...]
    scores: npt.NDArray[np.float32]
    decisions: npt.NDArray[np.bool_]
    answered: npt.NDArray[np.integer[Any]]
    sides: Sequence[str]
    propensities: npt.NDArray[np.float64]
    inputs: pl.DataFrame | InputColumns
    feature_names: tuple[str, ...] = ()
    features: npt.NDArray[np.float32] | None = None
    layout: str = ""
    decided: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        n, v = len(self.ids), len(self.versions)
        sized = (self.digests, self.answers, self.event_time_us, self.entities, self.answered, self.sides)
        assert all(len(part) == n for part in sized)
        assert len(self.propensities) == n
        if isinstance(self.inputs, InputColumns):
            assert len(self.inputs) == n or not self.inputs.names
        else:
            assert self.inputs.height == n or self.inputs.width == 0
        assert self.scores.shape == self.decisions.shape == (n, v)
        assert len(self.thresholds) == v
        assert self.features is None or self.features.shape == (n, len(self.feature_names))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> PredictionBatch:
        """The batch of these rows alone, in this order."""
        index = np.asarray(rows, dtype=np.intp)
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            digests=[self.digests[i] for i in rows],
            answers=[self.answers[i] for i in rows],
            event_time_us=self.event_time_us[index],
            entities=[self.entities[i] for i in rows],
            scores=self.scores[index],
            decisions=self.decisions[index],
            answered=self.answered[index],
            sides=[self.sides[i] for i in rows],
            propensities=self.propensities[index],
            inputs=_taken(self.inputs, rows),
            features=None if self.features is None else self.features[index],
        )


def _taken(inputs: pl.DataFrame | InputColumns, rows: Sequence[int]) -> pl.DataFrame | InputColumns:
    if isinstance(inputs, InputColumns):
        return inputs.take(rows)
    return inputs[list(rows)] if inputs.width else inputs


class OutcomeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What turned out to be true of one prediction, or of all that an entity has at an event time.

    prediction_id: of which; None where it is told by `entity` and `event_time_us` (microseconds UTC), else None both.
    value: a number, a truth, a text, or None (as is NaN), which withdraws what was said before. name: of what; the
    target's column, or another thing that is observed. observed_at_us: when it was known, microseconds UTC.
    """

    prediction_id: str | None = None
    entity: str | None = None
    event_time_us: int | None = None
    name: str
    value: OutcomeValue
    observed_at_us: int
    source: str = ""

    def __post_init__(self) -> None:
        by_entity = self.entity is not None and self.event_time_us is not None
        assert by_entity if self.prediction_id is None else self.entity is None and self.event_time_us is None

    @property
    def _missing(self) -> bool:
        return self.value is None or (isinstance(self.value, float) and not math.isfinite(self.value))

    @property
    def number(self) -> float | None:
        """The value as a number: true is 1, a text has none."""
        return None if self._missing or isinstance(self.value, str) else float(self.value)  # type: ignore[arg-type]

    @property
    def text(self) -> str | None:
        """The value as text, as JSON writes it; a text is itself."""
        if self._missing:
            return None
        return self.value if isinstance(self.value, str) else msgspec.json.encode(self.value).decode()


class _Block(msgspec.Struct, frozen=True, array_like=True):
    """A `PredictionBatch` as it lies in the spool; arrays are little-endian bytes."""

    recorded_at_us: int
    routing_revision: int
    schema_version: int
    ids: list[str]
    event_time_us: bytes
    entities: list[str | None]
    versions: tuple[int, ...]
    thresholds: tuple[float | None, ...]
    scores: bytes
    decisions: bytes
    answered: bytes
    sides: list[str]
    propensities: bytes
    inputs: bytes | _Columns
    feature_names: tuple[str, ...]
    features: bytes
    decided: tuple[int, ...] = ()


class _Columns(msgspec.Struct, frozen=True, array_like=True):
    """`InputColumns` as they lie in the spool; kinds: as in `_KINDS`. Else inputs are an Arrow stream."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: list[list[Any]]


class _OutcomeBlock(msgspec.Struct, frozen=True, array_like=True):
    """Outcomes as they lie in the spool."""

    recorded_at_us: int
    outcomes: list[OutcomeRecord]


_encoder = msgspec.msgpack.Encoder()
_prediction_decoder = msgspec.msgpack.Decoder(_Block)
_outcome_decoder = msgspec.msgpack.Decoder(_OutcomeBlock)


def encode_predictions(batch: PredictionBatch, *, recorded_at_us: int) -> bytes:
    """The block of a batch."""
    features = b"" if batch.features is None else np.ascontiguousarray(batch.features, "<f4").tobytes()
    return _encoder.encode(
        _Block(
            recorded_at_us,
            batch.routing_revision,
            batch.schema_version,
            list(batch.ids),
            np.ascontiguousarray(batch.event_time_us, "<i8").tobytes(),
            list(batch.entities),
            batch.versions,
            batch.thresholds,
            np.ascontiguousarray(batch.scores, "<f4").tobytes(),
            np.ascontiguousarray(batch.decisions, np.bool_).tobytes(),
            np.ascontiguousarray(batch.answered, "<u2").tobytes(),
            list(batch.sides),
            np.ascontiguousarray(batch.propensities, "<f8").tobytes(),
            _stored_inputs(batch.inputs),
            batch.feature_names if batch.features is not None else (),
            features,
            tuple(sorted(batch.decided)),
        )
    )


def _stored_inputs(inputs: pl.DataFrame | InputColumns) -> bytes | _Columns:
    if isinstance(inputs, InputColumns):
        return _Columns(inputs.names, inputs.kinds, inputs.values)  # type: ignore[arg-type]
    stream = io.BytesIO()
    inputs.write_ipc_stream(stream)
    return stream.getvalue()


def encode_outcomes(outcomes: Sequence[OutcomeRecord], *, recorded_at_us: int) -> bytes:
    """The block of outcomes."""
    return _encoder.encode(_OutcomeBlock(recorded_at_us, list(outcomes)))


def recorded_at_us(head: bytes) -> int:
    """When a block was recorded, from its first 32 bytes: rows that wait may be many, and are not read for it."""
    start = {0xDC: 3, 0xDD: 5}.get(head[0], 1)  # msgpack's array of 16 and more fields, of 65,536 and more, of few
    size = {0xCC: 2, 0xD0: 2, 0xCD: 3, 0xD1: 3, 0xCE: 5, 0xD2: 5, 0xCF: 9, 0xD3: 9}.get(head[start], 1)
    return msgspec.msgpack.decode(head[start : start + size], type=int)


def decode_predictions(blocks: Sequence[bytes]) -> pl.DataFrame:
    """Blocks → the rows of the predictions table, in order; inputs as `in_NAME`, features as `f_NAME`."""
    frames = []
    run: list[_Block] = []
    for body in blocks:
        block = _decoded(_prediction_decoder, body)
        if run and (block.versions, block.feature_names) != (run[0].versions, run[0].feature_names):
            frames.append(_frame(run))
            run = []
        run.append(block)
    if run:
        frames.append(_frame(run))
    return pl.concat(frames, how="diagonal_relaxed")


def decode_outcomes(blocks: Sequence[bytes]) -> pl.DataFrame:
    """Blocks → the rows of the outcomes table, in order."""
    decoded = [_decoded(_outcome_decoder, body) for body in blocks]
    records = [(block.recorded_at_us, record) for block in decoded for record in block.outcomes]
    return pl.DataFrame(
        {
            "prediction_id": [record.prediction_id for _, record in records],
            "name": [record.name for _, record in records],
            "value": [record.text for _, record in records],
            "number": [record.number for _, record in records],
            "observed_at": [record.observed_at_us for _, record in records],
            "recorded_at": [recorded_at_us for recorded_at_us, _ in records],
            "source": [record.source for _, record in records],
            "entity": [record.entity for _, record in records],
            "event_time": [record.event_time_us for _, record in records],
        },
        schema={
            "prediction_id": pl.String,
            "name": pl.String,
            "value": pl.String,
            "number": pl.Float64,
            "observed_at": pl.Int64,
            "recorded_at": pl.Int64,
            "source": pl.String,
            "entity": pl.String,
            "event_time": pl.Int64,
        },
    ).with_columns(pl.col("observed_at", "recorded_at", "event_time").cast(pl.Datetime("us", "UTC")))


DECODE: Final[Mapping[str, Callable[[Sequence[bytes]], pl.DataFrame]]] = {
    "predictions": decode_predictions,
    "outcomes": decode_outcomes,
}
"""By kind: blocks → the rows of its table, in order. Raises TrafficError for what is no block."""


def predictions_without(body: bytes, entity: str) -> tuple[bytes | None, list[str]]:
    """A block without an entity's rows (None where none is left), and the ids of these; the same bytes without any."""
    block = _decoded(_prediction_decoder, body)
    gone = [identity for identity, one in zip(block.ids, block.entities, strict=True) if one == entity]
    kept = [place for place, one in enumerate(block.entities) if one != entity]
    if not gone or not kept:
        return (body, []) if not gone else (None, gone)
    rows = np.array(kept)

    def part(data: bytes) -> bytes:
        """The rows of an array whose first axis is the block's rows."""
        return np.frombuffer(data, np.uint8).reshape(len(block.ids), -1)[rows].tobytes() if data else data

    left = msgspec.structs.replace(
        block,
        ids=[block.ids[place] for place in kept],
        entities=[block.entities[place] for place in kept],
        sides=[block.sides[place] for place in kept],
        inputs=_inputs_of(block.inputs, kept),
        **{name: part(getattr(block, name)) for name in _ROW_ARRAYS},
    )
    return _encoder.encode(left), gone


def _inputs_of(inputs: bytes | _Columns, rows: Sequence[int]) -> bytes | _Columns:
    if isinstance(inputs, _Columns):
        return msgspec.structs.replace(inputs, values=[[column[row] for row in rows] for column in inputs.values])
    return _stored_inputs(pl.read_ipc_stream(inputs)[list(rows)])


def outcomes_without(body: bytes, ids: set[str], entity: str) -> tuple[bytes | None, int]:
    """A block without the outcomes of these predictions and those told by this entity, and how many these were.

    The block is None where none is left.
    """
    block = _decoded(_outcome_decoder, body)
    left = [one for one in block.outcomes if one.prediction_id not in ids and one.entity != entity]
    gone = len(block.outcomes) - len(left)
    if gone == 0:
        return body, 0
    return (_encoder.encode(msgspec.structs.replace(block, outcomes=left)) if left else None), gone


def _decoded(decoder: msgspec.msgpack.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise TrafficError(
            f"a block of the spool is not one that this version of everloop writes ({error}); "
            "it was left where it is. Move it with the version that wrote it"
        ) from error


def _joined(blocks: Sequence[_Block], field: str, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(b"".join(getattr(block, field) for block in blocks), dtype=dtype)


def _frame(blocks: Sequence[_Block]) -> pl.DataFrame:
    """Blocks that share versions and feature names → one frame."""
    sizes = [len(block.ids) for block in blocks]
    versions, names = blocks[0].versions, blocks[0].feature_names
    rows, width = sum(sizes), len(versions)
    scores = _joined(blocks, "scores", "<f4").reshape(rows, width)
    decisions = _joined(blocks, "decisions", "?").reshape(rows, width)
    answered = _joined(blocks, "answered", "<u2").astype(np.intp)
    every = np.arange(rows)
    repeated = np.repeat(np.arange(len(blocks)), sizes)
    thresholds = np.array([[np.nan if t is None else t for t in block.thresholds] for block in blocks])
    silent = np.array([[t is None for t in block.thresholds] for block in blocks])
    silent &= ~np.array([[version in block.decided for version in versions] for block in blocks])
    frame = pl.DataFrame(
        {
            "prediction_id": pl.Series([i for block in blocks for i in block.ids], dtype=pl.String),
            "event_time": _times(_joined(blocks, "event_time_us", "<i8")),
            "recorded_at": _times(np.array([block.recorded_at_us for block in blocks])[repeated]),
            "entity": pl.Series([e for block in blocks for e in block.entities], dtype=pl.String),
            "answered_version": pl.Series(np.array(versions, np.int32)[answered]),
            "side": pl.Series([s for block in blocks for s in block.sides], dtype=pl.String),
            "propensity": pl.Series(_joined(blocks, "propensities", "<f8")),
            "score": pl.Series(scores[every, answered]),
            "decision": _decided(decisions[every, answered], silent[repeated, answered]),
            "threshold": pl.Series(thresholds[repeated, answered]).fill_nan(None),
            "scores": _score_lists(versions, scores, decisions, silent[repeated]),
            "routing_revision": pl.Series(np.array([b.routing_revision for b in blocks], np.int64)[repeated]),
            "schema_version": pl.Series(np.array([b.schema_version for b in blocks], np.int32)[repeated]),
        }
    )
    parts = [frame, _inputs(blocks)]
    if names:
        matrix = _joined(blocks, "features", "<f4").reshape(rows, len(names))
        columns = {f"f_{name}": pl.Series(matrix[:, j]) for j, name in enumerate(names)}
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts, how="horizontal")


def _times(microseconds: npt.NDArray[np.int64]) -> pl.Series:
    return pl.Series(microseconds, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))


def _decided(decisions: npt.NDArray[np.bool_], silent: npt.NDArray[np.bool_]) -> pl.Series:
    """Decisions, null where nothing was decided; both of shape (n,)."""
    found, none = pl.Series("decision", decisions), pl.Series(silent)
    return found.set(none, None) if none.any() else found


def _score_lists(
    versions: tuple[int, ...],
    scores: npt.NDArray[np.float32],
    decisions: npt.NDArray[np.bool_],
    silent: npt.NDArray[np.bool_],
) -> pl.Series:
    """Scores, decisions and where there is none, shape (rows, versions) → one list of structs a row."""
    rows, width = scores.shape
    columns = {
        "version": np.tile(np.array(versions, np.int32), rows),
        "score": scores.ravel(),
        "decision": _decided(decisions.ravel(), silent.ravel()),
    }
    items = pl.DataFrame(columns).to_struct("scores")
    return items.reshape((rows, width)).cast(pl.List(items.dtype))


def _inputs(blocks: Sequence[_Block]) -> pl.DataFrame:
    """The inputs of all blocks, one after the other."""
    runs: list[list[bytes | _Columns]] = []
    for block in blocks:
        if runs and _shape(block.inputs) == _shape(runs[-1][0]):
            runs[-1].append(block.inputs)
        else:
            runs.append([block.inputs])
    frames = [frame for run in runs for frame in _read_run(run)]
    joined = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")
    # Series by series: an expression for each of many columns costs several times as much on frames this small.
    return pl.DataFrame([storable(column) for column in joined.get_columns() if column.dtype != pl.Null])


def _shape(inputs: bytes | _Columns) -> object:
    """What two blocks have in common whose inputs can be read as one."""
    return (inputs.names, inputs.kinds) if isinstance(inputs, _Columns) else _head(inputs)


def _read_run(run: Sequence[bytes | _Columns]) -> list[pl.DataFrame]:
    first = run[0]
    if not isinstance(first, _Columns):
        return _read([stream for stream in run if isinstance(stream, bytes)])
    columns = [block.values for block in run if isinstance(block, _Columns)]
    values = [list(chain.from_iterable(parts)) for parts in zip(*columns, strict=True)]
    return [InputColumns(names=first.names, kinds=first.kinds, values=values).frame()]


def _series(name: str, dtype: pl.DataType, values: Sequence[Any]) -> pl.Series:
    if dtype == _UTC:
        return pl.Series(name, values, dtype=pl.Int64).cast(_UTC)
    return pl.Series(name, values, dtype=dtype)


def _head(stream: bytes) -> bytes:
    """The schema message of an Arrow stream: a marker, its length, itself."""
    return stream[: 8 + int.from_bytes(stream[4:8], "little")]


def _read(streams: Sequence[bytes]) -> list[pl.DataFrame]:
    """Arrow streams of one schema → their frames, read as one stream of many batches where that can be."""
    first = pl.read_ipc_stream(streams[0])
    if len(streams) == 1:
        return [first]
    if any(dtype in (pl.Categorical, pl.Enum) for dtype in first.dtypes):
        # Dictionaries come once in a stream.
        return [first, *(pl.read_ipc_stream(stream) for stream in streams[1:])]
    head = len(_head(streams[0]))
    batches = [stream[head : -len(_END_OF_STREAM)] for stream in streams]
    assert all(stream.endswith(_END_OF_STREAM) for stream in streams)
    return [pl.read_ipc_stream(b"".join((streams[0][:head], *batches, _END_OF_STREAM)))]


def storable(column: pl.Series) -> pl.Series:
    """An input as one of the few types the log holds, so that a contract's detail does not split a column."""
    dtype = column.dtype
    if dtype.is_integer():
        column = column.cast(pl.Int64)
    elif dtype.is_numeric():
        column = column.cast(pl.Float64)
    elif isinstance(dtype, pl.Datetime):
        utc = column if dtype.time_zone is not None else column.dt.replace_time_zone("UTC")
        column = utc.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    elif dtype not in (pl.Boolean, pl.Date, pl.String):
        column = column.cast(pl.String)
    return column.alias(f"in_{column.name}")
