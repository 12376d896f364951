"""The fast lane says what the other says, and keeps the order of a connection's requests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.serving.place import Endpoint, Place, row

PATH = "/v1/models/fraud/predict"
Answer = tuple[int, dict[str, str], bytes]


class Connection:
    """Bytes to the endpoint and answers from it."""

    def __init__(self, endpoint: Endpoint) -> None:
        at = urlsplit(endpoint.url)
        self.socket = socket.create_connection((at.hostname, at.port), timeout=20)
        self.file = self.socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def answer(self) -> Answer:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name] = value
        return status, headers, self.file.read(int(headers["content-length"]))

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def connection(served: tuple[Place, Endpoint]) -> Iterator[Connection]:
    opened = Connection(served[1])
    yield opened
    opened.close()


def fast(body: bytes, *headers: str, path: str = PATH, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode() + body


def slow(body: bytes, path: str = PATH) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", "transfer-encoding: chunked"]
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + chunk + b"0\r\n\r\n"


def payment(number: int, **changes: object) -> bytes:
    return json.dumps({"rows": [row(number, **changes)]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        payment(70_001),
        payment(70_002, amount="much"),
        json.dumps(row(70_003)).encode(),
        json.dumps(row(70_004, amount=-1.0)).encode(),
        json.dumps({"rows": [row(70_005), row(70_006, visits="x")]}).encode(),
        b"",
        b"no json",
        b'{"rows": []}',
        b'{"rows": 3}',
        b"\xff\xfe",
    ],
)
def test_both_lanes_say_the_same_to_the_byte(connection: Connection, body: bytes) -> None:
    connection.send(fast(body))
    quick = connection.answer()
    connection.send(slow(body))
    other = connection.answer()
    assert quick[2] == other[2]
    assert quick[0] == other[0]
    own = {"date", "x-request-id"}
    assert own <= quick[1].keys()
    assert quick[1]["x-request-id"] != other[1]["x-request-id"]
    assert {k: v for k, v in quick[1].items() if k not in own} == {k: v for k, v in other[1].items() if k not in own}


def test_requests_one_behind_the_other_are_answered_in_their_order(connection: Connection) -> None:
    connection.send(fast(payment(71_001)), slow(payment(71_002)), fast(payment(71_003)), fast(payment(71_004)))
    ids = [json.loads(connection.answer()[2])["results"][0]["id"] for _ in range(4)]
    assert ids == [f"pay_{n}" for n in range(71_001, 71_005)]


def test_a_request_that_comes_in_pieces(connection: Connection) -> None:
    whole = fast(payment(72_001))
    for piece in (whole[:10], whole[10:60], whole[60:-20], whole[-20:]):
        connection.send(piece)
    assert connection.answer()[0] == 200
    connection.send(fast(payment(72_002)))
    assert connection.answer()[0] == 200


@pytest.mark.parametrize("request_", [fast(payment(73_001), "connection: close"), fast(payment(73_002), version="1.0")])
def test_who_asks_for_one_answer_gets_one_and_the_end(connection: Connection, request_: bytes) -> None:
    connection.send(request_)
    status, headers, _ = connection.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert connection.file.read() == b""


def test_a_client_that_leaves_costs_nobody_else_an_answer(
    served: tuple[Place, Endpoint], connection: Connection
) -> None:
    for number in range(20):
        gone = Connection(served[1])
        gone.send(fast(payment(74_000 + number)))
        gone.close()
        connection.send(fast(payment(74_100 + number)))
        assert connection.answer()[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (fast(b"{}", path="/v1/models/other/predict"), 404),
        (fast(b"{}", path=f"{PATH}?x=1"), 422),
        (fast(b"{}", "content-encoding: gzip"), 415),
        (fast(b"{}").replace(b"POST", b"PUT"), 405),
    ],
)
def test_what_is_not_plainly_of_the_fast_lane_is_told_by_the_other(
    connection: Connection, request_: bytes, status: int
) -> None:
    connection.send(request_)
    assert connection.answer()[0] == status
