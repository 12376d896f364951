"""What waits is scored together as the next, small batches on the loop; who comes too many is turned away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from everloop.serving.batcher import Ask, Batcher, Reply
from everloop.serving.problem import Problem

Computed = tuple[int, threading.Thread]


def ask(size: int) -> Ask:
    return Ask(model="fraud", kind="predict", body=b"x" * size)


def batches(sizes: Sequence[Sequence[int]], **limits: int) -> tuple[list[Computed], list[Reply | BaseException]]:
    """Which batches were made of asks of these sizes, a turn of the loop each, and what came back."""
    computed: list[Computed] = []

    def compute(asks: Sequence[Ask]) -> list[Reply]:
        computed.append((len(asks), threading.current_thread()))
        if any(len(one.body) == 13 for one in asks):
            raise ValueError("13")
        return [Reply(status=200, body=b"%d" % len(one.body)) for one in asks]

    async def all_of_them() -> list[Reply | BaseException]:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(compute, executor, **limits)
            tasks = []
            for turn in sizes:
                tasks += [asyncio.ensure_future(batcher.answer(ask(size))) for size in turn]
                await asyncio.sleep(0)
            return await asyncio.gather(*tasks, return_exceptions=True)

    return computed, asyncio.run(all_of_them())


def test_what_arrived_in_one_turn_is_one_batch() -> None:
    computed, replies = batches([[1, 2, 3]])
    assert [count for count, _ in computed] == [3]
    assert computed[0][1] is threading.main_thread()
    assert [reply.body for reply in replies if isinstance(reply, Reply)] == [b"1", b"2", b"3"]


def test_a_batch_on_the_loop_stays_small_and_a_large_one_has_a_thread() -> None:
    computed, _ = batches([[40, 40, 40, 40]], inline_bytes=100, batch_bytes=1_000)
    assert [count for count, _ in computed] == [2, 2]
    computed, _ = batches([[400, 40, 40]], inline_bytes=100, batch_bytes=1_000)
    assert [count for count, _ in computed] == [3]
    assert computed[0][1] is not threading.main_thread()


def test_who_comes_too_many_is_turned_away_and_the_others_are_answered() -> None:
    _, replies = batches([[1] * 5], waiting=3)
    assert [isinstance(reply, Problem) and reply.status for reply in replies] == [False] * 3 + [503] * 2
    _, replies = batches([[400, 400, 400]], waiting_bytes=1_000)
    assert [isinstance(reply, Problem) for reply in replies] == [False, False, True]


@pytest.mark.parametrize("inline_bytes", [0, 100])
def test_a_batch_that_fails_tells_its_own_asks_and_the_next_is_computed(inline_bytes: int) -> None:
    _, replies = batches([[13], [1]], inline_bytes=inline_bytes, batch_bytes=1)
    assert isinstance(replies[0], ValueError)
    assert isinstance(replies[1], Reply)
