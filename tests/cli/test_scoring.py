"""`everloop score`: files as before, and with `--new` what is new, as a run that `run show` tells of."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ..object_store import object_store
from ..production.scorer import SCORE, copied, logged, new_rows, table, trained_shop
from .terminal import everloop


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_shop(tmp_path_factory.mktemp("scoring") / "shop")


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return copied(trained, tmp_path / "shop")


def test_what_is_new_is_scored_and_told(root: Path) -> None:
    new_rows(30, seed=1).write_parquet(root / "incoming" / "a.parquet")
    done = everloop("score", "--new", cwd=root)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert "30 of 1 file" in done.out
    shown = everloop("run", "show", cwd=root)
    assert shown.code == 0, shown.err
    for step in ("plan", "score", "write", "capture", "record"):
        assert step in shown.out
    again = everloop("score", "fraud", "--new", "--json", cwd=root)
    assert (again.code, again.json["rows"], again.json["sentence"]) == (0, 0, "nothing is new in incoming")
    (root / "incoming" / "b.parquet").write_bytes(b"no parquet")
    refused = everloop("score", "--new", "--json", cwd=root)
    assert refused.code == 3
    assert refused.json["status"] == "finished"
    assert refused.json["refused"][0].startswith("incoming/b.parquet: ")
    assert table(root).height == logged(root).height == 30


def test_a_run_may_be_left_to_a_worker_and_resumed_by_hand(root: Path) -> None:
    new_rows(5, seed=1).write_parquet(root / "incoming" / "a.parquet")
    detached = everloop("score", "--new", "--detach", cwd=root)
    assert detached.code == 0, detached.err
    run = detached.out.strip()
    resumed = everloop("run", "resume", run, "--json", cwd=root)
    assert (resumed.code, resumed.json["run"], resumed.json["rows"]) == (0, run, 5), resumed.err


def test_a_file_is_scored_as_before_and_what_makes_no_sense_is_said(root: Path) -> None:
    new_rows(5, seed=1).write_parquet(root / "a.parquet")
    done = everloop("score", "a.parquet", "out.parquet", cwd=root)
    assert done.code == 0, done.err
    assert pl.read_parquet(root / "out.parquet").height == 5
    assert everloop("score", "a.parquet", cwd=root).code == 2
    assert everloop("score", "fraud", "out.parquet", "--new", cwd=root).code == 2
    (root / "fraud" / "model.yaml").write_text((root / "fraud" / "model.yaml").read_text().replace(SCORE, ""))
    without = everloop("score", "--new", cwd=root)
    assert without.code == 2
    assert "fraud/model.yaml has no score.source" in without.err


def test_from_an_object_store_into_one(root: Path, tmp_path: Path) -> None:
    with object_store("shop") as store:
        text = (root / "fraud" / "model.yaml").read_text()
        there = "score: {source: s3://shop/incoming, target: s3://shop/scored}\n"
        (root / "fraud" / "model.yaml").write_text(text.replace(SCORE, there))
        for number, name in enumerate("ab"):
            new_rows(10, seed=number, first=10 * number).write_parquet(tmp_path / "rows.parquet")
            store.put(f"incoming/{name}.parquet", (tmp_path / "rows.parquet").read_bytes())
            done = everloop("score", "--new", "--json", cwd=root, **store.variables)
            assert (done.code, done.json and done.json["rows"]) == (0, 10), done.err
        result = pl.read_delta("s3://shop/scored", storage_options=store.options)
        assert sorted(result["id"]) == sorted(f"new-{at}" for at in range(20))
        new_rows(11, seed=9).write_parquet(tmp_path / "rows.parquet")
        store.put("incoming/a.parquet", (tmp_path / "rows.parquet").read_bytes())
        changed = everloop("score", "--new", "--json", cwd=root, **store.variables)
        assert changed.code == 3
        assert "it was changed after it was scored" in changed.json["refused"][0]
    assert logged(root).height == 20
