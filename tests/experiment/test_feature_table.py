"""The table of features: what each is and costs and tells, and which say nothing new."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from everloop.errors import FeatureRefused, NotEnoughData
from everloop.experiment import FeatureTable, feature_table, feature_table_screen
from tests.experiment.made import START, opened, payments, project

FEATURES = """\
import polars as pl
from everloop.data import features

@features
def payment():
    yield "amount_log", pl.col("amount").log1p()
    yield "night", pl.col("paid_at").dt.hour() < 6
    yield "twice", pl.col("v0") * 2
    yield "nothing", pl.col("v3") * 0 + 1
    yield "across", pl.col("amount") / pl.col("amount").mean()
    yield "drifting", pl.col("v3") + pl.col("v2")
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    root = tmp_path_factory.mktemp("features") / "p"
    n = 6_000
    frame = payments(n).with_columns(
        paid_at=pl.Series([START + timedelta(minutes=20 * at) for at in range(n)]),
        v2=pl.col("v2") + pl.Series(np.linspace(0, 4, n)),
        gap=pl.when(pl.int_range(n) % 4 > 0).then(pl.col("v1")),
    )
    _, model = project(root, frame)
    model.features_path.write_text(FEATURES)
    return feature_table(*opened(root))


def test_every_feature_has_its_expression_and_what_is_not_row_wise_says_why(table: FeatureTable) -> None:
    by_name = {line.name: line for line in table.features}
    assert by_name["amount_log"].expression == "log1p(amount)"
    assert by_name["night"].expression == "hour(event_time) < 6"
    assert by_name["v0"].expression == "v0"
    assert [line.name for line in table.features if not line.row_wise] == ["across"]
    assert "looks across rows" in str(by_name["across"].refused)
    assert table.features[-1].name == "across"


def test_cost_missing_share_association_and_drift_are_measured(table: FeatureTable) -> None:
    by_name = {line.name: line for line in table.features}
    assert by_name["amount_log"].us_per_1000 > 0
    assert by_name["v0"].us_per_1000 == 0
    assert by_name["gap"].missing == pytest.approx(0.25)
    assert (by_name["v0"].auc or 0) > 0.65
    assert (by_name["v0"].information or 0) > (by_name["amount"].information or 0)
    assert (by_name["drifting"].psi or 0) > 0.25 > 0.1 > (by_name["v0"].psi or 0)
    assert table.spans is not None
    assert table.spans[0].startswith("2024-01-01")


def test_what_is_of_no_use_and_what_says_the_same_are_named(table: FeatureTable) -> None:
    by_name = {line.name: line for line in table.features}
    assert by_name["nothing"].unused == "has one value only"
    assert by_name["twice"].same_as == "v0"
    assert by_name["amount_log"].same_as == "amount"
    assert by_name["v0"].same_as is None
    assert by_name["v0"].unused is None
    assert "! twice says the same as v0." in table.sentences


def test_the_screen_is_80_columns_wide_and_json_holds_all(table: FeatureTable) -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(feature_table_screen(table))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "across cannot be served" in text
    record = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert [line["row_wise"] for line in record["features"]].count(False) == 1
    assert "<table>" in table._repr_html_()


def test_a_column_that_every_prediction_must_have_and_nothing_reads_is_named(tmp_path: Path) -> None:
    where, model = project(tmp_path / "p", payments(600).with_columns(pl.lit("x").alias("merchant_id")))
    before, name, after = model.contract_path.read_text().partition("merchant_id:")
    model.contract_path.write_text(before + name + after.replace("role: feature", "role: input", 1))
    assert feature_table(where, model).unread == ("merchant_id",)


def test_where_no_feature_can_be_served_it_says_why(tmp_path: Path) -> None:
    _, model = project(tmp_path / "p", payments(600))
    contract = model.contract_path.read_text()
    model.contract_path.write_text(contract.replace("role: feature", "role: input"))
    model.features_path.write_text(FEATURES.split("    yield")[0] + '    yield "x", pl.col("v0").mean()\n')
    with pytest.raises(NotEnoughData, match="x uses `mean`: it looks across rows"):
        feature_table(*opened(tmp_path / "p"))


def test_a_file_that_is_no_python_is_an_error_with_its_line(tmp_path: Path) -> None:
    where, model = project(tmp_path / "p", payments(600))
    model.features_path.write_text("def x(:\n")
    with pytest.raises(FeatureRefused, match=r"features.py:1"):
        feature_table(where, model)
