"""Rows: dated, matured, labelled, weighted; and splits that never let the future in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import (
    EVENT_TIME,
    TARGET,
    WEIGHT,
    Contract,
    Rows,
    infer_contract,
    load_rows,
    retrain_split,
    scan,
    time_split,
    utc_times,
    without_violations,
)  # fmt: skip
from everloop.errors import ContractViolation, NotEnoughData, Undecided
from everloop.project import Model
from tests.data.projects import PAYMENTS, model_of, payments, payments_model, shared_file


def loaded(model: Model, root: Path, **options: object) -> Rows:
    contract = infer_contract(scan(model.data.source, root=root), model)
    return load_rows(model, contract, **options)  # type: ignore[arg-type]


def test_only_matured_and_uncensored_rows_are_given_and_the_rest_is_counted(tmp_path: Path) -> None:
    frame, model = payments(), payments_model(tmp_path)
    as_of = datetime(2024, 1, 20, tzinfo=UTC)
    rows = loaded(model, tmp_path, as_of=as_of, start=datetime(2024, 1, 3, tzinfo=UTC))
    assert rows.frame[EVENT_TIME].max() <= as_of - timedelta(days=7)  # type: ignore[operator]
    assert rows.frame[EVENT_TIME].min() >= datetime(2024, 1, 3, tzinfo=UTC)  # type: ignore[operator]
    assert set(rows.frame["action"]) == {"approved"}
    started = frame.filter(pl.col("paid_at") >= datetime(2024, 1, 3, tzinfo=UTC))
    matured = started.filter(pl.col("paid_at") <= as_of - timedelta(days=7))
    assert rows.left_out == {
        "unmatured": started.height - matured.height,
        "blocked": (matured["action"] == "declined").sum(),
    }
    assert rows.positives == matured.filter(pl.col("action") == "approved")["fraud"].sum()
    assert set(rows.weight) == {1.0}


def test_the_order_of_the_file_does_not_matter_and_an_id_counts_once(tmp_path: Path) -> None:
    frame = payments()
    straight = loaded(payments_model(tmp_path / "a", frame), tmp_path / "a")
    shuffled = loaded(payments_model(tmp_path / "b", frame.sample(fraction=1, shuffle=True, seed=3)), tmp_path / "b")
    assert straight.content == shuffled.content
    twice = loaded(payments_model(tmp_path / "c", pl.concat([frame, frame[:10]])), tmp_path / "c")
    assert twice.content == straight.content
    assert twice.left_out["repeated_id"] == (frame[:10]["action"] == "approved").sum()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (pl.lit(False).alias("fraud"), NotEnoughData, "no row is True"),
        (pl.lit(True).alias("fraud"), NotEnoughData, "every row is True"),
        (pl.lit(None, dtype=pl.Float64).alias("amount"), ContractViolation, "'amount' is null or NaN"),
        (pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("paid_at"), ContractViolation, "'paid_at' is null"),
    ],
)
def test_rows_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, change: pl.Expr, error: type[Exception], said: str
) -> None:
    model = payments_model(tmp_path)
    contract = infer_contract(scan(model.data.source, root=tmp_path), model)
    payments().with_columns(change).write_parquet(tmp_path / "payments.parquet")
    with pytest.raises(error) as caught:
        load_rows(model, contract)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_without_a_time_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = payments().with_columns(paid_at=pl.when(pl.int_range(pl.len()) >= 3).then(pl.col("paid_at")))
    model = payments_model(tmp_path, frame)
    rows = loaded(model, tmp_path)
    assert rows.left_out["untimed"] == 3
    assert rows.frame[EVENT_TIME].null_count() == 0


def test_rows_that_break_the_contract_are_left_out_where_a_gate_says_how_many_may(tmp_path: Path) -> None:
    """Of a column the kinds of mistakes are found one after the other; each is told, and no such row stays."""
    model = payments_model(tmp_path, text=PAYMENTS + "gates: [contract violations < 5%]\n")
    contract = infer_contract(scan(model.data.source, root=tmp_path), model)
    columns = tuple(
        msgspec.structs.replace(column, minimum=0.0) if column.name == "amount" else column
        for column in contract.columns
    )
    contract = msgspec.structs.replace(contract, columns=columns)
    place = pl.int_range(pl.len())
    amount = pl.when(place == 3).then(None).when(place == 5).then(float("inf")).when(place == 7).then(-1.0)
    broken = payments().with_columns(
        amount.otherwise("amount").alias("amount"), pl.when(place == 5).then(None).otherwise("items").alias("items")
    )
    kept, found = without_violations(broken, contract, source="payments.parquet")
    ids = [f"pay_{at}" for at in range(3_000) if at not in (3, 5, 7)]
    assert kept["payment_id"].to_list() == ids
    # the amount that is infinite goes with the row whose items are missing
    assert [(one.column, one.rows) for one in found] == [("amount", 1), ("items", 1), ("amount", 1)]
    broken.write_parquet(tmp_path / "payments.parquet")
    rows = load_rows(model, contract)
    assert (rows.read, rows.left_out["violating"], len(rows.broken)) == (3_000, 3, 3)
    assert set(rows.frame["payment_id"]) <= set(ids)
    strict = payments_model(tmp_path, broken)
    with pytest.raises(ContractViolation, match="column 'amount' is null"):
        load_rows(strict, contract)


def test_a_missing_column_and_a_span_without_rows(tmp_path: Path) -> None:
    model = payments_model(tmp_path)
    contract = infer_contract(scan(model.data.source, root=tmp_path), model)
    with pytest.raises(NotEnoughData, match="no row of payments"):
        load_rows(model, contract, start=datetime(2030, 1, 1, tzinfo=UTC))
    payments().drop("amount").write_parquet(tmp_path / "payments.parquet")
    with pytest.raises(
        ContractViolation, match=r"column 'amount' is missing; .* what fraud/contract\.yaml asks of them"
    ):
        load_rows(model, contract)


def test_silence_is_negative_or_unknown_as_the_model_says(tmp_path: Path) -> None:
    frame = payments().with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then("fraud").alias("fraud"))
    text = PAYMENTS.replace(", acts: {column: action, blocked: [declined], holdout: 1%}", "")
    silent = loaded(payments_model(tmp_path / "a", frame, text), tmp_path / "a")
    assert silent.frame.height == 3000
    unknown = loaded(payments_model(tmp_path / "b", frame, text.replace("negative", "unknown")), tmp_path / "b")
    assert unknown.left_out == {"unlabelled": 1500}
    assert unknown.positives == silent.positives


def test_weights_come_from_a_column_or_from_the_negative_class(tmp_path: Path) -> None:
    text = PAYMENTS.replace("  target: fraud", "  target: fraud\n  weight: {negative: 59.2}")
    rows = loaded(payments_model(tmp_path / "a", text=text), tmp_path / "a")
    assert dict(zip(rows.y, rows.weight, strict=True)) == {0.0: 59.2, 1.0: 1.0}
    frame = payments().with_columns(w=pl.lit(2.5))
    text = PAYMENTS.replace("  target: fraud", "  target: fraud\n  weight: w")
    rows = loaded(payments_model(tmp_path / "b", frame, text), tmp_path / "b")
    assert set(rows.frame[WEIGHT]) == {2.5}
    with pytest.raises(ContractViolation, match="weight column 'w' must be above 0"):
        loaded(payments_model(tmp_path / "c", frame.with_columns(w=pl.lit(0.0)), text), tmp_path / "c")


def test_a_numeric_time_counts_from_its_origin() -> None:
    contract = Contract(columns=(), time_unit="s", time_origin="2013-09-01T00:00:00+00:00")
    found = utc_times(pl.Series("Time", [0.0, 1.5, None]), contract)
    assert found.to_list() == [
        datetime(2013, 9, 1, tzinfo=UTC), datetime(2013, 9, 1, 0, 0, 1, 500_000, tzinfo=UTC), None,
    ]  # fmt: skip
    assert utc_times(pl.Series("Time", [float("nan"), 1.0]), contract).is_null().to_list() == [True, False]
    with pytest.raises(ContractViolation, match=r"row 2: 1e\+30 is outside"):
        utc_times(pl.Series("Time", [0.0, 1e30]), contract)
    with pytest.raises(ContractViolation, match="unit: s"):
        utc_times(pl.Series("Time", [0.0]), Contract(columns=()))


@pytest.mark.parametrize("as_text", [False, True])
def test_naive_times_are_read_in_the_zone_and_a_turned_clock_names_the_row(as_text: bool) -> None:
    contract = Contract(columns=(), timezone="Europe/Berlin")

    def column(*texts: str) -> pl.Series:
        return pl.Series("at", texts) if as_text else pl.Series("at", texts).str.to_datetime()

    assert utc_times(column("2024-07-01T12:00:00"), contract)[0] == datetime(2024, 7, 1, 10, tzinfo=UTC)
    with pytest.raises(ContractViolation, match=r"'at', row 2: .*is there twice in Europe/Berlin"):
        utc_times(column("2024-07-01T12:00:00", "2024-10-27T02:30:00"), contract)
    with pytest.raises(ContractViolation, match=r"'at', row 1: .*does not exist in Europe/Berlin.*\(2 such rows\)"):
        utc_times(column("2024-03-31T02:30:00", "2024-03-31T02:45:00"), contract)


def framed(times: list[int], targets: list[float] | None = None) -> pl.DataFrame:
    whole = pl.Series(EVENT_TIME, times, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    marks = [0.0] * len(times) if targets is None else targets
    return pl.DataFrame([whole, pl.Series(TARGET, marks, dtype=pl.Float64)])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=3, max_size=200))
def test_a_split_keeps_time_apart_and_every_row(times: list[int]) -> None:
    frame = framed(times)
    if len(set(times)) < 3:
        with pytest.raises(NotEnoughData):
            time_split(frame)
        return
    try:
        split = time_split(frame)
    except NotEnoughData:
        return
    parts = [split.train, split.validation, split.test]
    assert sum(part.height for part in parts) == frame.height
    assert all(part.height for part in parts)
    for older, newer in pairwise(parts):
        assert older[EVENT_TIME].max() < newer[EVENT_TIME].min()  # type: ignore[operator]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 80), st.booleans()), min_size=3, max_size=300), st.integers(1, 12))
def test_a_retrain_holds_out_the_newest_with_positives_in_each_half(
    rows: list[tuple[int, bool]], min_positives: int
) -> None:
    frame = framed([at for at, _ in rows], [float(hit) for _, hit in rows])
    try:
        split = retrain_split(frame, 0.3, min_positives=min_positives)
    except (NotEnoughData, Undecided) as error:
        said = str(error)
        assert said.count("\n") == 0
        return
    assert split.train[EVENT_TIME].max() < split.validation[EVENT_TIME].min()  # type: ignore[operator]
    assert split.validation[EVENT_TIME].max() < split.test[EVENT_TIME].min()  # type: ignore[operator]
    assert min(split.validation[TARGET].sum(), split.test[TARGET].sum()) >= min_positives


def test_a_retrain_that_must_wait_says_for_what() -> None:
    targets = [float(place % 50 == 0) for place in range(1000)]
    frame = framed([place * 3_600_000_000 for place in range(1000)], targets)
    with pytest.raises(Undecided, match=r"hold 2 positives; .* 50 each, so 98 are still to come: about 202d more"):
        retrain_split(frame, 0.1)
    close = framed([place * 60_000_000 for place in range(1000)], targets)
    with pytest.raises(Undecided, match=r"are still to come: about 3d more at the present rate"):
        retrain_split(close, 0.1)
    with pytest.raises(Undecided, match=r"hold 6 positives; .*: about 5h more at the present rate"):
        retrain_split(close, 0.3, min_positives=6)
    split = retrain_split(frame, 0.5, min_positives=5)
    assert split.train.height == 500
    assert 200 <= split.test.height <= 300


def test_credit_card_file(tmp_path: Path) -> None:
    path = shared_file("creditcard/creditcard.parquet")
    model = model_of(
        f"data: {{source: {path}, time: {{column: Time, unit: s, origin: 2013-09-01T00:00Z}}, target: Class, "
        "weight: {negative: 59.23}}\nobjective: recall at precision >= 0.80\n",
        tmp_path / "fraud",
    )
    rows = loaded(model, tmp_path)
    assert (rows.frame.height, rows.positives) == (5292, 492)
    assert rows.span[0].date() == datetime(2013, 9, 1, tzinfo=UTC).date()
    assert time_split(rows.frame).test.height == pytest.approx(5292 * 0.15, rel=0.02)


def test_card_transactions_file(tmp_path: Path) -> None:
    path = shared_file("card_transactions/card_transactions.parquet")
    model = model_of(
        f"data: {{source: {path}, time: TX_DATETIME, id: TRANSACTION_ID, entity: CUSTOMER_ID, target: TX_FRAUD}}\n"
        "outcome: {delay: 7d, absent: negative}\nobjective: recall\n",
        tmp_path / "fraud",
    )
    contract = infer_contract(scan(str(path), root=tmp_path), model)
    assert contract.column("TERMINAL_ID").role == "ignored"
    start, end = datetime(2018, 5, 1, tzinfo=UTC), datetime(2018, 5, 8, tzinfo=UTC)
    rows = load_rows(model, contract, start=start, end=end)
    assert rows.frame.height == pytest.approx(67_000, rel=0.05)
    assert rows.frame["TRANSACTION_ID"].dtype == pl.String


def test_green_taxi_file_keeps_its_dirt_out(tmp_path: Path) -> None:
    path = shared_file("green_taxi/green_taxi.parquet")
    model = model_of(
        f"timezone: Europe/London\ndata: {{source: {path}, time: lpep_pickup_datetime, target: trip_type, "
        "positive: 2}\nobjective: recall\n",
        tmp_path / "taxi",
    )
    contract = infer_contract(scan(str(path), root=tmp_path), model)
    assert contract.column("ehail_fee").role == "ignored"
    assert contract.column("payment_type").nullable
    assert contract.column("lpep_dropoff_datetime").role == "ignored"
    with pytest.raises(
        ContractViolation, match=r"'lpep_pickup_datetime', row \d+: .* in Europe/London.*\(103 such rows\)"
    ):
        load_rows(model, contract)
    rows = load_rows(model, msgspec.structs.replace(contract, timezone="UTC"))
    assert rows.left_out["unlabelled"] == 105_127
    assert np.isin(rows.y, [0, 1]).all()
