"""Sources: what can be read, and one sentence about what cannot."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from everloop.data import collect, rows_hash, scan
from everloop.errors import SourceError

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


KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "us-east-1"}


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """An object store on this machine, over HTTP, with the frame in every form; what it gives are the options."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        options = KEYS | {"aws_endpoint_url": url, "aws_allow_http": "true"}
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        client.create_bucket(Bucket="pay")
        for place, part in (("1", FRAME[:1]), ("2", FRAME[1:])):
            client.put_object(Bucket="pay", Key=f"parts/{place}.parquet", Body=_parquet(part))
            client.put_object(Bucket="pay", Key=f"csv/{place}.csv", Body=part.write_csv().encode())
        client.put_object(Bucket="pay", Key="one.csv", Body=FRAME.write_csv().encode())
        client.put_object(Bucket="pay", Key="one.parquet", Body=_parquet(FRAME))
        client.put_object(Bucket="pay", Key="broken.parquet", Body=b"PAR1 not really")
        FRAME.write_delta("s3://pay/table", storage_options=options)
        FRAME.write_delta("s3://pay/table.v2", storage_options=options)
        yield options
    finally:
        server.stop()


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
