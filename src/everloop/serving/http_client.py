"""A small HTTP/1.1 client for the servers of other versions: bounded connections that are kept, one time limit for all.

A request through httpx takes 1,400 µs of a core or more, through this some 20: the endpoint has one event loop, and
asks two servers for each row (`python -m bench.upstream`). It knows no redirects, cookies, proxies or compressed
answers, which no inference server needs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httptools

__all__ = ["HttpClient", "HttpFailed", "HttpReply"]

_LARGEST: Final = 64_000_000
_HEAD: Final = 64 * 1024


class HttpFailed(Exception):
    """No whole answer came. began: whether a byte of one had come, so that a kept connection was not just stale."""

    def __init__(self, sentence: str, *, began: bool = False) -> None:
        super().__init__(sentence)
        self.began = began


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """An answer, whole."""

    status: int
    body: bytes


class HttpClient:
    """Posts to one server. Lives on one event loop."""

    def __init__(self, url: str, *, connections: int) -> None:
        """url: http:// or https://, with a path where it has one. connections: open at once; further requests wait."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if secure else 80)
        self._name = parts.netloc
        self._path = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if secure else None
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def post(
        self, path: str, body: bytes, headers: Sequence[tuple[bytes, bytes]], *, timeout_s: float
    ) -> HttpReply:
        """The answer to a JSON body. timeout_s: for all of it, a turn among the connections included.

        Raises TimeoutError, and HttpFailed where the server cannot be reached or what it says is no HTTP.
        """
        head = [
            f"POST {self._path}{path} HTTP/1.1\r\nhost: {self._name}\r\ncontent-type: application/json\r\n".encode()
        ]
        head += [b"content-length: %d\r\n" % len(body), *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
        request = b"".join((*head, body))
        async with asyncio.timeout(timeout_s), self._turns:
            return await self._sent(request)

    async def _sent(self, request: bytes) -> HttpReply:
        while True:
            kept = self._kept()
            connection = await self._open() if kept is None else kept
            try:
                reply = await connection.ask(request)
            except HttpFailed as failed:
                connection.close()
                if kept is not None and not failed.began:
                    continue  # it had been closed at the other end since; the next is another one, or new
                raise
            except BaseException:
                connection.close()
                raise
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.close()
            return reply

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        except OSError as error:
            raise HttpFailed(f"{self._host}:{self._port} cannot be reached: {error.strerror or error}") from error
        return connection

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.close()
        self._idle = []


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpReply] | None = None
        self.reusable = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport = transport
        self.reusable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end closed; an answer without a length is whole then."""
        self.reusable = False
        if self._answer is None or self._answer.done():
            return
        if exc is None and self._until_closed and self._headed:
            self._finish()
        else:
            why = "closed the connection before its answer was whole" if exc is None else f"broke off: {exc}"
            self._answer.set_exception(HttpFailed(f"the server {why}", began=self._size > 0))

    async def ask(self, request: bytes) -> HttpReply:
        """Send, and wait for the answer."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._size, self._headed, self._until_closed, self._keeps = 0, False, True, True
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise HttpFailed("the server closed the connection")
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        """Close at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they came."""
        if self._answer is None or self._answer.done():
            self.close()  # nothing was asked
            return
        self._size += len(data)
        if self._size > _LARGEST or (not self._headed and self._size > _HEAD):
            self._fail(f"the server's answer is larger than {_LARGEST:,} bytes, or its head than {_HEAD:,}")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("what the server answered is no HTTP/1.1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Whether the answer says where it ends."""
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._until_closed = False

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._headed = True
        self._keeps = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole; one that only prepares another (1xx) is passed over."""
        if self._parser.get_status_code() < 200:
            self._headed, self._until_closed = False, True
            return
        self.reusable = self._keeps and not self._until_closed
        self._finish()

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            reply = HttpReply(status=self._parser.get_status_code(), body=b"".join(self._parts))
            self._answer.set_result(reply)

    def _fail(self, sentence: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HttpFailed(sentence, began=True))
        self.close()
