"""Rows in bulk: the same table as Arrow and as JSON gets the same answers, and hostile bytes cost nobody anything."""

from __future__ import annotations

import io
import itertools
import json
import random
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.serving.arrow import ARROW_FILE, ARROW_STREAM, ArrowForm, form_of
from everloop.serving.batcher import Ask
from tests.serving.place import Endpoint, Place, row
from tests.serving.rig import Rig

BOTH = ArrowForm(sent=True, wanted=True)
NUMBERS = itertools.count()
SCHEMA = {
    "payment_id": pl.String, "card_id": pl.String, "paid_at": pl.String, "amount": pl.Float64, "visits": pl.Int64,
    "country": pl.String,
}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def stream(frame: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    frame.write_ipc_stream(written)
    return written.getvalue()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Rig(Place.make(tmp_path_factory.mktemp("arrow")), max_rows=2000)
    made.route(made.place.version())
    yield made
    made.spool.close()


def test_a_table_is_answered_row_for_row_in_its_order(served: tuple[Place, Endpoint]) -> None:
    rows = [row(number, payment_id=f"bulk_{number}") for number in range(1_500)]
    rows[7] |= {"amount": -1.0}
    rows[9] |= {"payment_id": None}
    expected = httpx.post(
        served[1].predict, json={"rows": [one | {"payment_id": f"j{n}"} for n, one in enumerate(rows)]}
    )
    reply = httpx.post(served[1].predict, content=stream(table(rows)), headers={"content-type": ARROW_STREAM})
    assert (reply.status_code, reply.headers["content-type"]) == (200, ARROW_STREAM)
    found = pl.read_ipc_stream(reply.content)
    assert found.columns == ["index", "id", "score", "decision", "version", "side", "error"]
    assert found["index"].to_list() == list(range(1_500))
    assert found["error"].is_not_null().arg_true().to_list() == [7]
    assert found["error"][7] == "amount: -1.0 is outside its range [0, …]"
    assert found["id"][7] == "bulk_7"
    assert found["id"][9][14] == "7", "a new one"
    good = found.filter(pl.col("error").is_null())
    assert good["score"].to_list() == [one["score"] for one in expected.json()["results"]]
    assert good["decision"].to_list() == [one["decision"] for one in expected.json()["results"]]


def test_the_answer_is_in_the_form_that_is_asked_for(served: tuple[Place, Endpoint]) -> None:
    rows = [row(1, payment_id="form_1"), row(2, payment_id="form_2")]
    arrow, plain = {"content-type": ARROW_STREAM}, {"accept": "application/json"}
    as_json = httpx.post(served[1].predict, content=stream(table(rows)), headers=arrow | plain)
    same = httpx.post(served[1].predict, json={"rows": rows})
    assert as_json.headers["content-type"] == same.headers["content-type"] == "application/json"
    assert as_json.content == same.content, "a repeat in the other form gets the recorded answer"
    as_table = httpx.post(served[1].predict, json={"rows": rows}, headers={"accept": ARROW_STREAM})
    assert pl.read_ipc_stream(as_table.content)["id"].to_list() == ["form_1", "form_2"]
    written = io.BytesIO()
    table(rows).write_ipc(written)
    filed = httpx.post(served[1].predict, content=written.getvalue(), headers={"content-type": ARROW_FILE})
    assert filed.content == as_table.content


@pytest.mark.parametrize(
    ("sent", "accept", "form"),
    [
        (b"application/json", b"*/*", None),
        (b"", b"", None),
        (b"application/vnd.apache.arrow.stream", b"*/*", BOTH),
        (b"Application/Vnd.Apache.Arrow.File; x=1", b"", BOTH),
        (b"application/vnd.apache.arrow.stream", b"application/json", ArrowForm(sent=True, wanted=False)),
        (b"application/json", b"application/vnd.apache.arrow.stream", ArrowForm(sent=False, wanted=True)),
        (b"", b"application/vnd.apache.arrow.stream, application/json;q=0.5", ArrowForm(sent=False, wanted=True)),
    ],
)
def test_headers_say_which_form(sent: bytes, accept: bytes, form: ArrowForm | None) -> None:
    assert form_of(sent, accept) == form


rows_of = st.lists(
    st.builds(
        dict,
        payment_id=st.none() | st.just("no id"),
        card_id=st.sampled_from(["c1", "c2"]),
        paid_at=st.sampled_from(["2025-01-01T10:00:00Z", "2025-01-01", "yesterday"]),
        amount=st.floats(-1, 100) | st.floats(allow_nan=False, allow_infinity=False),
        visits=st.none() | st.integers(-(2**63), 2**63 - 1),
        country=st.sampled_from(["AT", "BE", "XX", None, "Ä" * 10_001]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of)
def test_the_same_table_as_json_and_as_arrow_gets_the_same_answers(rig: Rig, rows: list[dict[str, Any]]) -> None:
    """The answers by row: with ids of their own they are the same to the bit, and so is what is wrong."""

    mark = next(NUMBERS)

    def named(way: str) -> list[dict[str, Any]]:
        return [one | {"payment_id": one["payment_id"] or f"{way}_{n}_{mark}"[:64]} for n, one in enumerate(rows)]

    of_json = json.loads(rig.ask({"rows": named("j")}).body)
    of_arrow = json.loads(rig.ask(stream(table(named("a"))), ArrowForm(sent=True, wanted=False)).body)
    for body in (of_json, of_arrow):
        for one in (*body.get("results", ()), *body["errors"]):
            one["id"] = (one["id"] or "")[1:]
    assert of_arrow == of_json


def test_tables_and_rows_that_come_together_are_scored_together(rig: Rig) -> None:
    before, two = rig.batches(), table([row(1, payment_id="t1"), row(2, payment_id="t2")])
    asks = [
        Ask(model="fraud", kind="predict", body=stream(two), form=BOTH),
        Ask(model="fraud", kind="predict", body=json.dumps({"rows": [row(3, payment_id="t3")]}).encode()),
        Ask(model="fraud", kind="predict", body=b"no arrow", form=BOTH),
        Ask(model="fraud", kind="predict", body=stream(table([row(4, payment_id="t1"), row(5)])), form=BOTH),
        Ask(model="fraud", kind="predict", body=stream(table([row(4, payment_id="t1")])), form=BOTH),
    ]
    replies = rig.pipeline(asks)
    assert [reply.status for reply in replies] == [200, 200, 400, 200, 409]
    assert rig.batches() == before + 1
    assert pl.read_ipc_stream(replies[0].body)["id"].to_list() == ["t1", "t2"]
    assert json.loads(replies[1].body)["results"][0]["id"] == "t3"
    assert "was used for another row" in pl.read_ipc_stream(replies[3].body)["error"][0]
    assert "was used for another row" in json.loads(replies[4].body)["detail"]


def test_what_the_contract_has_not_is_ignored_and_names_the_likely_column(rig: Rig) -> None:
    frame = table([row(1, payment_id="hint")]).rename({"amount": "amuont"}).with_columns(note=pl.lit("x"))
    body = json.loads(rig.ask(stream(frame), ArrowForm(sent=True, wanted=False)).body)
    assert "did you mean 'amuont'?" in body["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "it ends before its schema"),
        (b"not arrow at all", 400, "byte 0 begins no message"),
        (stream(table([])), 400, "the table has no rows"),
        (stream(pl.DataFrame({"amount": [[1.0]]})), 400, "column 'amount' is of Arrow's type large list"),
        (stream(pl.DataFrame({f"c{n}": [1] for n in range(513)})), 413, "513 columns, which are more than 512"),
        (stream(pl.DataFrame({"amount": [1.0] * 2001})), 413, "more than 2,000 rows"),
    ],
)
def test_what_is_no_table_is_a_problem(rig: Rig, body: bytes, status: int, said: str) -> None:
    reply = rig.ask(body, BOTH)
    problem = json.loads(reply.body)
    assert (reply.status, reply.content_type) == (status, "application/problem+json")
    assert said in problem["detail"]


def test_hostile_bytes_end_no_process(served: tuple[Place, Endpoint]) -> None:
    chance, good = random.Random(3), stream(table([row(number, payment_id=None) for number in range(20)]))
    seen = set()
    with httpx.Client() as http:
        for _ in range(150):
            raw = bytearray(good)
            for _ in range(chance.choice([1, 2, 4])):
                at = chance.randrange(len(raw))
                part = chance.choice([b"\xff" * 8, b"\xff\xff\xff\x7f", bytes(8), bytes([chance.randrange(256)])])
                raw[at : at + len(part)] = part
            reply = http.post(served[1].predict, content=bytes(raw), headers={"content-type": ARROW_STREAM})
            seen.add(reply.status_code)
    assert seen <= {200, 400, 413}
    assert len(seen) > 1
    assert served[1].process.poll() is None
