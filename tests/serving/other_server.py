"""A small real inference server of another making: Open Inference Protocol and MLflow's `/invocations`."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class OtherServer:
    """Scores rows by their amount. What it was asked is kept, and it can be told to misbehave.

    status: of its answers; said: its whole answer instead. free: cleared, it keeps every caller waiting.
    closes: it closes each connection after its answer.
    """

    def __init__(self, bias: float) -> None:
        self.bias = bias
        self.asked: list[tuple[str, Mapping[str, str], dict[str, Any]]] = []
        self.status = 200
        self.said: Any = None
        self.closes = False
        self.free = threading.Event()
        self.free.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def well(self) -> None:
        self.status, self.said, self.closes = 200, None, False
        self.free.set()

    def stop(self) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()

    def score(self, amount: float | None) -> float:
        return 1.0 / (1.0 + math.exp(-(0.02 * (0.0 if amount is None else amount) + self.bias)))

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/invocations":
            split = body["dataframe_split"]
            amounts = [dict(zip(split["columns"], row, strict=True))["amount"] for row in split["data"]]
            return {"predictions": [[1.0 - self.score(one), self.score(one)] for one in amounts]}
        assert path == "/v2/models/fraud/infer", path
        tensors = {one["name"]: one for one in body["inputs"]}
        assert all(len(one["data"]) == math.prod(one["shape"]) for one in body["inputs"])
        if "input" in tensors:
            [rows, width] = tensors["input"]["shape"]
            amounts = [tensors["input"]["data"][width * n] for n in range(rows)]
        else:
            assert body["parameters"] == {"content_type": "pd"}
            assert (tensors["amount"]["datatype"], tensors["country"]["datatype"]) == ("FP64", "BYTES")
            amounts = tensors["amount"]["data"]
        output = {
            "name": "p",
            "datatype": "FP64",
            "shape": [len(amounts), 1],
            "data": [[self.score(x)] for x in amounts],
        }
        return {"model_name": "fraud", "id": "1", "outputs": [output]}


def _handler(server: OtherServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append((self.path, dict(self.headers.items()), body))
            server.free.wait(30)
            said = server.said if server.said is not None else server.answer(self.path, body)
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(server.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if server.closes:  # without saying so: the next request meets a connection that is gone
                self.close_connection = True
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked waits no more
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def other_server(bias: float) -> Iterator[OtherServer]:
    server = OtherServer(bias)
    try:
        yield server
    finally:
        server.stop()
