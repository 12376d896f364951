"""What is known of every request beside its rows: its id, its trace, how long it took, and how it went.

Both ways that a request can take through a worker call the same object, on the event loop: `begin` when its head is
there, `end` when its answer was handed over. Together they cost about two microseconds.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final

from everloop.serving.access_log import AccessLine, AccessLog, now_s
from everloop.serving.trace import TraceContext

if TYPE_CHECKING:
    from everloop.serving.batcher import Reply
    from everloop.serving.requests import Requests

__all__ = ["NO_MODEL", "REFUSED", "Exchange", "Exchanges"]

Headers = Sequence[tuple[bytes, bytes]]

NO_MODEL: Final = "-"
REFUSED: Final = "everloop.refused"
"""A key of an ASGI scope: the protocol itself answered this request meanwhile; what is said later reaches nobody."""
_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@~-]{1,128}")
_READ: Final = frozenset({b"x-request-id", b"traceparent", b"tracestate"})


class Exchange:
    """A request on its way.

    request_id: the caller's `x-request-id` where it is up to 128 of `[A-Za-z0-9._:/+=@~-]`, else a new one.
    route: what was asked for, a name from the table of routes; model: whose; caller: the name of its key. They are set
    as soon as they are known. request_bytes: of the body, once it was read.
    """

    __slots__ = (
        "_trace",
        "_traced",
        "began_s",
        "caller",
        "client",
        "method",
        "model",
        "request_bytes",
        "request_id",
        "route",
    )

    def __init__(self, method: str, headers: Headers, client: tuple[str, int] | None, began_s: float) -> None:
        self.method = method
        self.client = client
        self.began_s = began_s
        self.route = "other"
        self.model: str | None = None
        self.caller: str | None = None
        self.request_bytes = 0
        self._trace: TraceContext | None = None
        self._traced: Headers = ()
        request_id = None
        for header in headers:
            if header[0] in _READ:
                if header[0] == b"x-request-id":
                    request_id = header[1] if request_id is None else request_id
                else:
                    self._traced = (*self._traced, header)
        if request_id is None or _GIVEN_ID.fullmatch(request_id) is None:
            request_id = _new_id()
        self.request_id = request_id

    @property
    def trace(self) -> TraceContext:
        """Its place in its caller's trace; read when somebody asks, for most requests nobody does."""
        if self._trace is None:
            self._trace = TraceContext.of(self._traced)
        return self._trace

    @property
    def reply_header(self) -> tuple[bytes, bytes]:
        """The header of every answer that names the request."""
        return (b"x-request-id", self.request_id)


class Exchanges:
    """Begins and ends the requests of one worker: counts them and has them logged. For the event loop's thread."""

    def __init__(
        self,
        requests: Requests,
        *,
        models: Callable[[], Collection[str]],
        log: AccessLog | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """models: the project's models; any other name is counted and logged as none. log: None logs nothing."""
        self._requests = requests
        self._models = models
        self._log = log
        self._timer = timer

    def begin(self, method: str, headers: Headers, *, client: tuple[str, int] | None = None) -> Exchange:
        """A request whose head is there. headers: names in lower case."""
        return Exchange(method, headers, client, self._timer())

    def end(self, exchange: Exchange, reply: Reply) -> None:
        """Its answer was handed over."""
        took_s = self._timer() - exchange.began_s
        model = exchange.model if exchange.model is not None and exchange.model in self._models() else NO_MODEL
        self._requests.answered(exchange.route, model, reply, took_s=took_s)
        if self._log is not None:
            named = None if model is NO_MODEL else model
            self._log.add(
                AccessLine(now_s(), exchange, named, reply.status, reply.problem, reply.rows, len(reply.body), took_s)
            )


_FIRST: Final = b"%016x" % random.SystemRandom().getrandbits(64)
_COUNT: Final = count()


def _new_id() -> bytes:
    """32 hex digits: which process, drawn once, and which request. An id is no secret."""
    return b"%b%016x" % (_FIRST, next(_COUNT))
