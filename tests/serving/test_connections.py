"""Connections are shared out among processes, wait for nobody, and are taken together."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import psutil
import pytest

from everloop.serving.connections import Acceptor, ConnectionCounts, counts_file
from tests.serving.place import Endpoint, Place, endpoint, row, wait_until


class Connected(asyncio.Protocol):
    """Says what it hears, in capitals."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


class Full(socket.socket):
    """A socket of a process that has no more descriptors, as often as it is told."""

    times = 1

    def accept(self) -> tuple[socket.socket, Any]:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@contextmanager
def listening(made: Callable[[], socket.socket] = socket.socket) -> Iterator[socket.socket]:
    with made() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener


async def asked(listener: socket.socket) -> float:
    """Seconds until a new connection is answered."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(5), timeout=20) == b"HELLO"
    writer.close()
    return time.monotonic() - began


def acceptor(listener: socket.socket, counts: ConnectionCounts | None, open_now: int = 0) -> Acceptor:
    return Acceptor(listener, counts, Connected, open_now=lambda: open_now)


@contextmanager
def two_counts() -> Iterator[tuple[ConnectionCounts, ConnectionCounts]]:
    with ExitStack() as stack:
        handle = stack.enter_context(counts_file(2))
        first, second = [stack.enter_context(closing(ConnectionCounts(handle, place))) for place in (0, 1)]
        yield first, second


def test_a_process_that_answers_nobody_counts_for_nothing() -> None:
    with two_counts() as (first, second):
        assert first.least_of_others() is None
        first.tell(3)
        second.tell(0)
        assert (first.least_of_others(), second.least_of_others()) == (0, 3)
        second.leave()
        assert first.least_of_others() is None


def test_what_was_counted_at_a_place_ends_with_its_process() -> None:
    with counts_file(2) as handle, closing(ConnectionCounts(handle, 0)) as first:
        ConnectionCounts(handle, 1).tell(7)  # and is killed
        assert first.least_of_others() == 7
        with closing(ConnectionCounts(handle, 1)):
            assert first.least_of_others() is None


def test_one_that_should_go_first_and_does_not_keeps_nobody_waiting() -> None:
    async def run(counts: ConnectionCounts) -> list[float]:
        with listening() as listener:
            taking = acceptor(listener, counts, open_now=50)
            taking.start()
            found = [await asked(listener) for _ in range(5)]
            await taking.stop()
        return found

    with two_counts() as (first, second):
        second.tell(0)
        assert max(asyncio.run(run(first))) < 5
        assert second.least_of_others() is None


def test_a_process_without_room_for_a_connection_takes_it_later() -> None:
    async def run() -> None:
        with listening(Full) as listener:
            taking = acceptor(listener, None)
            taking.start()
            assert await asked(listener) > 0.5
            assert await asked(listener) < 5
            await taking.stop()

    asyncio.run(run())


def test_what_was_taken_is_open_when_no_more_is_taken() -> None:
    async def run() -> None:
        with listening() as listener:
            taking = acceptor(listener, None)
            taking.start()
            clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
            await asyncio.sleep(0.05)
            await taking.stop()
            for client in clients:
                client.sendall(b"x")
            await asyncio.sleep(0.05)
            assert [client.recv(1) for client in clients] == [b"X"] * 3
            late = socket.create_connection(listener.getsockname())
            late.sendall(b"x")
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.recv(1)
            for client in (*clients, late):
                client.close()

    asyncio.run(run())


def shares(running: Endpoint) -> list[int]:
    """How many connections each worker has, the fewest first."""
    port = int(running.url.rsplit(":", 1)[1])
    workers = psutil.Process(running.process.pid).children()
    return sorted(sum(one.laddr.port == port for one in established(worker)) for worker in workers)


def established(process: psutil.Process) -> list[Any]:
    return [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]


def test_connections_that_are_opened_one_after_another_are_of_all_workers(place: Place) -> None:
    place.deployed()
    with endpoint(place.project.root, "--workers", "2") as running, ExitStack() as stack:

        def opened(count: int) -> None:
            for number in range(count):
                client = stack.enter_context(httpx.Client())
                assert client.post(running.predict, json=row(number)).status_code == 200

        opened(20)
        few, many = shares(running)
        assert few + many == 20
        assert few >= 6
        psutil.Process(running.process.pid).children()[0].kill()
        opened(4)  # who is left takes them, however many it has

        def new_one_answers() -> bool:
            opened(1)
            return 0 < min(shares(running)) < 5

        wait_until(new_one_answers)
        before = shares(running)
        opened(10)
        assert shares(running)[0] - before[0] >= 6, "most go to the new one, which has few"


def test_callers_that_keep_no_connection_are_answered_together(place: Place) -> None:
    place.deployed()
    with endpoint(place.project.root) as running:
        host, port = running.url.removeprefix("http://").split(":")
        running.process.send_signal(signal.SIGSTOP)
        clients = []
        for number in range(60):
            body = json.dumps(row(number)).encode()
            head = "POST /v1/models/fraud/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            client = socket.create_connection((host, int(port)), timeout=20)
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            clients.append(client)
        running.process.send_signal(signal.SIGCONT)
        for client in clients:
            with client, client.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.1 200")
        told = httpx.get(f"{running.url}/metrics").text
    batches = next(line for line in told.splitlines() if line.startswith("everloop_batch_rows_count"))
    assert float(batches.split()[-1]) <= 5
