"""A project whose rows lie in an object store: phase 1 and 2 from the command line, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from ..experiment.made import payments
from ..object_store import object_store
from .terminal import everloop

ROWS = payments(10_000, positives=0.2)


@pytest.fixture
def variables() -> Iterator[dict[str, str]]:
    """AWS's usual variables for a store that holds the rows in two CSV files."""
    with object_store("payments") as made:
        for name, part in (("1", ROWS[:2_500]), ("2", ROWS[2_500:])):
            made.put(f"scored/{name}.csv", part.write_csv().encode())
        yield made.variables


@pytest.mark.slow
def test_rows_in_a_store_are_explored_searched_trained_on_and_scored(tmp_path: Path, variables: dict[str, str]) -> None:
    source = "s3://payments/scored/*.csv"
    assert everloop("init", "shop", "--data", source, cwd=tmp_path, **variables).code == 0
    shop = tmp_path / "shop"
    path = shop / "fraud" / "model.yaml"
    assert source in path.read_text()
    text = path.read_text().replace("logistic, random_forest, xgboost, lightgbm, neural_network", "lightgbm")
    path.write_text(text.replace("recall >= 0.60", "recall >= 0.30").replace("delay: 7d", "delay: 1d"))
    explored = everloop("explore", "--json", "--no-page", cwd=shop, **variables)
    assert explored.json["rows"] == ROWS.height
    searched = everloop("search", "--trials", "4", "--jobs", "1", cwd=shop, **variables)
    assert searched.code == 0, searched.err
    assert everloop("approve", "fraud-s1", "--by", "alice", cwd=shop).code == 0
    trained = everloop("train", "--json", cwd=shop, **variables)
    assert trained.code == 0, trained.err
    scored = everloop("score", source, "scored.parquet", cwd=shop, **variables)
    assert scored.code == 0, scored.err
    assert pl.read_parquet(shop / "scored.parquet").height == ROWS.height
