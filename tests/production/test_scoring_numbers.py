"""Batch scoring of a regression: a number with its quantiles and no decision, the bytes of the endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from everloop.bundle import Bundle, BundleStore
from everloop.clock import SimulatedClock
from everloop.data import conform
from everloop.ledger import Ledger
from everloop.production import score_file
from everloop.project import Project, Spec, write_spec

from ..experiment.made import numeric_project, trips
from ..serving.place import endpoint
from .scorer import LATER, SCORE, scored, table, told
from .shop import NOW, train

QUANTILES = ["p10", "p50", "p90"]


def new_trips(n: int) -> pl.DataFrame:
    return trips(n, seed=7).drop("minutes", "counts").with_columns(trip=pl.format("new-{}", pl.int_range(n)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a first version, and new trips that a run has scored; one of them lacks its length."""
    root = tmp_path_factory.mktemp("numbers") / "town"
    found, model = numeric_project(root)
    with (root / "trip" / "model.yaml").open("a") as file:
        file.write(SCORE)
    parameters = {"n_estimators": 40, "num_leaves": 7}
    spec = Spec.new(
        name="trip-s1",
        learner="lightgbm",
        hyperparameters=parameters,
        objective="mae",
        quantiles=QUANTILES,
        reason="a test's own",
    )
    write_spec(model.spec_path(1), spec)
    trained = train(found, run_id="r-first", spec="trip-s1")
    assert trained.status == "finished", trained.sentence
    (root / "incoming").mkdir()
    broken = pl.when(pl.col("trip") == "new-4").then(float("inf")).otherwise("km")
    new_trips(300).with_columns(km=broken).write_parquet(root / "incoming" / "a.parquet")
    result = scored(root, "r-1")
    assert (result.status, result.state["rows"], result.state["rejected"]) == ("finished", 299, 1)
    assert result.state["positives"] is None
    return root


@pytest.fixture(scope="module")
def bundle(root: Path) -> Bundle:
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        return BundleStore(found.paths.bundles).load(ledger.version("trip", 1).bundle)


def expected(bundle: Bundle, rows: pl.DataFrame) -> pl.DataFrame:
    """What the bundle gives for each row alone."""
    names = list(bundle.contract.names_at_prediction())
    alone = [bundle.score_frame(conform(rows[at : at + 1], bundle.contract, names=names)) for at in range(rows.height)]
    quantiles = np.concatenate([one.quantiles for one in alone if one.quantiles is not None])
    columns: dict[str, Any] = {name: quantiles[:, at] for at, name in enumerate(QUANTILES)}
    return pl.DataFrame({"trip": rows["trip"], "score": np.concatenate([one.score for one in alone])} | columns)


def test_a_file_gets_quantiles_in_place_of_a_decision(root: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Law 2: in blocks of 64 or alone, the same bits."""
    rows = new_trips(200)
    rows.write_parquet(tmp_path / "new.parquet")
    done = score_file(bundle, 1, "new.parquet", tmp_path / "scored.parquet", root=tmp_path, block_rows=64)
    assert done.to_dict() == {"path": str(tmp_path / "scored.parquet"), "rows": 200, "version": 1}
    result = pl.read_parquet(tmp_path / "scored.parquet")
    assert result.columns == [*rows.columns, "score", *QUANTILES, "version"]
    assert result.select("trip", "score", *QUANTILES).equals(expected(bundle, rows))


def test_a_run_writes_quantiles_into_its_table_and_no_decision_into_the_log(root: Path, bundle: Bundle) -> None:
    result = table(root)
    assert result.columns == ["id", "event_time", "score", *QUANTILES, "version", "scored_at", "source"]
    rows = new_trips(300).filter(pl.col("trip") != "new-4").sort("trip")
    assert result["scored_at"].unique().to_list() == [LATER]
    assert result.select(pl.col("id").alias("trip"), "score", *QUANTILES).equals(expected(bundle, rows))
    assert told(root)[0]["positives"] is None
    aside = pl.read_delta(str(root / "scored-rejected"))
    assert aside.select("row", "id", "reason").rows() == [(5, "new-4", "column 'km' is infinite")]
    log = pl.read_delta(str(root / ".everloop" / "traffic" / "trip" / "predictions")).sort("prediction_id")
    assert log["prediction_id"].equals(result["id"].alias("prediction_id"))
    assert log["score"].equals(result["score"])
    assert log["decision"].null_count() == log["threshold"].null_count() == log.height == 299
    assert log["side"].unique().to_list() == ["batch"]


def test_the_endpoint_says_the_same_of_such_a_row_and_what_was_recorded_of_this_one(root: Path) -> None:
    """A new id is answered anew, by the same bytes; one that the batch has recorded by the batch's own answer."""
    rows = new_trips(300)[:3]
    sent = [row | {"left_at": row["left_at"].isoformat().replace("+00:00", "Z")} for row in rows.iter_rows(named=True)]
    asked = [*sent, *(row | {"trip": f"other-{at}"} for at, row in enumerate(sent))]
    with endpoint(root) as served:
        url = f"{served.url}/v1/models/trip/predict"
        answer = httpx.post(url, json={"rows": asked}, timeout=30).json()
    assert answer["errors"] == []
    results = answer["results"]
    assert [one["side"] for one in results] == ["batch"] * 3 + ["champion"] * 3
    recorded = table(root).filter(pl.col("id").is_in([row["trip"] for row in sent]))
    held = {row["id"]: row for row in recorded.iter_rows(named=True)}
    for at, one in enumerate(results):
        row = held[sent[at % 3]["trip"]]
        assert np.float32(one["score"]) == np.float32(row["score"])
        assert {name: np.float32(value) for name, value in one["quantiles"].items()} == {
            name: np.float32(row[name]) for name in QUANTILES
        }
        assert "decision" not in one
