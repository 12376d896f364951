import json
import re
import sqlite3
import subprocess
import sys
import threading

import httpx
import jsonschema
import pytest

from everloop.clock import SystemClock
from everloop.errors import AlreadyRunning
from everloop.serving import server
from everloop.serving.counters import Counters
from everloop.serving.live import Live
from everloop.serving.spool_count import SpoolCount
from everloop.serving.status import Status
from everloop.traffic import Pending, pending_rows
from tests.serving.place import CONTRACT, row, wait_until

THREE = Pending(rows=3, size_bytes=300, oldest_us=0)


@pytest.fixture
def post(served):
    _, running = served

    def send(body, *, to=None):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(running.predict if to is None else f"{running.url}{to}", content=content)

    return send


def test_rows_are_answered_in_their_order(post):
    reply = post({"rows": [row(1), row(2), row(290)]})
    assert reply.status_code == 200
    body = reply.json()
    assert body["model"] == "fraud"
    assert body["errors"] == []
    assert [one["id"] for one in body["results"]] == ["pay_1", "pay_2", "pay_290"]
    assert {(one["version"], one["side"]) for one in body["results"]} == {(1, "champion")}
    assert [one["decision"] for one in body["results"]] == [
        "fraud" if one["score"] >= 0.5 else "not_fraud" for one in body["results"]
    ]
    assert {one["decision"] for one in body["results"]} == {"fraud", "not_fraud"}


def test_a_row_may_be_sent_alone_and_an_id_is_given_where_none_is(post):
    alone = {name: value for name, value in row(3).items() if name != "payment_id"}
    body = post(alone).json()
    assert len(body["results"]) == 1
    assert body["results"][0]["id"][14] == "7"
    assert post(alone | {"id": "mine"}).json()["results"][0]["id"] == "mine"


def test_a_bad_row_costs_its_neighbours_nothing(post):
    rows = [row(10), row(11, amount="much"), row(12, amount=-1), row(13, payment_id="no spaces"), "text", row(14)]
    body = post({"rows": rows}).json()
    assert [one["id"] for one in body["results"]] == ["pay_10", "pay_14"]
    told = {(error["index"], error["column"]) for error in body["errors"]}
    assert told == {(1, "amount"), (2, "amount"), (3, "payment_id"), (4, None)}
    first = body["errors"][0]
    assert (first["id"], first["value"]) == ("pay_11", "much")
    assert '"much" is not a number' in first["detail"]


def test_where_no_row_is_good_the_request_is_refused_and_says_why_of_each(post):
    bad = [row(16, amount="much"), row(17, amount=-1.0, visits="two"), 7]
    reply = post({"rows": bad})
    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (422, "urn:everloop:problem:bad-row")
    assert reply.headers["content-type"] == "application/problem+json"
    assert [(one["index"], one["column"]) for one in problem["errors"]] == [
        (0, "amount"), (1, "amount"), (1, "visits"), (2, None),
    ]  # fmt: skip
    assert problem["detail"].startswith('none of 3 rows is good: row 0: amount: "much" is not a number')
    one = post({"rows": bad[:1]})
    assert (one.status_code, one.json()["detail"]) == (422, post(bad[0]).json()["detail"])
    assert post({"rows": [row(18), *bad]}).status_code == 200
    assert post({"rows": [row(18, amount=1.5)]}).status_code == 409
    mixed = post({"rows": [row(18, amount=1.5), bad[0]]})
    assert (mixed.status_code, [one["conflict"] for one in mixed.json()["errors"]]) == (422, [True, False])
    unsaid = {"rows": [{"id": "pay_18", "froud": 1}]}
    assert post(unsaid, to="/v1/models/fraud/outcomes").status_code == 422


def test_a_missing_column_names_the_likely_one(post):
    wrong = row(15)
    wrong["amuont"] = wrong.pop("amount")
    reply = post(wrong)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["errors"][0]["column"] == "amount"
    assert "amuont" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "bad-json"),
        (b"\xff\xfe", 400, "bad-json"),
        (b"[]", 400, "bad-request"),
        (b'{"rows": {}}', 400, "bad-request"),
        (b'{"rows": [], "more": 1}', 400, "bad-request"),
        (b'{"rows": []}', 400, "no-rows"),
        (json.dumps({"rows": [row(n) for n in range(2001)]}).encode(), 413, "too-many-rows"),
        (b" " * 64_000_001, 413, "too-large"),
    ],
)
def test_what_is_no_request_is_a_problem(post, body, status, kind):
    reply = post(body)
    problem = reply.json()
    assert (reply.status_code, problem["status"], problem["type"]) == (status, status, f"urn:everloop:problem:{kind}")


def test_unknown_models_paths_and_methods_are_problems(post, served):
    _, running = served
    assert post({"rows": [row(1)]}, to="/v1/models/froud/predict").json()["type"].endswith("unknown-model")
    assert post({}, to="/v1/models/fraud/explain").status_code == 404
    reply = httpx.get(running.predict)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert httpx.post(f"{running.url}/healthz").status_code == 405


def test_the_same_row_again_gets_the_recorded_answer_and_another_one_a_conflict(post):
    first = post(row(20))
    assert post(row(20)).content == first.content
    written = json.dumps(row(20)).replace('"amount": 20.0', '"amount": 20').replace('"visits": 0', '"visits": 0.0')
    assert post(written.encode()).content == first.content, "7 and 7.0 are one number"
    conflict = post(row(20, amount=1.5))
    assert (conflict.status_code, conflict.json()["type"]) == (409, "urn:everloop:problem:id-conflict")
    many = post({"rows": [row(20, amount=1.5), row(21), row(20)]}).json()
    assert [one["id"] for one in many["results"]] == ["pay_21", "pay_20"]
    assert [(error["index"], error["conflict"]) for error in many["errors"]] == [(0, True)]


def test_the_same_row_gives_the_same_bytes_alone_and_in_a_batch(post, served):
    place, _ = served
    rows = [row(number) for number in range(100, 1688)]
    together = {one["id"]: one["score"] for one in post({"rows": rows}).json()["results"]}
    alone = {}
    for number in range(100, 132):
        again = row(number, payment_id=f"again_{number}")
        alone[number] = post(again).json()["results"][0]["score"]
    assert all(together[f"pay_{number}"] == score for number, score in alone.items())
    from everloop.data import decode_rows

    bundle = place.store.load(place.ledger.version("fraud", 1).bundle)
    frame, _ = decode_rows(CONTRACT, rows)
    scores = bundle.score_frame(frame).score
    assert [together[one["payment_id"]] for one in rows] == [float(score) for score in scores]


def test_outcomes_are_recorded_and_bad_ones_told(served):
    _, running = served
    good = {"id": "pay_1", "fraud": True, "source": "analyst", "observed_at": "2025-01-09T00:00:00Z"}
    rows = [good, good | {"fraud": "perhaps"}, {"fraud": False}, good | {"observed_at": "2999-01-01T00:00:00Z"}]
    body = httpx.post(running.outcomes, json={"rows": rows}).json()
    assert body["recorded"] == 1
    assert [(error["index"], error["column"]) for error in body["errors"]] == [
        (1, "fraud"), (2, "payment_id"), (3, "observed_at"),
    ]  # fmt: skip
    assert httpx.post(running.outcomes, json={"id": "pay_1", "fraud": None}).json()["recorded"] == 1
    assert httpx.post(running.outcomes, json={"id": "pay_1", "froud": 1}).status_code == 422


def test_pages(served, post):
    place, running = served
    assert post({"rows": [row(k) for k in range(10)]}).status_code == 200
    assert httpx.get(f"{running.url}/healthz").json() == {"status": "ok"}
    ready = running.ready()
    assert ready["ready"]
    assert ready["models"]["fraud"] == {
        "revision": 1, "champion": 1, "challengers": [], "wanted": 1, "problem": None, "current": True,
    }  # fmt: skip
    metrics = httpx.get(f"{running.url}/metrics").text
    assert 'everloop_scored_rows_total{model="fraud",role="champion",version="1"}' in metrics
    assert 'everloop_score_seconds_bucket{le="+Inf",model="fraud"' in metrics
    assert 'everloop_batch_rows_bucket{le="10",model="fraud"}' in metrics
    pending = f"everloop_spool_rows {float(pending_rows(place.project.paths.spool))}"
    wait_until(lambda: pending in httpx.get(f"{running.url}/metrics").text)
    assert httpx.get(f"{running.url}/v1/models").json()["models"][0]["name"] == "fraud"


def test_the_api_describes_itself(served):
    _, running = served
    document = httpx.get(f"{running.url}/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    referred = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert referred <= set(schemas)
    fraud = schemas["fraud.row"]
    assert fraud["required"] == ["card_id", "amount"]
    assert fraud["properties"]["amount"] == {"type": "number", "minimum": 0.0}
    assert fraud["properties"]["visits"]["type"] == ["integer", "null"]
    assert "fraud" not in fraud["properties"]
    paths = {path.replace("{version}", "1"): item for path, item in document["paths"].items()}
    assert all(httpx.get(f"{running.url}{path}").status_code == 200 for path, item in paths.items() if "get" in item)
    for path, item in ((path, item) for path, item in paths.items() if "post" in item):
        assert item["post"]["requestBody"]["content"]["application/json"]["schema"], path
        assert {"200", "409", "422", "507"} <= set(item["post"]["responses"])


@pytest.mark.parametrize("column", [column.name for column in CONTRACT.columns if column.at_prediction])
@pytest.mark.parametrize("value", ["left out", None, "x", 7, 7.5, True, [], "2025-01-01T10:00:00Z"])
def test_the_description_allows_what_is_answered(post, served, column, value):
    _, running = served
    document = httpx.get(f"{running.url}/openapi.json").json()
    sent = row(5000, payment_id=None) | {column: value}
    if value == "left out":
        del sent[column]
    schema = {"$ref": "#/components/schemas/fraud.row", "components": document["components"]}
    reply = post(sent)
    allowed = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).is_valid(sent)
    assert allowed == (reply.status_code in (200, 409)), reply.text


def test_a_port_in_use_is_one_sentence(served):
    _, running = served
    port = int(running.url.rsplit(":", 1)[1])
    with pytest.raises(AlreadyRunning, match=f"port {port} of 127.0.0.1 is in use"):
        server.bind("127.0.0.1", port)


@pytest.mark.parametrize("port", [99_999, 65_536, -1])
def test_a_port_that_cannot_be_is_one_sentence(place, port):
    ended = subprocess.run(
        [sys.executable, "-m", "everloop.serving", "--project", str(place.project.root), f"--port={port}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    sentence = f"{port} is no port; take one of 1 to 65535, or 0, which takes a free one\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", sentence)


def test_what_waits_in_the_spool_is_counted_where_nobody_waits_for_it():
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go_on.wait(10)
        return THREE

    count = SpoolCount(slow, every_s=0.0)
    status = Status(
        live=lambda: Live(names=frozenset()),
        counters=Counters(),
        slot=0,
        clock=SystemClock(),
        pending=lambda: count.pending,
    )
    count.start()
    assert begun.wait(10)
    assert b"everloop_spool_rows" not in status.metrics().body
    go_on.set()
    wait_until(lambda: b"everloop_spool_rows 3.0" in status.metrics().body)
    count.stop()


@pytest.mark.parametrize("error", [OSError("gone"), sqlite3.OperationalError("locked")])
def test_a_spool_that_cannot_be_counted_is_counted_again_when_it_can(error):
    broken = threading.Event()

    def counted():
        if broken.is_set():
            raise error
        return THREE

    count = SpoolCount(counted, every_s=0.0)
    count.start()
    for waiting in (THREE, None, THREE):
        wait_until(lambda waiting=waiting: count.pending == waiting)
        broken.clear() if broken.is_set() else broken.set()
    count.stop()


def test_an_unseen_category_is_answered_as_a_missing_one_and_counted(served, post):
    _, running = served

    def counted() -> float:
        text = httpx.get(f"{running.url}/metrics").text
        found = re.search(r'everloop_unseen_categories_total\{column="country",model="fraud"\} (\S+)', text)
        return float(found[1]) if found else 0.0

    same = {"amount": 50.0, "visits": 1}
    assert post({"rows": [row(900_000, country="ZZ", **same)]}).status_code == 200
    wait_until(lambda: counted() >= 1)
    before = counted()
    countries = ("XX", None, "CH", "YY")
    reply = post({"rows": [row(900_001 + at, country=name, **same) for at, name in enumerate(countries)]})
    assert reply.json()["errors"] == []
    unseen, missing, known, other = (result["score"] for result in reply.json()["results"])
    assert unseen == missing == other != known
    wait_until(lambda: counted() == before + 2)
