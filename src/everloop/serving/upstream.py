"""The server of one version that something else serves: asked within a time, and not while it keeps failing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

import polars as pl

from everloop.project import UpstreamServer, format_duration
from everloop.serving.breaker import Breaker
from everloop.serving.http_client import HttpClient, HttpFailed
from everloop.serving.problem import Problem
from everloop.serving.relayed import Failure, Said
from everloop.serving.wire import WireFailed, error_words, request_body, request_path, scores_of

__all__ = ["Upstream", "trace_headers"]

_LOG = logging.getLogger("everloop.serving")
_TRACED: Final = (b"traceparent", b"tracestate")
_LONGEST_TRACE: Final = 1_024
_TOO_MANY: Final = 429


def trace_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The W3C trace context of a request, as it goes on to the servers."""
    return [(name, value) for name, value in headers if name in _TRACED and len(value) <= _LONGEST_TRACE]


class Upstream:
    """One version's server. Lives on the event loop."""

    def __init__(self, model: str, version: int, server: UpstreamServer, *, token: str | None = None) -> None:
        """token: that is sent with each request."""
        self.server = server
        self._headers = () if token is None else ((b"authorization", b"Bearer " + token.encode()),)
        self._version = version
        self._who = f"the server of v{version}"
        self._path = request_path(server, model)
        self._client = HttpClient(server.url, connections=server.connections)
        self._breaker = Breaker()

    async def ask(self, rows: pl.DataFrame, headers: Sequence[tuple[bytes, bytes]]) -> Said | Failure:
        """What it says of the rows, whose columns are those it reads, in order. It raises nothing of its own."""
        if not self._breaker.allows(time.monotonic()):
            detail = f"{self._who} failed again and again and is left alone for a moment; send this request again"
            return Failure(problem=Problem(503, "upstream-unavailable", detail))
        began_s = time.perf_counter()
        try:
            return await self._asked(rows, headers, began_s)
        except TimeoutError:
            limit = format_duration(self.server.timeout)
            return self._failed(504, "upstream-late", f"did not answer within {limit}", began_s)
        except HttpFailed as failed:
            return self._failed(502, "upstream-failed", f"gave no answer: {failed}", began_s)
        except asyncio.CancelledError:
            self._breaker.let_go()
            raise

    async def _asked(
        self, rows: pl.DataFrame, headers: Sequence[tuple[bytes, bytes]], began_s: float
    ) -> Said | Failure:
        try:
            body = request_body(self.server, rows)
        except WireFailed as failed:
            self._breaker.let_go()
            return self._refused(f"cannot be asked: {failed}", began_s)
        timeout_s = self.server.timeout.total_seconds()
        reply = await self._client.post(self._path, body, [*self._headers, *headers], timeout_s=timeout_s)
        if reply.status >= 500 or reply.status == _TOO_MANY:
            said = f"answered {reply.status}: {error_words(reply.body)}"
            return self._failed(502, "upstream-failed", said, began_s)
        self._breaker.succeeded()
        if reply.status != 200:
            return self._refused(f"answered {reply.status}: {error_words(reply.body)}", began_s)
        try:
            scores = scores_of(self.server, reply.body, rows.height)
        except WireFailed as failed:
            return self._refused(f"cannot be read: {failed}", began_s)
        return Said(scores=scores, took_s=time.perf_counter() - began_s)

    def _refused(self, said: str, began_s: float) -> Failure:
        """It answers, and no score: that is counted, and it is asked again at once."""
        _LOG.warning("%s (%s%s) %s", self._who, self.server.url, self._path, said)
        detail = f"{self._who} {said}"
        return Failure(problem=Problem(502, "upstream-failed", detail), took_s=time.perf_counter() - began_s)

    def _failed(self, status: int, kind: str, said: str, began_s: float) -> Failure:
        was = self._breaker.broken
        self._breaker.failed(time.monotonic())
        if self._breaker.broken and not was:
            _LOG.error("%s (%s%s) %s, again and again: it is left alone", self._who, self.server.url, self._path, said)
        elif not was:
            _LOG.warning("%s (%s%s) %s", self._who, self.server.url, self._path, said)
        problem = Problem(status, kind, f"{self._who} {said}; send this request again")
        return Failure(problem=problem, took_s=time.perf_counter() - began_s)
