"""Sources: what can be read, and one sentence about what cannot."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest

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


def test_an_object_store_is_read_with_its_options_or_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "us-east-1"}
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        client.create_bucket(Bucket="pay")
        for name, data in (("1.parquet", _parquet(FRAME[:1])), ("2.parquet", _parquet(FRAME[1:]))):
            client.put_object(Bucket="pay", Key=f"scored/{name}", Body=data)
        options = keys | {"aws_endpoint_url": url, "aws_allow_http": "true"}
        source, root = "s3://pay/scored/*.parquet", Path()
        wanted = rows_hash(FRAME)
        assert rows_hash(collect(scan(source, root=root, storage_options=options), source)) == wanted
        with pytest.raises(SourceError, match="no file matches s3://pay/none"):
            scan("s3://pay/none/*.parquet", root=root, storage_options=options)
        for name, value in options.items():
            monkeypatch.setenv(name.upper(), value)
        assert rows_hash(collect(scan(source, root=root), source)) == wanted
    finally:
        server.stop()


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_content_hash_sees_values_nulls_names_and_order_but_not_chunks() -> None:
    wanted = rows_hash(FRAME)
    assert rows_hash(pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)) == wanted
    others = [FRAME.reverse(), FRAME.rename({"a": "c"}), FRAME.fill_null(""), FRAME.cast({"a": pl.Float64}), FRAME[:2]]
    assert len({wanted, *map(rows_hash, others)}) == 6
