"""A real webhook on this machine that can be down, hang, answer 500 and come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cr3t-t0ken"


class Receiver:
    """What came in, and how it answers: `status`, or not before `hang` is set free."""

    def __init__(self) -> None:
        self.came: list[dict[str, Any]] = []
        self.status = 200
        self.hang: threading.Event | None = None
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"json://user:{SECRET}@127.0.0.1:{self.port}/{SECRET}"

    def titles(self) -> list[str]:
        return [message["title"] for message in self.came]

    def start(self) -> None:
        """Listen; on the port of before, where it was stopped."""
        receiver = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.hang is not None:
                    receiver.hang.wait(30)
                    return
                if receiver.status == 200:
                    receiver.came.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *said: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Take)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    one.start()
    try:
        yield one
    finally:
        if one.hang is not None:
            one.hang.set()
        one.stop()


def until(true: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait for a condition."""
    tick = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        tick.wait(0.02)
    raise AssertionError("it did not come true in time")
