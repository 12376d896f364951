"""Requests that arrive while a batch is computed are computed together as the next: no timers, one batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Literal

import msgspec

from everloop.serving.problem import PROBLEM_TYPE, Problem
from everloop.serving.relayed import Relayed

if TYPE_CHECKING:
    from everloop.serving.rows import Form

__all__ = ["Ask", "Batcher", "Kind", "Reply"]

Kind = Literal["predict", "outcomes", "predictions", "decide"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came: for which model, what, and the body's bytes.

    caller: the name of its key. form: how the body is written and the answer wanted; None for JSON rows. reasons: how
    many are wanted of an answer. relayed: what the servers of a model that others serve said of it.
    """

    model: str
    kind: Kind
    body: bytes
    caller: str | None = None
    form: Form | None = None
    reasons: int = 0
    relayed: Relayed | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: the status and the body's bytes.

    headers: besides its type and length, names in lower case. problem: the kind of problem that it tells, if it does.
    rows: how many the request held, where they were read; refused: those of them that were not taken.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    problem: str | None = None
    rows: int | None = None
    refused: int = 0

    @classmethod
    def of(cls, problem: Problem) -> Reply:
        """The reply that tells a problem."""
        return cls(
            status=problem.status,
            body=problem.body(),
            content_type=PROBLEM_TYPE,
            problem=problem.kind,
            headers=problem.headers,
        )


Done = Callable[["Reply | BaseException"], None]
"""Is given the reply, or why there is none; on the event loop."""


class Batcher:
    """Takes whatever has arrived, batch after batch; lives on one event loop.

    A small batch is computed on the loop itself, after everything that could be read in this turn of it: to hand it to
    a thread and back would take as long as scoring it, and nobody is kept waiting who would not wait anyway. A large
    one is computed in a thread, so that health and metrics answer meanwhile.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Ask]], Sequence[Reply]],
        executor: Executor,
        *,
        batch_bytes: int = 8_000_000,
        waiting: int = 2_000,
        waiting_bytes: int = 256_000_000,
        inline_bytes: int = 128_000,
        on_room: Callable[[int], None] = lambda room: None,
    ) -> None:
        """compute: one reply for each ask, in their order; never called twice at once, though by several threads.

        batch_bytes: bodies that go together at most (one may be larger). waiting, waiting_bytes: asks, and their
        bodies, that wait at most; more are turned away, so that who is taken is answered soon.
        inline_bytes: what is at most computed on the loop at once; 0 for nothing.
        on_room: told before and after batches how many more may come, where there is room for half of `waiting`.
        """
        self._compute = compute
        self._executor = executor
        self._batch_bytes = batch_bytes
        self._most = waiting
        self._most_bytes = waiting_bytes
        self._inline_bytes = inline_bytes
        self._on_room = on_room
        self._waiting: list[tuple[Ask, Done]] = []
        self._waiting_bytes = 0
        self._begun = False

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that wait to be scored, and the size of their bodies in bytes; from any thread."""
        return len(self._waiting), self._waiting_bytes

    async def answer(self, ask: Ask) -> Reply:
        """The reply to `ask`. Raises Problem (503) where too much is waiting already."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(reply: Reply | BaseException) -> None:
            if future.done():  # its client has gone
                return
            if isinstance(reply, BaseException):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.submit(ask, done)
        return await future

    def submit(self, ask: Ask, done: Done) -> None:
        """Take `ask` into one of the next batches. Raises Problem (503) where too much is waiting already."""
        if len(self._waiting) >= self._most or self._waiting_bytes + len(ask.body) > self._most_bytes:
            raise Problem(503, "busy", "too many requests are waiting to be scored; send this one again in a second")
        self._waiting.append((ask, done))
        self._waiting_bytes += len(ask.body)
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._start)

    def _tell_room(self) -> None:
        room = self._most - len(self._waiting)
        if 2 * room >= self._most and 2 * self._waiting_bytes <= self._most_bytes:
            self._on_room((room + 1) // 2)

    def _start(self) -> None:
        self._tell_room()
        size, count = 0, 0
        inline = len(self._waiting[0][0].body) <= self._inline_bytes
        most_bytes = self._inline_bytes if inline else self._batch_bytes
        for ask, _ in self._waiting:
            if count and size + len(ask.body) > most_bytes:
                break
            size += len(ask.body)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        asks = [ask for ask, _ in batch]
        if not inline:
            computed = asyncio.get_running_loop().run_in_executor(self._executor, self._compute, asks)
            computed.add_done_callback(lambda future: self._finish(batch, future.exception() or future.result()))
            return
        try:
            replies: Sequence[Reply] | BaseException = self._compute(asks)
        except Exception as error:  # these requests are told so, and the next batch is computed
            replies = error
        self._finish(batch, replies)

    def _finish(self, batch: Sequence[tuple[Ask, Done]], replies: Sequence[Reply] | BaseException) -> None:
        self._begun = bool(self._waiting)
        # in the next turn of the loop, when those that were just answered may have sent again
        asyncio.get_running_loop().call_soon(self._start if self._begun else self._tell_room)
        if isinstance(replies, BaseException):
            for _, done in batch:
                done(replies)
        else:
            for (_, done), reply in zip(batch, replies, strict=True):
                done(reply)
