"""HTTP/1.1 as the endpoint takes it: uvicorn's protocol, bounded, and with problems for answers.

Five things differ. A request's head has a largest size, and head and body a longest time each, so that no caller can
fill the memory or hold connections with them; what comes whole at once costs no timer. What is no HTTP is answered with
a problem. And an `Upgrade` to what is not spoken here (Java's client asks every server for `h2c`) is ignored, as
RFC 9110 allows, where uvicorn would lose the body. What the fast lane takes goes past ASGI. And a connection whose
request was turned away is not read again before there is room, or a second has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from everloop.serving.batcher import Ask, Reply
from everloop.serving.direct import Cycle, Lane, reply_head
from everloop.serving.exchange import REFUSED, Exchanges
from everloop.serving.problem import Problem
from everloop.serving.requests import Requests
from everloop.serving.resting import BUSY, Resting

__all__ = ["Protocol"]

HEAD_BYTES: Final = 64 * 1024
_UPGRADE: Final = (b"upgrade", b"http2-settings", b"connection")


class Protocol(HttpToolsProtocol):
    """One connection.

    head_s, body_s: the longest time of each, from the first of its bytes that leave it unfinished. late_body_s: what a
    body has left when the endpoint stops. most: connections at once; a further one is told to come again.
    exchanges: where what does not reach ASGI is counted, and gets its name. resting: those that were turned away.
    on_change: told when there is a connection more, or one less.
    """

    head_s = 20.0
    body_s = 60.0
    late_body_s = 2.0
    most = 10_000
    lane: Lane | None = None
    exchanges = Exchanges(Requests(), models=frozenset)
    resting: Resting | None = None
    cycle: Any  # uvicorn's, or one of the fast lane

    @staticmethod
    def on_change() -> None:
        """Nothing, where nobody wants to know."""

    @classmethod
    def over(
        cls,
        lane: Lane,
        *,
        most: int,
        exchanges: Exchanges | None = None,
        resting: Resting | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> type[Protocol]:
        """Connections whose small requests this lane takes; so many at once.

        exchanges: None counts for nobody. resting: None lets no connection rest.
        """
        said = {
            "lane": lane,
            "most": most,
            "exchanges": cls.exchanges if exchanges is None else exchanges,
            "resting": resting,
            "on_change": staticmethod(on_change),
        }
        return type("Protocol", (cls,), said)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a connection that stays silent is closed as one between two requests is."""
        super().connection_made(transport)
        self._idle_bytes = 0
        self._idle_since_s = self.loop.time()
        self._unfinished: Literal["head", "body"] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.was_turned_away = False
        self._heads: tuple[object, dict[tuple[int, str], bytes]] = (None, {})
        self._set_keepalive()
        self.on_change()
        if len(self.connections) > self.most:
            detail = f"{self.most:,} connections are open, which is the most at once; use one for several requests"
            self._refuse(Problem(503, "busy", detail))

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._unset_timer()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self.resting is not None:
            self.resting.forget(self)
        super().connection_lost(exc)
        self.on_change()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they came."""
        if self.transport.is_closing():
            return
        self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.logger.info("a request that is no HTTP was refused")
            self._refuse(Problem(400, "bad-http", "this is not an HTTP/1.1 request; its head or a length is malformed"))
            return
        if self._idle_bytes > HEAD_BYTES:
            detail = f"the head of a request is larger than {HEAD_BYTES:,} bytes; send fewer or shorter headers"
            self._refuse(Problem(431, "head-too-large", detail))
        elif self._unfinished is None:
            self._set_keepalive_if_idle()
        elif self._timer is None:
            self._set_timer()

    def shutdown(self) -> None:
        """The endpoint stops: whole requests are answered first, and a body on its way has little time left."""
        self._stopping = True
        if self._timer is not None:
            self._unset_timer()
            self._set_timer()
        super().shutdown()

    def on_message_begin(self) -> None:
        """A request's first line begins. What ASGI wants to know of it is put together where it is asked."""
        self._unfinished = "head"
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """The head is whole; the request is answered from here on."""
        self._progressed()
        self._unfinished = "body"
        self._unset_timer()
        if self.parser.should_upgrade():
            return
        begin = self._fast_lane()
        if begin is None or self.lane is None:
            url, headers, expected = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.headers, self.expect_100_continue = url, headers, expected
            self.scope["headers"] = headers
            super().on_headers_complete()
        else:
            exchange = self.exchanges.begin("POST", self.headers, client=self.client)
            self.cycle = Cycle(self.lane, begin, self, exchange, keep_alive=self.parser.should_keep_alive())

    def _fast_lane(self) -> Callable[[bytes], Ask] | None:
        """What takes the request, if it is one of the fast lane and none before it is unanswered."""
        if self.lane is None or not (self.cycle is None or self.cycle.response_complete) or self.pipeline:
            return None
        return self.lane.begin(self.parser.get_method(), self.url, self.headers)

    def head(self, status: int, content_type: str) -> bytes:
        """The head of a fast reply; those of one second are alike."""
        headers = self.server_state.default_headers
        if self._heads[0] is not headers:
            self._heads = (headers, {})
        known = self._heads[1]
        if (status, content_type) not in known:
            known[status, content_type] = reply_head(status, content_type, headers)
        return known[status, content_type]

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._progressed()
        cycle = self.cycle
        if type(cycle) is Cycle:
            cycle.body = cycle.body + body if cycle.body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._progressed()
        self._unfinished = None
        self._unset_timer()
        if self.parser.should_upgrade():
            return
        if type(self.cycle) is Cycle:
            self.cycle.begin()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered; the next may begin. The connection's one timer goes on where it is."""
        self._idle_since_s = self.loop.time()
        if self.pipeline or self.flow.read_paused:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
        self._set_keepalive()
        # uvicorn's scope of an earlier request says nothing of this one once it was asked
        if self.was_turned_away or (self.scope is not None and self.scope.pop(BUSY, False)):  # type: ignore[typeddict-item]
            self.was_turned_away = False
            self._rest()

    def _rest(self) -> None:
        if self.resting is not None and not self.pipeline and not self._stopping and not self.transport.is_closing():
            self.flow.pause_reading()
            self.resting.add(self)

    def resume(self) -> None:
        """Read what was sent meanwhile."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for so long; one that was not is looked at again."""
        self.timeout_keep_alive_task = None
        if self._unfinished is not None or not (self.cycle is None or self.cycle.response_complete):
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        """Nothing: the timer looks for itself whether the connection was idle."""

    def _set_keepalive_if_idle(self) -> None:
        """Bytes that begin no request, or end one that was answered before, leave no connection without a timer."""
        answered = self.cycle is None or self.cycle.response_complete
        if answered and not self.pipeline and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self._set_keepalive()

    def _set_keepalive(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            wait_s = self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)

    def _stay(self, rest: bytes) -> None:
        """Read the request once more, without the wish to speak something else; its body is the rest of the bytes."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(Problem(405, "method-not-allowed", "this is an endpoint for predictions and no proxy"))
            return
        head = [method + b" " + self.url + b" HTTP/1.1"]
        head += [name + b": " + value for name, value in self.headers if name not in _UPGRADE]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join((*head, b"", rest)))

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem and close."""
        exchange = self.exchanges.begin("-", self.headers or (), client=self.client)
        reply = Reply.of(problem)
        head = reply_head(reply.status, reply.content_type, ())
        self.transport.write(
            b"%b%d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n%b"
            % (head, len(reply.body), exchange.request_id, reply.body)
        )
        self.transport.close()
        if self._unfinished == "body" and type(self.cycle) is not Cycle:  # ASGI has begun with it, and hears of its end
            self.scope[REFUSED] = True  # type: ignore[typeddict-unknown-key]
        self.exchanges.end(exchange, reply)

    def _is_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._unfinished == "head":
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False  # the requests before it are answered, then the connection ends
            else:
                self._refuse(Problem(408, "too-slow", f"the head of a request took longer than {self.head_s:g} s"))
        elif self.pipeline:
            self._set_timer()  # the requests before it are not answered yet, and until then it is not read
        elif self.cycle.response_started:
            self.transport.close()
        elif self._stopping:
            self._refuse(Problem(503, "stopping", "the endpoint stops; send this request again"))
        else:
            detail = f"the body took longer than {self.body_s:g} s; send the rows in several requests"
            self._refuse(Problem(408, "too-slow", detail))

    def _progressed(self) -> None:
        """What was read is a head that was whole, or a body: what came so far is no longer held here."""
        self._idle_bytes = 0

    def _set_timer(self) -> None:
        whole_s = self.head_s if self._unfinished == "head" else self.body_s
        left_s = min(whole_s, self.late_body_s) if self._stopping else whole_s
        self._timer = self.loop.call_later(left_s, self._is_late)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
