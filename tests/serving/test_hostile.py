"""What a clumsy or hostile caller sends: answered with a problem, at no cost to others, nothing half recorded."""

import gzip
import json
import socket
import threading

import httpx
import jsonschema
import msgspec
import openapi_spec_validator
import pytest

from everloop.bundle import BundleParts
from everloop.clock import SystemClock
from everloop.data import Column, FeatureTree
from everloop.ledger import VersionRegistered
from everloop.rollout import deploy
from everloop.serving.protocol import HEAD_BYTES
from everloop.traffic import Mover, TrafficLog
from tests.serving.place import CONTRACT, Place, baseline, endpoint, graph, row, wait_until


@pytest.fixture
def post(served):
    _, running = served

    def send(body, *, to="predict", **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(f"{running.url}/v1/models/fraud/{to}", content=content, headers=headers, timeout=60)

    return send


def spoken(running, *parts):
    """All that comes back for these bytes until the endpoint closes the connection or a second is silent."""
    with socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1]))) as connection:
        connection.settimeout(5)
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < _length(answer):
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
        except ConnectionError:
            pass
    return answer


def _length(answer):
    lines = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    return next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)


LONG = '"' + "x" * 2_000_000 + '"'


def is_problem(reply, status, kind):
    problem = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status_code, problem["status"], problem["type"]) == (status, status, f"urn:everloop:problem:{kind}")
    return problem["detail"]


@pytest.mark.parametrize(
    "deep", [b"[" * 100_000, b'{"a":' * 100_000, json.dumps(row(1))[:-1].encode() + b',"x":' + b"[" * 5000]
)
def test_values_in_values_without_end_cost_the_others_nothing(post, served, deep):
    _, running = served
    replies = {}

    def send(name, body):
        replies[name] = post(body)

    sent = [threading.Thread(target=send, args=(n, deep if n % 2 else row(2000 + n))) for n in range(8)]
    for thread in sent:
        thread.start()
    for thread in sent:
        thread.join()
    assert [replies[n].status_code for n in range(8)] == [200, 400] * 4
    is_problem(replies[1], 400, "bad-request")
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("depth", range(940, 1000, 7))
def test_any_depth_is_answered(post, depth):
    body = json.dumps(row(2100 + depth))[:-1].encode() + b',"x":' + b"[" * depth + b"]" * depth + b"}"
    assert post(body).status_code in (200, 400)


@pytest.mark.parametrize("column", ["payment_id", "card_id", "paid_at", "amount", "visits", "country", "extra"])
@pytest.mark.parametrize(
    "value",
    ["1" + "0" * 4000, "1e400", "1e308", "-1e308", str(2**64), "true", "[]", '{"a":[1]}', '"\\u0000"', LONG,
     '"\\ud800"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59.999999Z"', '"9999-12-31T23:59:59-14:00"'],
)  # fmt: skip
def test_no_value_of_a_row_is_answered_with_an_error_of_ours(post, column, value):
    bad = json.dumps(row(2200, **{column: "@"})).replace('"@"', value).encode()
    alone = post(bad)
    assert alone.status_code in (200, 400, 409, 422)
    assert len(alone.content) < 2000
    both = post(b'{"rows": [' + bad + b"," + json.dumps(row(2201)).encode() + b"]}")
    assert both.status_code == 400 or both.json()["results"][-1]["id"] == "pay_2201"


@pytest.mark.parametrize("name", ["fraud", "observed_at", "source", "payment_id", "more"])
@pytest.mark.parametrize(
    "value",
    ["1" + "0" * 4000, "7", "1.5", "1e308", "[]", '{"a":{"b":1}}', LONG, '"0001-01-01T00:00:00+14:00"',
     '"9999-12-31T23:59:59.5-14:00 "', '"0001-01-01 "'],
)  # fmt: skip
def test_a_bad_outcome_is_told_and_its_neighbour_recorded(post, name, value):
    outcome = {"payment_id": "pay_1", "fraud": 1}
    bad = json.dumps(outcome | {name: "@"}).replace('"@"', value).encode()
    reply = post(b'{"rows": [' + bad + b"," + json.dumps(outcome).encode() + b"]}", to="outcomes")
    assert reply.status_code == 200
    body = reply.json()
    accepted = (name, value) == ("payment_id", "7") or (name == "source" and value.startswith('"') and len(value) < 100)
    assert (body["recorded"], [one["column"] for one in body["errors"]]) == ((2, []) if accepted else (1, [name]))
    assert len(reply.content) < 1500


def test_many_mistakes_give_a_small_reply_that_still_names_every_bad_row(post):
    reply = post({"rows": [{f"no{n}": 1 for n in range(20)} for _ in range(2000)]})
    assert {error["index"] for error in reply.json()["errors"]} == set(range(2000))
    assert len(reply.content) < 600_000
    detail = is_problem(post({}), 422, "bad-row")
    assert len(detail) < 400
    many = post({"id": "pay_1", "fraud": 1} | {f"k{n}": n for n in range(50_000)}, to="outcomes")
    assert "and 49,995 more" in is_problem(many, 422, "bad-row")
    beside = post({"rows": []} | {"k" * 500 + str(n): n for n in range(1000)})
    assert len(is_problem(beside, 400, "bad-request")) < 500


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"a":1},', b'"a",', b"1.5,"])
def test_a_body_of_far_too_many_values_is_refused_before_it_is_read(post, unit):
    body = b'{"rows":[' + unit * (63_000_000 // len(unit)) + b"{}]}"
    assert "more values than 2,000 rows can have" in is_problem(post(body), 413, "too-many-values")


def test_a_large_body_of_long_texts_is_answered(post):
    text = "[note] {" + "He said yes, or no, and went on without end. " * 200
    rows = [row(9000 + n, country=text) for n in range(1000)]
    assert len(json.dumps(rows)) > 8_000_000
    assert len(post({"rows": rows}).json()["results"]) == 1000


def test_an_encoded_body_and_an_endless_path_are_told(post, served):
    _, running = served
    detail = is_problem(post(gzip.compress(b"{}"), **{"content-encoding": "gzip"}), 415, "encoded")
    assert "gzip" in detail
    assert len(httpx.get(f"{running.url}/{'a' * 50_000}").json()["detail"]) < 400
    assert len(httpx.post(f"{running.url}/v1/models/{'a' * 50_000}/predict").json()["detail"]) < 400


def request(body, *headers, length=None):
    head = [b"POST /v1/models/fraud/predict HTTP/1.1", b"Host: x", *headers]
    return b"\r\n".join([*head, b"Content-Length: %s" % (b"%d" % len(body) if length is None else length), b"", body])


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x00\xa5\x01", b"GET / HTTP/3.0\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n", request(b"{}", length=b"-5"),
     request(b"{}", length=b"9" * 40), request(b"{}", length=b"abc"), "GET /é HTTP/1.1\r\n\r\n".encode(),
     request(b"{}", b"Transfer-Encoding: chunked"), request(b"zz\r\n", b"Transfer-Encoding: chunked", length=b"3")],
)  # fmt: skip
def test_what_is_no_http_is_a_problem(served, sent):
    _, running = served
    answer = spoken(running, sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:everloop:problem:bad-http"


def test_a_length_with_thousands_of_noughts_is_a_length(served):
    _, running = served
    assert spoken(running, request(b"{", length=b"0" * 5000 + b"1")).startswith(b"HTTP/1.1 400 ")
    assert spoken(running, request(b"", length=b"0" * 5000 + b"64000001")).startswith(b"HTTP/1.1 413 ")
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("flood", [b"X-%d: y\r\n", b"y%d"])
def test_a_head_without_end_is_cut_off(served, flood):
    _, running = served
    body = b"".join(flood % n for n in range(2 * HEAD_BYTES))
    answer = spoken(running, b"GET /healthz HTTP/1.1\r\nX: ", body[: 4 * HEAD_BYTES])
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("wish", [b"h2c", b"websocket", b"TLS/1.0"])
def test_a_wish_to_speak_something_else_loses_no_body(served, wish):
    _, running = served
    body = json.dumps(row(2300)).encode()
    headers = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + wish, b"HTTP2-Settings: AAEAAEAA")
    for parts in ([request(body, *headers)], [request(body, *headers)[:-50], body[-50:]]):
        answer = spoken(running, *parts)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"pay_2300"' in answer
    both = spoken(running, request(body, *headers) + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'"pay_2300"' in both


def test_a_body_in_many_chunks_is_one_body(served):
    _, running = served
    body = json.dumps(row(2301)).encode()
    head = b"POST /v1/models/fraud/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"1\r\n%c\r\n" % byte for byte in body]
    assert b'"pay_2301"' in spoken(running, head, *chunks, b"0\r\n\r\n")


def test_a_row_that_the_champion_gives_no_number_for_costs_its_neighbours_nothing(place):
    parts = BundleParts(
        graph=graph([10.0, -1e38, 0.5], -1.0), features=FeatureTree.of(CONTRACT), contract=CONTRACT,
        baseline=baseline(), threshold=0.5, metrics={"recall": 0.8}, spec_hash="h",
        model="fraud", learner="logistic", target="fraud", positive="fraud", negative="not_fraud",
    )  # fmt: skip
    payload = VersionRegistered(
        model="fraud", bundle=place.store.write(parts), run="r-1", spec="fraud-s1", spec_hash="h"
    )
    version, _ = place.ledger.register_version("fraud", payload, actor="test")
    deploy(place.ledger, "fraud", version.number, actor="alice", reason="test")
    with endpoint(place.project.root) as running:
        good, bad = row(1), row(2, amount=3e38, visits=4)  # infinity less infinity
        reply = httpx.post(running.predict, json={"rows": [good, bad, good | {"payment_id": "pay_3"}]})
        assert reply.status_code == 200
        body = reply.json()
        assert [one["id"] for one in body["results"]] == ["pay_1", "pay_3"]
        assert [(error["index"], error["id"]) for error in body["errors"]] == [(1, "pay_2")]
        is_problem(httpx.post(running.predict, json=bad), 422, "bad-row")


def moved(place):
    with Mover.open(spool=place.project.paths.spool, traffic=place.project.paths.traffic, clock=SystemClock()) as mover:
        mover.move_once()
    log = TrafficLog(place.project.paths.traffic, "fraud")
    return log.predictions().collect()["prediction_id"].to_list(), log.outcomes().collect()


def test_a_spool_that_is_deleted_or_damaged_loses_nothing_acknowledged_after_it(place: Place):
    place.deployed()
    spool = place.project.paths.spool
    with endpoint(place.project.root) as running:
        assert httpx.post(running.predict, json=row(1)).status_code == 200
        for file in spool.glob("slot-0.db*"):
            file.unlink()
        assert httpx.post(running.predict, json=row(2)).status_code == 200
        for file in spool.iterdir():
            file.unlink()
        spool.rmdir()
        assert httpx.post(running.predict, json=row(3)).status_code == 200
        assert httpx.post(running.outcomes, json={"id": "pay_3", "fraud": True}).status_code == 200
    with (spool / "slot-0.db").open("r+b") as file:
        file.write(b"no database" * 1000)
    for end in ("-wal", "-shm"):
        (spool / f"slot-0.db{end}").unlink(missing_ok=True)
    with endpoint(place.project.root) as running:
        wait_until(lambda: running.serves(1))
        assert httpx.post(running.predict, json=row(4)).status_code == 200
    ids, outcomes = moved(place)
    assert ids == ["pay_4"]
    assert outcomes.height == 0
    assert len(list(spool.glob("damaged-*-slot-0.db"))) == 1


def test_what_was_done_is_an_outcome_alone_or_beside_the_truth(place: Place):
    columns = (*CONTRACT.columns, Column(name="action", type="string", role="outcome"))
    version = place.version(contract=msgspec.structs.replace(CONTRACT, columns=columns))
    deploy(place.ledger, "fraud", version, actor="alice", reason="test")
    with endpoint(place.project.root) as running:
        rows = [
            {"id": "pay_1", "action": "declined"}, {"id": "pay_2", "action": None, "fraud": 0}, {"id": "pay_3"},
            {"id": "pay_4", "action": 5, "fraud": 1}, {"id": "pay_5", "actoin": "declined", "fraud": 1},
        ]  # fmt: skip
        body = httpx.post(running.outcomes, json={"rows": rows}).json()
        document = httpx.get(f"{running.url}/openapi.json").json()
    assert (body["recorded"], [one["index"] for one in body["errors"]]) == (2, [2, 3, 4])
    assert "fraud, action" in body["errors"][2]["detail"]
    schema = {"$ref": "#/components/schemas/fraud.outcome", "components": document["components"]}
    valid = [jsonschema.Draft202012Validator(schema).is_valid(one) for one in rows]
    assert valid == [True, True, False, False, False]
    openapi_spec_validator.validate(document)
    _, outcomes = moved(place)
    told = {(one["prediction_id"], one["name"], one["value"]) for one in outcomes.iter_rows(named=True)}
    assert told == {("pay_1", "action", "declined"), ("pay_2", "action", None), ("pay_2", "fraud", "0.0")}
