"""A small HTTP/1.1 client for one server on this machine: many kept connections, requests all under way at once.

A general client costs a millisecond a request, more than the endpoint takes to answer it; a replay sends tens of
thousands. What it speaks is what the endpoint answers with: a status, `content-length`, a body.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from everloop.errors import TrafficError

__all__ = ["Client", "Response"]

_CHUNK_BYTES: Final = 1 << 18
_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer: its status and its body. Status 0 means that none came; the body then says why."""

    status: int
    body: bytes


class Client:
    """Connections to one server, kept open; a context manager."""

    def __init__(self, url: str, *, connections: int = 32, timeout_s: float = 60.0) -> None:
        """url: `http://HOST:PORT`. connections: so many requests are under way at once."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None:
            raise TrafficError(f"{url!r} is not http://HOST:PORT")
        self._address = (parts.hostname, parts.port)
        self._host = f"{parts.hostname}:{parts.port}"
        self._timeout_s = timeout_s
        self._sockets: list[socket.socket | None] = [None] * connections
        self._heads: dict[tuple[str, str], bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for place in range(len(self._sockets)):
            self._drop(place)

    def get(self, path: str) -> Response:
        """The answer to one GET."""
        self._send(0, "GET", path, b"")
        return self._receive(0)

    def post(
        self, path: str, bodies: Sequence[bytes], *, meanwhile: Callable[[], object] | None = None
    ) -> list[Response]:
        """The answers to JSON bodies, in their order; several are under way at once.

        meanwhile: called once, when the first requests were sent and before their answers are read.
        A connection that breaks costs the request on it, not the others; none is sent twice.
        """
        answers: list[Response] = []
        width = len(self._sockets)
        for place, body in enumerate(bodies[:width]):
            self._send(place, "POST", path, body)
        if meanwhile is not None:
            meanwhile()
        for number in range(len(bodies)):
            place = number % width
            answers.append(self._receive(place))
            if number + width < len(bodies):
                self._send(place, "POST", path, bodies[number + width])
        return answers

    def _head(self, method: str, path: str) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            text = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
            head = self._heads[method, path] = text.encode() + b"content-length: "
        return head

    def _send(self, place: int, method: str, path: str, body: bytes) -> None:
        message = b"%s%d%s%s" % (self._head(method, path), len(body), _END_OF_HEAD, body)
        try:
            connection = self._sockets[place]
            if connection is None:
                connection = self._sockets[place] = socket.create_connection(self._address, timeout=self._timeout_s)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(message)
        except OSError:
            # what is wrong is told where the answer is waited for: none will come
            self._drop(place)

    def _receive(self, place: int) -> Response:
        connection = self._sockets[place]
        if connection is None:
            return Response(status=0, body=b"there is no connection to the server")
        try:
            return _response(connection)
        except (OSError, ValueError) as error:
            self._drop(place)
            return Response(status=0, body=str(error).encode())

    def _drop(self, place: int) -> None:
        connection, self._sockets[place] = self._sockets[place], None
        if connection is not None:
            connection.close()


def _response(connection: socket.socket) -> Response:
    """The next answer on a connection. Raises OSError or ValueError where it is cut off or not to be read."""
    data = b""
    while (end := data.find(_END_OF_HEAD)) < 0:
        data += _some(connection)
    head = data[:end].lower()
    start = head.find(_LENGTH)
    if start < 0:
        raise ValueError("the answer does not say how long it is")
    length = int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0])
    parts = [data[end + len(_END_OF_HEAD) :]]
    missing = length - len(parts[0])
    while missing > 0:
        parts.append(_some(connection))
        missing -= len(parts[-1])
    return Response(status=int(head.split(b" ", 2)[1]), body=b"".join(parts))


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(_CHUNK_BYTES)
    if not data:
        raise ConnectionResetError("the server closed the connection before it had answered")
    return data
