"""A regression's rows: the target is a number, silence is no outcome, and every row counts as much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from everloop.data import (
    SCORE,
    TARGET,
    Baseline,
    contract_text,
    fit_sample,
    infer_contract,
    load_rows,
    parse_contract,
    retrain_split,
    scan,
)
from everloop.errors import ConfigurationError, ContractViolation, NotEnoughData, Undecided
from everloop.project import Model
from tests.data.projects import model_of

TRIPS = """\
task: regression
data: {source: trips.parquet, time: left_at, id: trip, target: minutes, weight: stands_for}
objective: mae
"""


def trips(count: int = 2_000) -> pl.DataFrame:
    random = np.random.default_rng(3)
    minutes = random.gamma(4.0, 4.0, count)
    return pl.DataFrame(
        {
            "trip": [f"t{i}" for i in range(count)],
            "left_at": [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=20 * i) for i in range(count)],
            "km": minutes / 3 + random.random(count),
            "minutes": minutes,
            "stands_for": random.uniform(1, 3, count),
        }
    )


def trips_model(root: Path, frame: pl.DataFrame, text: str = TRIPS) -> Model:
    model = model_of(text, root / "eta")
    frame.write_parquet(root / "trips.parquet")
    return model


def test_numbers_are_the_target_and_what_is_none_is_left_out_and_counted(tmp_path: Path) -> None:
    frame = trips().with_columns(
        pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise(pl.col("minutes")).alias("minutes")
    )
    frame = frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 10 == 1).then(float("nan")).otherwise(pl.col("minutes")).alias("minutes")
    )
    model = trips_model(tmp_path, frame)
    contract = infer_contract(scan("trips.parquet", root=tmp_path), model)
    assert contract.positive is None
    assert "positive" not in contract_text(contract)
    rows = load_rows(model, contract)
    assert rows.left_out == {"unlabelled": 400}
    assert rows.numeric
    assert rows.positives == rows.frame.height == 1_600
    assert rows.y.tolist() == frame.filter(pl.col("minutes").is_finite())["minutes"].to_list()


def test_whole_numbers_are_a_target_too_and_halves_do_not_break_its_contract(tmp_path: Path) -> None:
    model = trips_model(tmp_path, trips().with_columns(pl.col("minutes").round().cast(pl.Int32)))
    contract = infer_contract(scan("trips.parquet", root=tmp_path), model)
    assert contract.column("minutes").type == "float"
    trips().write_parquet(tmp_path / "trips.parquet")
    assert load_rows(model, contract).frame[TARGET].dtype == pl.Float64


def test_what_is_no_number_is_said(tmp_path: Path) -> None:
    model = trips_model(tmp_path, trips().with_columns(pl.col("minutes").cast(pl.String)))
    lazy = scan("trips.parquet", root=tmp_path)
    with pytest.raises(ContractViolation, match=r"target 'minutes' of trips\.parquet holds String, and a regression"):
        infer_contract(lazy, model)
    contract = infer_contract(trips().lazy(), model)
    text = contract_text(contract)
    with pytest.raises(ConfigurationError, match="a regression has no positive class"):
        parse_contract("positive: 1\n" + text, model)
    minutes = msgspec.structs.replace(contract.column("minutes"), type="string", observed=None)
    columns = tuple(minutes if column.name == "minutes" else column for column in contract.columns)
    with pytest.raises(ContractViolation, match="is of type string, and a regression learns numbers"):
        load_rows(model, msgspec.structs.replace(contract, columns=columns))


def test_rows_with_one_outcome_teach_nothing(tmp_path: Path) -> None:
    model = trips_model(tmp_path, trips().with_columns(minutes=pl.lit(7.0)))
    contract = infer_contract(scan("trips.parquet", root=tmp_path), model)
    with pytest.raises(NotEnoughData, match="target 'minutes': every one of 2,000 rows is 7, and there is nothing"):
        load_rows(model, contract)
    assert load_rows(model, contract, both_classes=False).positives == 2_000


def test_a_retrain_waits_for_rows_where_a_classification_waits_for_positives(tmp_path: Path) -> None:
    model = trips_model(tmp_path, trips())
    frame = load_rows(model, infer_contract(scan("trips.parquet", root=tmp_path), model)).frame
    split = retrain_split(frame, 0.1, numeric=True)
    assert (split.train.height, split.validation.height, split.test.height) == (1_800, 100, 100)
    with pytest.raises(Undecided, match="hold 40 rows; validation and test need 50 each, so 60 are still to come"):
        retrain_split(frame, 0.02, numeric=True)


def test_a_sample_favours_no_outcome_and_weighs_as_much_as_all() -> None:
    random = np.random.default_rng(0)
    y, weight = random.gamma(2.0, 5.0, 50_000), random.uniform(1, 4, 50_000)
    sample = fit_sample(y, weight, most=5_000, seed=1, numeric=True)
    assert len(sample.rows) == 5_000
    assert np.all(np.diff(sample.rows) > 0)
    assert np.isclose(sample.weight.sum(), weight.sum())
    assert np.average(y[sample.rows], weights=sample.weight) == pytest.approx(np.average(y, weights=weight), rel=0.03)
    assert fit_sample(y, weight, most=5_000, seed=1, numeric=True).rows.tolist() == sample.rows.tolist()
    whole = fit_sample(y, weight, most=50_000, seed=1, numeric=True)
    assert whole.weight.tolist() == weight.tolist()


def test_a_baseline_of_scores_in_minutes_has_edges_in_minutes() -> None:
    frame = trips().select(pl.col("left_at").alias("event_time"), pl.col("minutes").alias(SCORE))
    baseline = Baseline.build(frame, window=timedelta(days=1))
    edges = baseline.column(SCORE).edges
    assert edges is not None
    assert max(edges) > 30
    assert baseline.profile(frame).counts[SCORE].tolist() == list(baseline.column(SCORE).counts)
