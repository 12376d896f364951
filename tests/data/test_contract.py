"""The contract: inferred, written, edited, enforced."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import (
    COLUMN_TYPES,
    Column,
    Contract,
    conform,
    contract_text,
    infer_contract,
    parse_contract,
    read_contract,
    refuse_violations,
    scan,
    violations,
    write_contract,
)  # fmt: skip
from everloop.errors import ConfigurationError, ContractViolation, DataError, NotEnoughData
from tests.data.projects import PAYMENTS, payments, payments_model


def inferred(root: Path) -> Contract:
    model = payments_model(root)
    return infer_contract(scan(model.data.source, root=root), model)


def test_roles_and_types_are_inferred(tmp_path: Path) -> None:
    contract = inferred(tmp_path)
    roles = {column.name: (column.type, column.role) for column in contract.columns}
    assert roles == {
        "payment_id": ("string", "id"), "paid_at": ("datetime", "time"), "card": ("string", "entity"),
        "amount": ("float", "feature"), "items": ("int", "feature"), "online": ("bool", "feature"),
        "country": ("string", "feature"), "note": ("string", "ignored"), "action": ("string", "outcome"),
        "fraud": ("bool", "target"),
    }  # fmt: skip
    country = contract.column("country")
    assert country.categories == ("AT", "DE", "FR")
    assert country.segment
    assert contract.positive is True
    assert contract.names_at_prediction() == (
        "payment_id", "paid_at", "card", "amount", "items", "online", "country",
    )  # fmt: skip
    assert contract.column("amount").observed is not None
    assert contract.column("amount").minimum is None


def test_columns_read_by_features_become_inputs(tmp_path: Path) -> None:
    model = payments_model(tmp_path)
    contract = infer_contract(scan(model.data.source, root=tmp_path), model, reads={"note"})
    assert contract.column("note").role == "input"


def test_a_named_column_that_is_missing_is_told_with_the_likely_one(tmp_path: Path) -> None:
    model = payments_model(tmp_path, payments().rename({"fraud": "frauds"}))
    with pytest.raises(ContractViolation, match=r"target column 'fraud'.*did you mean 'frauds'"):
        infer_contract(scan(model.data.source, root=tmp_path), model)


def test_no_rows_is_not_enough(tmp_path: Path) -> None:
    model = payments_model(tmp_path, payments()[:0])
    with pytest.raises(NotEnoughData, match="no rows"):
        infer_contract(scan(model.data.source, root=tmp_path), model)


def test_a_text_target_asks_for_its_positive_class(tmp_path: Path) -> None:
    frame = payments().with_columns(pl.when("fraud").then(pl.lit("bad")).otherwise(pl.lit("good")).alias("fraud"))
    model = payments_model(tmp_path, frame)
    with pytest.raises(ContractViolation, match=r"'bad', 'good'.*data.positive"):
        infer_contract(scan(model.data.source, root=tmp_path), model)
    whole = frame.with_columns(fraud=pl.lit(7))
    with pytest.raises(ContractViolation, match=r"data.positive"):
        infer_contract(whole.lazy(), model)


def test_the_file_says_the_same_as_the_contract(tmp_path: Path) -> None:
    contract = inferred(tmp_path)
    model = payments_model(tmp_path)
    write_contract(model.contract_path, contract)
    assert read_contract(model) == contract
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("amount:\n    type: float", "amount:\n    type: flaot", "columns.amount.type: 'flaot' is not one of"),
        ("    role: feature\n    observed", "    roel: feature\n    observed", "did you mean 'role'"),
        ("  note:\n    type: string", "  note:\n    type: 3", "columns.note.type: 3"),
        (
            "  fraud:\n    type: bool\n    role: target",
            "  fraud:\n    type: bool\n    role: feature",
            "it is the target",
        ),
        ("  fraud:\n    type: bool\n    role: target\n", "", "'fraud', the target in model.yaml, is missing"),
        ("items:\n    type: int", "items:\n    range: [5, 1]\n    type: int", "the low end 5 is above"),
        ("items:\n    type: int", "items:\n    nullable: maybe\n    type: int", "columns.items.nullable: 'maybe'"),
        ("online:\n    type: bool", "online:\n    range: [0, 1]\n    type: bool", "only numbers have one"),
        ("  note:\n    type: string\n    role: ignored", "  note:\n    type: string\n    role: feature", "categories"),
        ("role: ignored", "role: id", "model.yaml does not say that it is the id"),
        ("columns:", "colums:", "columns: is missing"),
        ("columns:", "columns: {{", "not YAML"),
    ],
)
def test_every_mistake_has_path_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = contract_text(inferred(tmp_path))
    assert old in text
    with pytest.raises(ConfigurationError) as caught:
        parse_contract(text.replace(old, new, 1), payments_model(tmp_path))
    assert any(said in mistake for mistake in caught.value.mistakes), caught.value.mistakes
    assert all(mistake.startswith("fraud/contract.yaml:") for mistake in caught.value.mistakes)


def test_a_written_range_is_enforced_and_an_observed_one_is_not(tmp_path: Path) -> None:
    contract, frame = inferred(tmp_path), payments()
    far = frame.with_columns(amount=pl.col("amount") + 1e6)
    assert violations(far, contract) == []
    columns = tuple(
        msgspec.structs.replace(column, minimum=0.0, maximum=100.0) if column.name == "amount" else column
        for column in contract.columns
    )
    found = violations(far, msgspec.structs.replace(contract, columns=columns))
    assert [violation.column for violation in found] == ["amount"]
    assert "outside its range [0, 100] in 3,000 of 3,000 rows" in found[0].sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.lit("x").alias("amount"),
         "'amount' must hold numbers and holds something else in 3,000 of 3,000 rows, e.g. 'x' in row 1"),
        (pl.when(pl.int_range(pl.len()) == 4).then(None).otherwise("amount").alias("amount"),
         "'amount' is null or NaN and must not be in 1 of 3,000 rows, the first is row 5"),
        (pl.when(pl.int_range(pl.len()) == 4).then(float("nan")).otherwise("amount").alias("amount"), "null or NaN"),
        (pl.when(pl.int_range(pl.len()) == 4).then(float("inf")).otherwise("amount").alias("amount"), "infinite"),
        (pl.lit(1.5).alias("items"), "'items' must hold whole numbers and holds fractions"),
        (pl.lit(1).alias("online"), "'online' must hold true/false"),
        (pl.lit("yesterday").alias("paid_at"), "'yesterday' is not an ISO-8601 time"),
        (pl.lit(1).alias("country"), "'country' must hold texts"),
    ],
)  # fmt: skip
def test_each_broken_column_is_one_sentence(tmp_path: Path, change: pl.Expr, said: str) -> None:
    found = violations(payments().with_columns(change), inferred(tmp_path))
    assert len(found) == 1
    assert said in found[0].sentence
    with pytest.raises(
        ContractViolation, match=r"new\.csv breaks the contract.*; correct the rows, or leave them out$"
    ):
        refuse_violations(payments().with_columns(change), inferred(tmp_path), source="new.csv")


def test_a_missing_column_names_the_likely_one(tmp_path: Path) -> None:
    found = violations(payments().rename({"amount": "amuont"}), inferred(tmp_path))
    assert found[0].sentence == "column 'amount' is missing; did you mean 'amuont'?"


def test_conform_gives_the_contracts_types(tmp_path: Path) -> None:
    contract = inferred(tmp_path)
    frame = payments().with_columns(pl.col("items").cast(pl.Int8), pl.col("amount").cast(pl.Float32))
    assert violations(frame, contract) == []
    typed = conform(frame, contract)
    assert typed["items"].dtype == pl.Int64
    assert typed["amount"].dtype == pl.Float64
    assert typed["event_time"].dtype == pl.Datetime("us", "UTC")
    assert "note" not in typed.columns


@pytest.mark.parametrize("data", [b"", b"[]", b'{"columns":[],"version":7}', b'{"columns":[{"name":"a"}]}'])
def test_what_is_no_contract_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        Contract.from_json(data)


numbers = st.none() | st.floats(-1e9, 1e9)


@st.composite
def some_columns(draw: st.DrawFn) -> Column:
    kind = draw(st.sampled_from(COLUMN_TYPES))
    is_number = kind in ("float", "int")
    ends = sorted([draw(st.floats(-1e9, 1e9)), draw(st.floats(-1e9, 1e9))])
    words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
    return Column(
        name=draw(st.from_regex(r"[A-Za-z_][A-Za-z0-9_ .:-]{0,12}", fullmatch=True)),
        type=kind,  # type: ignore[arg-type]
        role=draw(st.sampled_from(["feature", "input", "outcome", "ignored"])),
        nullable=draw(st.booleans()),
        minimum=ends[0] if is_number and draw(st.booleans()) else None,
        maximum=ends[1] if is_number and draw(st.booleans()) else None,
        observed=(ends[0], ends[1]) if is_number and draw(st.booleans()) else None,
        categories=tuple(draw(st.lists(words, unique=True, max_size=4))) if kind == "string" else None,
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(some_columns(), max_size=6, unique_by=lambda column: column.name.strip()))
def test_any_contract_survives_yaml_and_json(columns: list[Column]) -> None:
    text = "data: {source: a.csv, time: '@time', target: '@target'}\nobjective: recall\n"
    from everloop.project import parse_model

    model, mistakes = parse_model(text, name="m", folder=Path("m"))
    assert model is not None, mistakes
    roles = (Column(name="@time", type="datetime", role="time"), Column(name="@target", type="bool", role="target"))
    contract = Contract(columns=(*roles, *columns), positive=True)
    assert parse_contract(contract_text(contract), model) == contract
    assert Contract.from_json(contract.to_json()).to_json() == contract.to_json()


def test_a_time_column_may_be_called_event_time(tmp_path: Path) -> None:
    frame = payments().rename({"paid_at": "event_time"})
    model = payments_model(tmp_path, frame, PAYMENTS.replace("paid_at", "event_time"))
    contract = infer_contract(frame.lazy(), model)
    assert conform(frame, contract)["event_time"].to_list() == frame["event_time"].to_list()
    odd = payments().with_columns(event_time=pl.lit(1.0))
    other = infer_contract(odd.lazy(), payments_model(tmp_path / "other"))
    assert other.column("event_time").role == "ignored"
