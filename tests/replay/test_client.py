"""The client against a real server on a real socket."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from everloop.errors import TrafficError
from everloop.replay import Client


class Echo(BaseHTTPRequestHandler):
    """Answers a body with itself; closes the connection without an answer where it reads `hang up`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"hang up":
            self.close_connection = True
            return
        self.answer(404 if self.path == "/nowhere" else 200, body)

    def do_GET(self) -> None:
        self.answer(200, self.path.encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_answers_come_in_the_order_of_the_bodies(url: str) -> None:
    bodies = [f"body {number}".encode() for number in range(50)]
    with Client(url, connections=4) as client:
        answers = client.post("/echo", bodies)
        again = client.post("/echo", bodies[::-1])
    assert [answer.body for answer in answers] == bodies
    assert [answer.body for answer in again] == bodies[::-1]
    assert {answer.status for answer in answers} == {200}


def test_a_body_larger_than_a_packet_arrives_whole(url: str) -> None:
    body = bytes(range(256)) * 4_000
    with Client(url, connections=2) as client:
        assert [answer.body for answer in client.post("/echo", [body, body, b""])] == [body, body, b""]


def test_a_status_is_told(url: str) -> None:
    with Client(url, connections=1) as client:
        assert client.post("/nowhere", [b"x"])[0].status == 404
        assert client.get("/page").body == b"/page"


def test_a_connection_that_breaks_costs_its_own_request_alone(url: str) -> None:
    with Client(url, connections=2) as client:
        answers = client.post("/echo", [b"a", b"hang up", b"b", b"c"])
        after = client.post("/echo", [b"d", b"e"])
    assert [answer.status for answer in answers] == [200, 0, 200, 200]
    assert b"closed the connection" in answers[1].body
    assert [answer.body for answer in after] == [b"d", b"e"]


def test_a_server_that_is_not_there_is_an_answer_of_status_0() -> None:
    with Client("http://127.0.0.1:1", connections=1) as client:
        assert client.get("/").status == 0


def test_meanwhile_is_called_once(url: str) -> None:
    called: list[int] = []
    with Client(url, connections=2) as client:
        client.post("/echo", [b"a", b"b", b"c"], meanwhile=lambda: called.append(1))
    assert called == [1]


@pytest.mark.parametrize("bad", ["https://127.0.0.1:1", "127.0.0.1:80", "http://127.0.0.1"])
def test_another_address_is_refused(bad: str) -> None:
    with pytest.raises(TrafficError, match="http://HOST:PORT"):
        Client(bad)
