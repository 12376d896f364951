"""The endpoint's decoder: a bad row is a problem, its neighbours are answered as if it were not there."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import Column, Contract, decode_rows

CONTRACT = Contract(
    columns=(
        Column(name="payment_id", type="string", role="id"),
        Column(name="paid_at", type="datetime", role="time"),
        Column(name="card", type="string", role="entity"),
        Column(name="amount", type="float", role="feature", minimum=0.0),
        Column(name="items", type="int", role="feature", nullable=True),
        Column(name="online", type="bool", role="feature", nullable=True),
        Column(name="country", type="string", role="feature", nullable=True, categories=("AT", "DE")),
        Column(name="fraud", type="bool", role="target"),
    )
)
GOOD: dict[str, Any] = {
    "id": "pay_1", "card": "c7", "paid_at": "2024-05-01T12:00:00Z", "amount": 49.9, "items": 2, "online": True,
    "country": "DE", "extra": {"ignored": 1},
}  # fmt: skip


def test_good_rows_are_typed() -> None:
    frame, problems = decode_rows(CONTRACT, [GOOD, {**GOOD, "amount": 5, "items": None, "card": 9, "id": 17}])
    assert problems == []
    assert frame.schema == {
        "payment_id": pl.String, "paid_at": pl.Datetime("us", "UTC"), "card": pl.String, "amount": pl.Float64,
        "items": pl.Int64, "online": pl.Boolean, "country": pl.String, "event_time": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    assert frame["amount"].to_list() == [49.9, 5.0]
    assert frame["payment_id"].to_list() == ["pay_1", "17"]
    assert frame["event_time"][0] == datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "column", "said"),
    [
        ({"amount": "12"}, "amount", '"12" is not a number'),
        ({"amount": True}, "amount", "true is not a number"),
        ({"amount": None}, "amount", "null is not allowed"),
        ({"amount": float("nan")}, "amount", "NaN is not finite"),
        ({"amount": float("inf")}, "amount", "Infinity is not finite"),
        ({"amount": -1}, "amount", "-1 is outside its range [0, …]"),
        ({"amount": 10**400}, "amount", "is too large"),
        ({"amount": [1]}, "amount", "an array is not a number"),
        ({"items": 1.5}, "items", "1.5 is not a whole number"),
        ({"items": 1e300}, "items", "more than 64 bits"),
        ({"items": True}, "items", "true is not a whole number"),
        ({"items": 2**63}, "items", "more than 64 bits"),
        ({"online": 1}, "online", "1 is not true or false"),
        ({"country": 3}, "country", "3 is not a text"),
        ({"country": "x" * 20_000}, "country", "longer than"),
        ({"paid_at": "yesterday"}, "paid_at", "yesterday' is not an ISO-8601 time"),
        ({"paid_at": 12}, "paid_at", "12 is not an ISO-8601 time"),
        ({"paid_at": None}, "paid_at", "null is not allowed"),
        ({"id": "a b"}, "payment_id", '"a b" is not an id'),
        ({"id": "x" * 65}, "payment_id", "is not an id"),
        ({"card": None}, "card", "null is not allowed"),
    ],
)
def test_a_bad_value_is_a_problem_and_its_neighbours_are_fine(change: dict[str, Any], column: str, said: str) -> None:
    frame, problems = decode_rows(CONTRACT, [GOOD, GOOD | change, {**GOOD, "id": "pay_3"}])
    assert frame["payment_id"].to_list() == ["pay_1", "pay_3"]
    assert [(problem.index, problem.column) for problem in problems] == [(1, column)]
    assert said in problems[0].sentence
    assert column in problems[0].sentence


def test_a_missing_column_names_the_likely_one_and_a_row_that_is_no_object_is_a_problem() -> None:
    row = {"amuont" if name == "amount" else name: value for name, value in GOOD.items()}
    frame, problems = decode_rows(CONTRACT, [row, 7, GOOD, None, [GOOD]])
    assert frame.height == 1
    assert [problem.index for problem in problems] == [0, 1, 3, 4]
    assert "is missing; did you mean 'amuont'?" in problems[0].sentence
    assert "a row is an object" in problems[1].sentence


def test_no_id_is_fine_and_no_time_is_the_time_of_arrival() -> None:
    row = {name: value for name, value in GOOD.items() if name not in ("id", "paid_at")}
    now = datetime(2024, 6, 1, tzinfo=UTC)
    frame, problems = decode_rows(CONTRACT, [row, GOOD], now=now)
    assert problems == []
    assert frame["event_time"].to_list() == [now, datetime(2024, 5, 1, 12, tzinfo=UTC)]
    assert frame["payment_id"].to_list() == [None, "pay_1"]


def test_a_numeric_time_counts_from_its_origin() -> None:
    contract = Contract(
        columns=(Column(name="Time", type="float", role="time"), Column(name="a", type="float", role="feature")),
        time_unit="s",
        time_origin="2013-09-01T00:00:00+00:00",
    )
    rows = [{"Time": 1.5, "a": 1}, {"Time": 1e18, "a": 1}, {"a": 1}]
    frame, problems = decode_rows(contract, rows, now=datetime(2013, 9, 1, 0, 1, tzinfo=UTC))
    assert frame["event_time"].to_list() == [
        datetime(2013, 9, 1, 0, 0, 1, 500_000, tzinfo=UTC), datetime(2013, 9, 1, 0, 1, tzinfo=UTC),
    ]  # fmt: skip
    assert frame["Time"].to_list() == [1.5, 60.0]
    assert [problem.index for problem in problems] == [1]


def test_naive_times_are_read_in_the_models_zone() -> None:
    contract = Contract(columns=CONTRACT.columns, timezone="Europe/Berlin")
    rows = [GOOD | {"paid_at": "2024-07-01T12:00:00"}, GOOD | {"paid_at": "2024-10-27T02:30:00"}]
    frame, problems = decode_rows(contract, rows)
    assert frame["event_time"].to_list() == [datetime(2024, 7, 1, 10, tzinfo=UTC)]
    assert "is there twice" in problems[0].sentence


@pytest.mark.parametrize("column", [*CONTRACT.columns[1:2], Column(name="paid_at", type="float", role="time")])
@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("1969-12-31T23:59:59+00:00", "lies before 1970"),
        ("2024-06-02T00:00:01+00:00", "lies in the future, it is 2024-06-01T00:00:00+00:00"),
        ("9998-12-30T23:59:59+00:00", "lies in the future"),
        ("2024-06-02T00:00:00+00:00", None),
        ("1970-01-01T00:00:00+00:00", None),
    ],
)
def test_a_row_of_another_age_is_a_problem_where_it_arrives(column: Column, at: str, said: str | None) -> None:
    contract = Contract(columns=(column, *CONTRACT.columns[2:]), time_unit="s")
    when: Any = at if column.type == "datetime" else datetime.fromisoformat(at).timestamp()
    rows = [GOOD | {"paid_at": when}, GOOD | {"paid_at": when if said is None else None}]
    frame, problems = decode_rows(contract, rows, now=datetime(2024, 6, 1, tzinfo=UTC))
    assert frame.height == (2 if said is None else 1)
    assert [problem.index for problem in problems] == ([] if said is None else [0])
    assert said is None or (said in problems[0].sentence and problems[0].value == when)
    assert decode_rows(contract, rows[:1])[1] == []


def test_a_number_beyond_every_calendar_is_a_problem() -> None:
    contract = Contract(columns=(Column(name="paid_at", type="float", role="time"),), time_unit="s")
    for value in (1e308, -1e308, 1e18, 2**62):
        assert "outside the years 1 to 9999" in decode_rows(contract, [{"paid_at": value}])[1][0].sentence


def test_what_is_said_of_a_value_is_short_and_as_json_writes_it() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    for value in ("é" * 5_000_000, deep, {"a": deep}, 10**4000, "9" * 5_000_000, True, [*range(10_000)]):
        for column in ("paid_at", "amount", "items", "online", "country", "id", "card"):
            for problem in decode_rows(CONTRACT, [GOOD | {column: value}])[1]:
                assert len(problem.sentence) < 200
                assert "True" not in problem.sentence
    assert "not an array" in decode_rows(CONTRACT, [deep])[1][0].sentence


def test_the_same_mistake_in_every_row_is_told_quickly() -> None:
    names = {f"amuont{number}": 1 for number in range(30)}
    began_s = time.perf_counter()
    _, problems = decode_rows(CONTRACT, [names] * 5_000)
    assert {problem.index for problem in problems} == set(range(5_000))
    assert time.perf_counter() - began_s < 5.0


def test_an_id_of_null_stands_for_none() -> None:
    frame, problems = decode_rows(CONTRACT, [GOOD | {"payment_id": None}, GOOD | {"payment_id": "own"}])
    assert problems == []
    assert frame["payment_id"].to_list() == ["pay_1", "own"]


def test_no_rows_give_an_empty_frame_of_the_same_types() -> None:
    frame, problems = decode_rows(CONTRACT, [])
    assert frame.schema == decode_rows(CONTRACT, [GOOD])[0].schema
    assert (frame.height, problems) == (0, [])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
changed = st.dictionaries(st.sampled_from([*GOOD, "payment_id", "event_time"]), anything, max_size=2)
mixed = st.lists(st.one_of(st.just(GOOD), changed.map(lambda change: GOOD | change), anything), max_size=8)


@settings(max_examples=300, deadline=None)
@given(mixed)
def test_whatever_is_sent_each_row_is_answered_or_named_as_if_it_were_alone(rows: list[Any]) -> None:
    frame, problems = decode_rows(CONTRACT, rows)
    bad = {problem.index for problem in problems}
    assert frame.height == len(rows) - len(bad)
    alone = [decode_rows(CONTRACT, [row]) for row in rows]
    assert bad == {index for index, (_, found) in enumerate(alone) if found}
    good = [one for one, found in alone if not found]
    if good:
        assert pl.concat(good).equals(frame)
    assert frame["amount"].is_finite().all()
    json.dumps([problem.sentence for problem in problems])
