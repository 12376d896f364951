"""Too many at once: who is taken is answered and recorded, who is not is told when to come again, nobody is dropped."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest

from everloop.serving.resting import Resting
from tests.serving.place import Endpoint, Place, endpoint, logged, row, wait_until

QUEUE = 20
CALLERS = 150
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Endpoint]]:
    """An endpoint where only a few may wait."""
    place = Place.make(tmp_path_factory.mktemp("small"))
    (place.project.root / "everloop.yaml").write_text(f"endpoint: {{queue: {QUEUE}}}\n")
    place.deployed()
    with endpoint(place.project.root) as running:
        yield place, running


def posted(row: dict[str, object], *, path: str = "/v1/models/fraud/predict", more: str = "") -> bytes:
    body = json.dumps(row).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Caller:
    """One connection, whose answers are read as they were asked for."""

    def __init__(self, running: Endpoint) -> None:
        at = httpx.URL(running.url)
        assert at.port is not None
        self._socket = socket.create_connection((at.host, at.port), timeout=20)
        self._replies = self._socket.makefile("rb")
        self.send = self._socket.sendall

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self._socket.close()

    def read(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer; raises ConnectionError where there is none."""
        line = self._replies.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        headers = {}
        while (one := self._replies.readline()) != b"\r\n":
            name, _, value = one.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(line.split()[1]), headers, self._replies.read(int(headers["content-length"]))


@contextmanager
def standing(running: Endpoint, callers: list[Caller]) -> Iterator[None]:
    """What these callers send meanwhile is all there in one turn of the endpoint's loop."""
    for one in callers:  # whom it has taken
        one.send(HEALTH)
        assert one.read()[0] == 200
    running.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: psutil.Process(running.process.pid).status() == psutil.STATUS_STOPPED)
        yield
    finally:
        running.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("more", ["", "Content-Encoding: identity\r\n"], ids=["fast lane", "other lane"])
def test_who_is_too_many_is_told_so_and_comes_again_and_nothing_taken_is_lost(
    small: tuple[Place, Endpoint], more: str
) -> None:
    place, running = small
    prefix = f"many-{len(more)}-"
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(running)) for _ in range(CALLERS)]
        health = stack.enter_context(Caller(running))
        with standing(running, [*callers, health]):
            for number, one in enumerate(callers):
                one.send(posted(row(number, payment_id=f"{prefix}{number}"), more=more))
            health.send(HEALTH)
        assert health.read()[0] == 200
        answers = [one.read() for one in callers]
        refused = [number for number, (status, _, _) in enumerate(answers) if status != 200]
        assert 0 < len(refused) <= CALLERS - QUEUE
        for number in refused:
            status, headers, body = answers[number]
            assert (status, headers["retry-after"]) == (503, "1")
            assert json.loads(body)["type"] == "urn:everloop:problem:busy"
        # at once on the same connections, without regard to Retry-After: read when there is room
        left = refused
        for _ in range(CALLERS):
            for number in left:
                callers[number].send(posted(row(number, payment_id=f"{prefix}{number}"), more=more))
            left = [number for number in left if callers[number].read()[0] != 200]
            if not left:
                break
        assert not left
    seen = logged(place, like=prefix)
    assert sorted(seen["prediction_id"]) == sorted(f"{prefix}{number}" for number in range(CALLERS))
    told = httpx.get(f"{running.url}/metrics").text
    assert 'everloop_problems_total{kind="busy",model="fraud",route="predict"}' in told


def test_who_was_turned_away_and_leaves_costs_nothing(small: tuple[Place, Endpoint]) -> None:
    _, running = small
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(running)) for _ in range(CALLERS)]
        with standing(running, callers):
            for number, one in enumerate(callers):
                one.send(posted(row(number, payment_id=f"gone-{number}")) * 2)
    wait_until(lambda: httpx.post(running.predict, json=row(0, payment_id="gone-0")).status_code == 200)
    assert "Traceback" not in running.log.read_text()


class Connection:
    def __init__(self, name: str, resumed: list[str]) -> None:
        self.name = name
        self.resumed = resumed

    def resume(self) -> None:
        self.resumed.append(self.name)


def test_who_has_rested_longest_is_read_first_and_everyone_in_the_end() -> None:
    resumed: list[str] = []

    async def rest() -> None:
        resting = Resting(rest_s=0.01)
        one, two, three, four = (Connection(name, resumed) for name in "1234")
        for connection in (one, two, three, four, one):
            resting.add(connection)
        resting.forget(two)
        resting.wake(1)
        assert (resumed, len(resting)) == (["1"], 2)
        while len(resting):
            await asyncio.sleep(0.001)

    asyncio.run(rest())
    assert resumed == ["1", "3", "4"]
