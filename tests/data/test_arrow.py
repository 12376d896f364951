"""Arrow from strangers: what Polars writes is read as it reads it itself, and bytes of any kind end in a sentence."""

from __future__ import annotations

import io
import random
import struct
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from everloop.data import read_arrow
from everloop.errors import DataError, TooMuchData

TEN = datetime(2025, 1, 1, 10, tzinfo=UTC).replace(tzinfo=None)
LONG = "a text that is longer than a view"
FRAME = pl.DataFrame(
    {
        "f64": [1.5, None, float("inf")],
        "f32": pl.Series([0.1, None, 3.0], dtype=pl.Float32),
        **{f"i{bits}": pl.Series([1, None, 100], dtype=getattr(pl, f"Int{bits}")) for bits in (8, 16, 32, 64)},
        **{f"u{bits}": pl.Series([1, 2, 200], dtype=getattr(pl, f"UInt{bits}")) for bits in (8, 16, 32, 64)},
        "flag": [True, None, False],
        "text": ["AT", LONG, None],
        "umlaut": ["Ä", "grün und länger als zwölf", ""],
        "category": pl.Series([LONG, "x", None], dtype=pl.Categorical),
        "enum": pl.Series(["b", "a", "b"], dtype=pl.Enum(["a", "b"])),
        "naive": [TEN, None, TEN.replace(year=1969)],
        "milli": pl.Series([TEN] * 3, dtype=pl.Datetime("ms", "Europe/Berlin")),
        "nano": pl.Series([TEN] * 3, dtype=pl.Datetime("ns", "UTC")),
        "day": [date(2025, 1, 1), None, date(1900, 1, 1)],
        "nothing": pl.Series([None, None, None], dtype=pl.Null),
    }
)
WHOLE = {"wanted": FRAME.columns, "max_rows": 100}


def stream(frame: pl.DataFrame, **how: Any) -> bytes:
    written = io.BytesIO()
    frame.write_ipc_stream(written, **how)
    return written.getvalue()


def file(frame: pl.DataFrame, **how: Any) -> bytes:
    written = io.BytesIO()
    frame.write_ipc(written, **how)
    return written.getvalue()


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """As the reader has it: texts plain, times in microseconds, UTC's where they have a zone."""
    found = []
    for column in frame:
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        elif column.dtype == pl.Date:
            column = column.cast(pl.Datetime("us"))
        elif isinstance(column.dtype, pl.Datetime):
            zone = None if column.dtype.time_zone is None else "UTC"
            column = column.cast(pl.Datetime("us", column.dtype.time_zone))
            column = column if zone is None else column.dt.convert_time_zone(zone)
        found.append(column)
    return pl.DataFrame(found)


@pytest.mark.parametrize("write", [stream, file])
@pytest.mark.parametrize("level", [pl.CompatLevel.oldest(), pl.CompatLevel.newest()])
def test_what_polars_writes_is_read_as_it_was(write: Any, level: Any) -> None:
    found, names, rows = read_arrow(write(FRAME, compat_level=level), **WHOLE)
    assert (rows, names) == (3, tuple(FRAME.columns))
    assert found.equals(plain(FRAME))
    assert found.schema == plain(FRAME).schema


def test_batches_follow_each_other_and_only_what_is_wanted_is_read() -> None:
    frame = pl.concat([FRAME] * 400, rechunk=True)
    written = io.BytesIO()
    frame.write_ipc(written, record_batch_size=100)
    found, names, rows = read_arrow(written.getvalue(), wanted=["text", "i8", "category", "gone"], max_rows=2000)
    assert (rows, set(found.columns), len(names)) == (1200, {"i8", "text", "category"}, len(FRAME.columns))
    assert found.equals(plain(frame.select(found.columns)))
    unread = pl.DataFrame({"a": [1], "raw": [b"x"], "span": [timedelta(1)]})
    assert read_arrow(stream(unread), wanted=["a"], max_rows=1)[0].columns == ["a"]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"a": [[1]]}), "column 'a' is of Arrow's type large list"),
        (pl.DataFrame({"a": [{"b": 1}]}), "column 'a' is of Arrow's type struct"),
        (pl.DataFrame({"text": [b"x"]}), "column 'text' is of Arrow's type binary view"),
        (pl.DataFrame({"text": [timedelta(1)]}), "column 'text' is of Arrow's type duration"),
        (pl.DataFrame({f"c{n}": [1] for n in range(600)}), "it has 600 columns, which are more than 512"),
        (pl.DataFrame({"a": range(101)}), "it has more than 100 rows"),
    ],
)
def test_what_is_no_plain_table_is_told(frame: pl.DataFrame, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_arrow(stream(frame), **WHOLE)


@pytest.mark.parametrize("how", ["lz4", "zstd"])
def test_compressed_batches_are_refused(how: str) -> None:
    with pytest.raises(DataError, match="are compressed"):
        read_arrow(stream(pl.DataFrame({"f64": [0.0] * 50}), compression=how), **WHOLE)


@pytest.mark.parametrize("cut", [0, 3, 8, 100, 2000, -60])
def test_what_is_cut_off_is_told(cut: int) -> None:
    with pytest.raises(DataError):
        read_arrow(stream(FRAME)[:cut], **WHOLE)


def test_many_texts_in_the_same_few_bytes_are_bounded() -> None:
    frame = pl.DataFrame({"text": pl.Series(["x" * 60_000] * 5_000, dtype=pl.Categorical)})
    with pytest.raises(TooMuchData, match="its texts are more than 64,000,000 bytes"):
        read_arrow(stream(frame), wanted=["text"], max_rows=10_000)
    few, _, _ = read_arrow(stream(frame.head(3)), wanted=["text"], max_rows=10_000)
    assert 10_000 < few["text"].str.len_chars().max() < 60_000, "cut, and still too long for any contract"


# What is written over a place: the lengths, offsets and counts that end processes which trust them.
HOSTILE = [
    struct.pack("<q", number)
    for number in (-1, -(2**63), 2**63 - 1, 2**40, 2**33, 2**31, 2**31 - 1, 65_535, 12, 1, 0)
]  # fmt: skip


def test_bytes_of_any_kind_end_in_a_sentence_or_a_table() -> None:
    chance = random.Random(7)
    bases = [write(FRAME, compat_level=level) for write in (stream, file) for level in (None, pl.CompatLevel.oldest())]
    ends = {"read": 0, "refused": 0}
    for _ in range(1_500):
        raw = bytearray(chance.choice(bases))
        for _ in range(chance.choice([1, 1, 2, 4])):
            at, what = chance.randrange(len(raw)), chance.randrange(4)
            if what == 0:
                raw[at] ^= 1 << chance.randrange(8)
            elif what == 1:
                number = chance.choice(HOSTILE)[: chance.choice([2, 4, 8])]
                raw[at : at + len(number)] = number
            elif what == 2:
                other = chance.randrange(len(raw))
                raw[at : at + 8] = raw[other : other + 8]
            else:
                del raw[at:]
                break
        try:
            found, _, rows = read_arrow(bytes(raw), **WHOLE)
            assert found.width == 0 or found.height == rows <= 100
            ends["read"] += 1
        except DataError:
            ends["refused"] += 1
    assert min(ends.values()) > 100, ends


def test_times_beyond_all_years_are_cut_to_them() -> None:
    times = pl.DataFrame({"t": pl.Series([-(2**62), 2**62], dtype=pl.Int64).cast(pl.Datetime("ms"))})
    found, _, _ = read_arrow(stream(times), wanted=["t"], max_rows=2)
    assert [at.replace(tzinfo=UTC) for at in found["t"]] == [
        datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC, microsecond=999_000),
    ]  # fmt: skip
