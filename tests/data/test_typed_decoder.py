"""The fast decoder gives what the slow one gives, and leaves to it whatever is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import Column, Contract, Decoder, RowDigests, TypedDecoder

NOW = datetime(2024, 5, 2, tzinfo=UTC)
CONTRACT = Contract(
    columns=(
        Column(name="payment_id", type="string", role="id"),
        Column(name="paid_at", type="datetime", role="time"),
        Column(name="card", type="string", role="entity"),
        Column(name="amount", type="float", role="feature", minimum=0.0),
        Column(name="items", type="int", role="feature", nullable=True, maximum=1000.5),
        Column(name="online", type="bool", role="feature", nullable=True),
        Column(name="country", type="string", role="feature", nullable=True, categories=("AT", "DE")),
        Column(name="fraud", type="bool", role="target"),
    ),
    timezone="Europe/Vienna",
)
COUNTED = Contract(
    columns=(
        Column(name="Time", type="float", role="time"),
        Column(name="V1", type="float", role="feature"),
        Column(name="sent at", type="datetime", role="input", nullable=True),
    ),
    time_unit="s",
    time_origin="2024-05-01T00:00Z",
)
GOOD: dict[str, Any] = {
    "payment_id": "pay_1", "card": "c7", "paid_at": "2024-05-01T12:00:00Z", "amount": 49.9, "items": 2, "online": True,
    "country": "DE", "extra": {"ignored": 1},
}  # fmt: skip
HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
    st.sampled_from([2**63, 2**64, 10**25, 1e25, -0.0, 7.0, 1e300, "2024-05-01T12:00:00+02:00", "2024-05-01T12:00",
                     "2024-10-27T02:30", "0001-01-01T00:00:00+23:00", "1969-12-31T00:00Z", "2999-01-01T00:00Z", "a b"]),
)  # fmt: skip


def twins(contract: Contract) -> tuple[Decoder, TypedDecoder]:
    decoder = Decoder(contract)
    return decoder, TypedDecoder(decoder, contract)


def hold_together(contract: Contract, rows: list[Any]) -> bool:
    """Whether the fast one decoded the rows; what it decodes is what the slow one does."""
    decoder, typed = twins(contract)
    read = typed.read(json.dumps({"rows": rows}).encode(), max_rows=100)
    fast = None if read is None else typed.decode(read[0], now=NOW)
    if fast is None:
        return False
    slow = decoder.decode(rows, now=NOW)
    assert not slow.problems
    assert fast.frame.equals(slow.frame)
    assert list(fast.arrived) == list(slow.arrived)
    assert RowDigests(contract)(fast) == RowDigests(contract)(slow)
    return True


CHANGES = st.dictionaries(st.sampled_from([*GOOD, "id", "rows"]), HOSTILE, max_size=4)


@given(rows=st.lists(CHANGES, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_fast_decoder_gives_what_the_slow_one_gives(rows: list[dict[str, Any]]) -> None:
    hold_together(CONTRACT, [GOOD | row for row in rows])
    hold_together(COUNTED, [{"Time": 5, "V1": 1.5} | row for row in rows])


@given(row=st.dictionaries(st.sampled_from(["Time", "V1", "sent at", "id"]), HOSTILE, max_size=4))
@settings(max_examples=300, deadline=None)
def test_times_that_are_counted(row: dict[str, Any]) -> None:
    hold_together(COUNTED, [{"Time": 5, "V1": 1.5}, {"Time": 7.5, "V1": 1} | row])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"payment_id": None, "id": 17},
        {"payment_id": 9, "card": 12345678901234567890123},
        {"paid_at": None},
        {"paid_at": "2024-05-01T12:00:00.5+02:00"},
        {"paid_at": "2024-05-01T12:00"},
        {"amount": 7, "items": None, "online": None, "country": None},
        {"amount": 10**25},
        {"country": "überall"},
    ],
)
def test_good_rows_take_the_fast_way(change: dict[str, Any]) -> None:
    assert hold_together(CONTRACT, [GOOD, GOOD | change])


@pytest.mark.parametrize(
    "change",
    [
        {"payment_id": "a b"},
        {"payment_id": "a\n"},
        {"id": "a b", "payment_id": None},
        {"card": None},
        {"card": "x" * 10_001},
        {"paid_at": "yesterday"},
        {"paid_at": "2024-03-31T02:30"},
        {"paid_at": "2024-05-04T00:00Z"},
        {"amount": -1.0},
        {"amount": True},
        {"amount": "1"},
        {"items": 2**63},
        {"items": 1001},
        {"online": 1},
        {"rows": []},
    ],
)
def test_whatever_is_wrong_is_left_to_the_slow_one(change: dict[str, Any]) -> None:
    assert not hold_together(CONTRACT, [GOOD, GOOD | change])


def test_a_row_alone() -> None:
    _, typed = twins(CONTRACT)
    assert typed.read(json.dumps(GOOD).encode(), max_rows=5) == (
        typed.read(json.dumps({"rows": [GOOD]}).encode(), max_rows=5)[0],  # type: ignore[index]
        True,
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"rows": []}', b'{"rows": [], "x": 1}', b'{"r\\u006fws": [{}]}', b"\xff", b"[" * 100_000, b"NaN",
     b'{"rows": [' + b"{}," * 9 + b"{}]}", b'{"Time": 1, "V1": 2, "r\\u006fws": []}'],
)  # fmt: skip
def test_bodies_that_need_a_second_look(body: bytes) -> None:
    assert twins(CONTRACT)[1].read(body, max_rows=5) is None
    assert twins(COUNTED)[1].read(body, max_rows=5) is None


def test_a_contract_with_a_column_called_rows_has_the_slow_way_alone() -> None:
    contract = Contract(columns=(Column(name="rows", type="float", role="feature"),))
    assert twins(contract)[1].read(b'{"rows": [{"rows": 1}]}', max_rows=5) is None


def test_a_row_is_the_same_however_it_is_written_and_another_when_a_value_is() -> None:
    decoder, _ = twins(CONTRACT)
    later = datetime(2024, 5, 3, tzinfo=UTC)

    def digest(change: dict[str, Any], now: datetime = NOW) -> bytes:
        return RowDigests(CONTRACT)(decoder.decode([GOOD | change], now=now))[0]

    assert digest({"amount": 7}) == digest({"amount": 7.0, "extra": 3, "payment_id": "other"})
    assert digest({"paid_at": "2024-05-01T12:00:00Z"}) == digest({"paid_at": "2024-05-01T14:00:00+02:00"})
    assert digest({"paid_at": None}) == digest({"paid_at": None}, now=later)
    others = [{"amount": 7.5}, {"card": "c8"}, {"items": None}, {"online": False}, {"paid_at": None}]
    assert len({digest({}), *(digest(change) for change in others)}) == 6
