"""Sources: what can be read, and one sentence about what cannot."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from everloop.data import collect, rows_hash, scan
from everloop.data.source import source_error
from everloop.errors import SourceError

from ..object_store import object_store

FRAME = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})


def test_csv_parquet_folders_and_globs_give_the_same_rows(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "one.csv")
    FRAME.write_csv(tmp_path / "one.tsv", separator="\t")
    FRAME.write_parquet(tmp_path / "one.parquet")
    (tmp_path / "parts" / "day=1").mkdir(parents=True)
    FRAME[:1].write_parquet(tmp_path / "parts" / "a.parquet")
    FRAME[1:].write_parquet(tmp_path / "parts" / "b.parquet")
    FRAME.write_delta(str(tmp_path / "table"))
    wanted = rows_hash(FRAME)
    for source in ("one.csv", "one.tsv", "one.parquet", "parts", "parts/*.parquet", "table", str(tmp_path / "one.csv")):
        assert rows_hash(collect(scan(source, root=tmp_path), source).sort("a")) == wanted, source


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.csv", None, "does not exist"),
        ("gone/*.csv", None, "no file matches"),
        ("empty.csv", b"", "is empty"),
        ("empty.parquet", b"", "is empty"),
        ("broken.parquet", b"PAR1 not really", "cannot be read"),
        ("rows.xlsx", b"PK", "of no known kind"),
    ],
)
def test_an_unreadable_source_is_one_sentence(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        scan(name, root=tmp_path)
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_nothing_and_a_file_broken_further_down(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match=r"a folder without"):
        scan("none", root=tmp_path)
    (tmp_path / "late.csv").write_text("a\n" + "1\n" * 20_000 + "word\n")
    with pytest.raises(SourceError, match=r"late\.csv cannot be read") as caught:
        collect(scan("late.csv", root=tmp_path), "late.csv")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """The options of an object store over HTTP that holds the frame in every form."""
    with object_store("pay") as made:
        for place, part in (("1", FRAME[:1]), ("2", FRAME[1:])):
            made.put(f"parts/{place}.parquet", _parquet(part))
            made.put(f"csv/{place}.csv", part.write_csv().encode())
        made.put("one.csv", FRAME.write_csv().encode())
        made.put("one.parquet", _parquet(FRAME))
        made.put("broken.parquet", b"PAR1 not really")
        FRAME.write_delta("s3://pay/table", storage_options=made.options)
        FRAME.write_delta("s3://pay/table.v2", storage_options=made.options)
        yield made.options


IN_STORE = ["one.csv", "one.parquet", "csv/*.csv", "parts/*.parquet", "parts", "parts/", "table", "table/", "table.v2/"]


@pytest.mark.parametrize("name", IN_STORE)
def test_an_object_store_is_read_over_http(store: dict[str, str], name: str) -> None:
    source = f"s3://pay/{name}"
    rows = collect(scan(source, root=Path(), storage_options=store), source)
    assert rows_hash(rows.sort("a")) == rows_hash(FRAME)


@pytest.mark.parametrize("name", IN_STORE)
def test_an_object_store_is_found_by_the_standard_variables(
    store: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in store.items():
        monkeypatch.setenv(variable.upper(), value)
    source = f"s3://pay/{name}"
    assert rows_hash(collect(scan(source, root=Path()), source).sort("a")) == rows_hash(FRAME)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://pay/none/*.parquet", "no file matches"),
        ("s3://pay/none.csv", "does not exist"),
        ("s3://pay/none", "no file matches"),
        ("s3://nobody/rows.parquet", "does not exist"),
        ("s3://pay/broken.parquet", "cannot be read"),
        ("s3://pay/rows.xlsx", "of no known kind"),
    ],
)
def test_what_an_object_store_does_not_give_is_one_sentence(store: dict[str, str], address: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        collect(scan(address, root=Path(), storage_options=store), address)
    assert said in str(caught.value)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_without_keys_is_said_to_want_them() -> None:
    said = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 3s - HTTP error"
    sentence = str(source_error("s3://pay/table", OSError(said)))
    assert "without access keys; set AWS_ACCESS_KEY_ID" in sentence
    assert "pip install 'everloop[aws]'" in sentence


def test_a_store_over_plain_http_must_be_allowed(store: dict[str, str]) -> None:
    options = {name: value for name, value in store.items() if name != "aws_allow_http"}
    with pytest.raises(SourceError, match="s3://pay/table cannot be read over plain http; set AWS_ALLOW_HTTP=true"):
        scan("s3://pay/table", root=Path(), storage_options=options)


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_content_hash_sees_values_nulls_names_and_order_but_not_chunks() -> None:
    wanted = rows_hash(FRAME)
    assert rows_hash(pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)) == wanted
    others = [FRAME.reverse(), FRAME.rename({"a": "c"}), FRAME.fill_null(""), FRAME.cast({"a": pl.Float64}), FRAME[:2]]
    assert len({wanted, *map(rows_hash, others)}) == 6
