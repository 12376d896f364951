"""The fast lane beside ASGI: a small whole request goes from the parser to the batch, its reply to the socket.

A task, a scope and two events for each request would take longer than its row does. What is not plainly a small POST of
JSON takes the other lane, which knows everything; what this one answers is the same to the byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, Protocol

from everloop.serving.batcher import Ask, Done, Reply
from everloop.serving.exchange import Exchange, Exchanges

__all__ = ["Cycle", "Lane", "reply_head"]

Headers = Sequence[tuple[bytes, bytes]]


class Lane(Protocol):
    """What takes requests without ASGI."""

    def begin(self, method: bytes, url: bytes, headers: Headers) -> Callable[[bytes], Ask] | None:
        """What makes an ask of the request's body; None for a request of the other lane."""
        ...

    def submit(self, ask: Ask, done: Done) -> None:
        """Have it answered; `done` is called in any case, now or later."""
        ...


class _Nobody:
    """Nobody waits for this event."""

    def set(self) -> None:
        pass


class Cycle:
    """A request of this lane and its reply, as uvicorn's protocol expects a cycle to be."""

    __slots__ = (
        *("_ask", "_exchange", "_lane", "_protocol"),
        *("body", "disconnected", "keep_alive", "more_body", "response_complete"),
    )

    message_event: Final = _Nobody()
    response_started: Final = False

    def __init__(
        self, lane: Lane, ask: Callable[[bytes], Ask], protocol: Connection, exchange: Exchange, *, keep_alive: bool
    ) -> None:
        self._lane = lane
        self._exchange = exchange
        self._ask = ask
        self._protocol = protocol
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False

    def begin(self) -> None:
        """The body is whole."""
        self.more_body = False
        ask, exchange = self._ask(self.body), self._exchange
        exchange.model, exchange.route, exchange.request_bytes = ask.model, ask.kind, len(ask.body)
        exchange.caller = ask.caller
        self._lane.submit(ask, self._answer)

    def _answer(self, reply: Reply | BaseException) -> None:
        assert isinstance(reply, Reply)
        transport = self._protocol.transport
        if not self.disconnected and not transport.is_closing():
            close = b"" if self.keep_alive else b"connection: close\r\n"
            head = self._protocol.head(reply.status, reply.content_type)
            if reply.headers:
                close = b"".join((close, *(b"%b: %b\r\n" % header for header in reply.headers)))
            transport.write(
                b"%b%d\r\nx-request-id: %b\r\n%b\r\n%b"
                % (head, len(reply.body), self._exchange.request_id, close, reply.body)
            )
        self.response_complete = True
        if not self.keep_alive:
            transport.close()
        self._protocol.exchanges.end(self._exchange, reply)
        self._protocol.was_turned_away = reply.problem == "busy"
        self._protocol.on_response_complete()


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    exchanges: Exchanges
    was_turned_away: bool

    def head(self, status: int, content_type: str) -> bytes:
        """The reply's head up to the value of content-length."""
        ...

    def on_response_complete(self) -> None:
        """The next request of the connection may begin."""
        ...


def reply_head(status: int, content_type: str, headers: Headers) -> bytes:
    """A reply's head up to the value of content-length. headers: those that every reply has."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())]
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"content-type: %b\r\n" % content_type.encode())
    lines += [b"%b: %b\r\n" % header for header in always(status)]
    return b"".join((*lines, b"content-length: "))


def always(status: int) -> Headers:
    """Headers that go with a status."""
    return [(b"retry-after", b"1")] if status == 503 else []
