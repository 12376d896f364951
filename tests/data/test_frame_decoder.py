"""A table is decoded as the same rows of JSON are: the same columns to the bit, the same sentences."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import Column, Contract, Decoder, FrameDecoder, TableRows, read_arrow

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
NAIVE = datetime(2025, 1, 1, tzinfo=UTC).replace(tzinfo=None)
COLUMNS = (
    Column(name="payment_id", type="string", role="id"),
    Column(name="card", type="string", role="entity"),
    Column(name="paid_at", type="datetime", role="time"),
    Column(name="amount", type="float", role="feature", minimum=0.0, maximum=1e6),
    Column(name="free", type="float", role="feature", nullable=True),
    Column(name="items", type="int", role="feature", nullable=True, minimum=-5.0),
    Column(name="count", type="int", role="feature"),
    Column(name="online", type="bool", role="feature", nullable=True),
    Column(name="country", type="string", role="feature", nullable=True, categories=("AT", "DE")),
    Column(name="since", type="datetime", role="input", nullable=True),
    Column(name="fraud", type="bool", role="target"),
)
CONTRACT = Contract(columns=COLUMNS, timezone="Europe/Berlin")
COUNTED = Contract(
    columns=(Column(name="Time", type="float", role="time"), Column(name="a", type="int", role="feature")),
    time_unit="s",
    time_origin="2024-09-01T00:00:00+00:00",
)
WANTED = [*(column.name for column in COLUMNS), "id"]

whole = st.integers(-10, 10) | st.integers(-(2**63), 2**63 - 1)
number = st.floats(0, 100) | st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 7.0, 1e300, math.inf])
text = st.sampled_from(["AT", "DE", "x", "", "Ä" * 10_001, "2025-05-01T10:00:00Z", "2025-05-01", "pay_1", "no id"])
moment = st.datetimes(NAIVE, NAIVE.replace(year=2026))
CHOICES: dict[pl.DataType, Any] = {
    pl.Float64(): number,
    pl.Float32(): st.floats(0, 100, width=32) | st.sampled_from([math.inf, 3.0]),
    pl.Int64(): whole,
    pl.Int8(): st.integers(-128, 127),
    pl.UInt64(): st.integers(0, 2**64 - 1) | st.integers(0, 9),
    pl.Boolean(): st.booleans(),
    pl.String(): text,
    pl.Categorical(): text,
    pl.Datetime("us"): moment,
    pl.Datetime("us", "UTC"): moment.map(lambda at: at.replace(tzinfo=UTC)),
}
FITTING: dict[str, list[pl.DataType]] = {
    "payment_id": [pl.String(), pl.Int64()],
    "card": [pl.String(), pl.Int8()],
    "paid_at": [pl.Datetime("us", "UTC"), pl.Datetime("us"), pl.String()],
    "amount": [pl.Float64(), pl.Float32(), pl.Int64()],
    "free": [pl.Float64(), pl.Float32(), pl.UInt64()],
    "items": [pl.Int64(), pl.Int8(), pl.Float64()],
    "count": [pl.Int64(), pl.Int8(), pl.Float32()],
    "online": [pl.Boolean()],
    "country": [pl.String(), pl.Categorical()],
    "since": [pl.Datetime("us"), pl.String()],
    "id": [pl.String()],
}


@st.composite
def tables(draw: Any) -> pl.DataFrame:
    """Tables that mostly fit the contract, column by column; a column may be missing, or of any other type."""
    rows = draw(st.integers(1, 6))
    columns = []
    for name in WANTED:
        if name == "fraud" or draw(st.integers(0, 15 if name != "id" else 1)) == 0:
            continue
        odd = draw(st.integers(0, 11)) == 0
        dtype = draw(st.sampled_from([*CHOICES] if odd else FITTING[name]))
        values = st.lists(CHOICES[dtype], min_size=rows, max_size=rows)
        if draw(st.integers(0, 3)) == 0:
            values = st.lists(st.none() | CHOICES[dtype], min_size=rows, max_size=rows)
        columns.append(pl.Series(name, draw(values), dtype=dtype))
    return pl.DataFrame(columns) if columns else pl.DataFrame({"other": [1] * rows})


def as_json(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The table as the rows that somebody would send in JSON."""

    def value(of: Any) -> Any:
        if isinstance(of, datetime):
            return of.isoformat().replace("+00:00", "Z")
        return of

    return [{name: value(of) for name, of in row.items()} for row in frame.iter_rows(named=True)]


def sent(frame: pl.DataFrame) -> TableRows:
    """The table after a way as Arrow."""
    written = io.BytesIO()
    frame.write_ipc_stream(written)
    found, names, rows = read_arrow(written.getvalue(), wanted=[*WANTED, "Time", "a"], max_rows=10_000)
    return TableRows(found, rows=rows, names=names)


def assert_same(contract: Contract, frame: pl.DataFrame, now: datetime | None) -> None:
    expected = Decoder(contract).decode(as_json(frame), now=now)
    found = FrameDecoder(contract).decode_table(sent(frame), now=now)
    assert [(one.index, one.column, one.sentence) for one in found.problems] == [
        (one.index, one.column, one.sentence) for one in expected.problems
    ]
    assert list(found.kept) == list(expected.kept)
    assert found.frame.equals(expected.frame)
    assert found.frame.schema == expected.frame.schema
    for name, values in expected.columns.items():
        assert list(found.columns[name]) == list(values), name


@settings(max_examples=250, deadline=None)
@given(tables())
def test_a_table_is_decoded_as_its_rows_are(frame: pl.DataFrame) -> None:
    assert_same(CONTRACT, frame, NOW)


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Int64, pl.Float32, pl.String])
@pytest.mark.parametrize("now", [None, NOW])
@pytest.mark.parametrize("bad", [None, -1e9, 1e18, 7.5])
def test_times_that_are_counted_are_read_as_in_json(dtype: Any, now: datetime | None, bad: float | None) -> None:
    times = pl.Series("Time", [0.5, 1.5, 86_400.0, 1e7, bad]).cast(dtype)
    assert_same(COUNTED, pl.DataFrame({"Time": times, "a": range(5)}), now)
    assert_same(COUNTED, pl.DataFrame({"Time": times[:3], "a": range(3)}), now)


def test_local_times_that_are_there_twice_or_never_are_told() -> None:
    start = NAIVE.replace(year=2024, month=10, day=27, hour=1, minute=30)
    spring = NAIVE.replace(year=2024, month=3, day=31, hour=2, minute=30)
    times = [start, start + timedelta(hours=1), spring, start + timedelta(hours=3)]
    frame = pl.DataFrame({"payment_id": list("abcd"), "card": list("abcd"), "paid_at": times, "amount": [1.0] * 4})
    frame = frame.with_columns(count=pl.lit(1))
    assert_same(CONTRACT, frame, NOW)
    problems = FrameDecoder(CONTRACT).decode_table(sent(frame), now=NOW).problems
    assert [(one.index, "is there twice" in one.sentence, "does not exist" in one.sentence) for one in problems] == [
        (1, True, False), (2, False, True),
    ]  # fmt: skip


def test_a_nan_is_missing_as_elsewhere() -> None:
    frame = pl.DataFrame({"Time": [1.0, 2.0], "a": [1.0, float("nan")]})
    problems = FrameDecoder(COUNTED).decode_table(sent(frame), now=NOW).problems
    assert [(one.index, one.sentence) for one in problems] == [(1, "row 1: a: null is not allowed")]
    assert json.dumps([one.value for one in problems]) == "[null]"
