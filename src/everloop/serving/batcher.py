"""Requests that arrive while a batch is computed are computed together as the next: no timers, one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

from everloop.serving.problem import Problem

__all__ = ["Ask", "Batcher", "Reply"]

Kind = Literal["predict", "outcomes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request as it came: for which model, what, and the body's bytes."""

    model: str
    kind: Kind
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer: the status and the body's bytes."""

    status: int
    body: bytes
    content_type: str = "application/json"

    @classmethod
    def of(cls, problem: Problem) -> Reply:
        """The reply that tells a problem."""
        return cls(status=problem.status, body=problem.body(), content_type="application/problem+json")


class Batcher:
    """Hands whatever has arrived to one executor thread, batch after batch; lives on one event loop."""

    def __init__(
        self,
        compute: Callable[[Sequence[Ask]], Sequence[Reply]],
        executor: Executor,
        *,
        batch_bytes: int = 8_000_000,
        waiting_bytes: int = 256_000_000,
    ) -> None:
        """compute: one reply for each ask, in their order; runs in `executor`, never twice at once.

        batch_bytes: bodies that go together at most (one may be larger). waiting_bytes: more are turned away.
        """
        self._compute = compute
        self._executor = executor
        self._batch_bytes = batch_bytes
        self._waiting_limit = waiting_bytes
        self._waiting: list[tuple[Ask, asyncio.Future[Reply]]] = []
        self._waiting_bytes = 0
        self._running = False

    async def answer(self, ask: Ask) -> Reply:
        """The reply to `ask`. Raises Problem (503) where too much is waiting already."""
        if self._waiting_bytes + len(ask.body) > self._waiting_limit:
            raise Problem(503, "busy", "too many rows are waiting to be scored; send this request again in a second")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        self._waiting_bytes += len(ask.body)
        if not self._running:
            self._start()
        return await future

    def _start(self) -> None:
        size, count = 0, 0
        for ask, _ in self._waiting:
            size += len(ask.body)
            if count and size > self._batch_bytes:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= sum(len(ask.body) for ask, _ in batch)
        self._running = True
        computed = asyncio.get_running_loop().run_in_executor(self._executor, self._compute, [ask for ask, _ in batch])
        computed.add_done_callback(lambda done: self._finish(batch, done))

    def _finish(
        self, batch: Sequence[tuple[Ask, asyncio.Future[Reply]]], computed: asyncio.Future[Sequence[Reply]]
    ) -> None:
        self._running = False
        if self._waiting:
            self._start()
        error = computed.exception()
        for place, (_, future) in enumerate(batch):
            if future.done():  # its client has gone
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(computed.result()[place])
