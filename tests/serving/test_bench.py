"""What the serving bench is made of: loads that ask what they say they ask, and count what they say they count."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from bench.load import busiest, parsed, quantiles_ms, steady
from bench.serving import AT_LEAST, AT_MOST, PARTS, broken

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Plain:
    """A server that keeps every body it is sent. pause_s: before its first answer."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.bodies: list[bytes] = []
        self._pause_s = pause_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/predict"

    @contextmanager
    def running(self) -> Iterator[Plain]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        # a load that ends leaves in the middle
        with suppress(OSError), connection, connection.makefile("rb") as asked:
            while head := asked.readline():
                assert head.startswith(b"POST /predict ")
                length = 0
                while (line := asked.readline()) != b"\r\n":
                    name, _, value = line.lower().partition(b":")
                    length = int(value) if name == b"content-length" else length
                self.bodies.append(asked.read(length))
                if len(self.bodies) == 1:
                    time.sleep(self._pause_s)  # the server's own doing, which is what is measured
                connection.sendall(ANSWER)


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    path = tmp_path / "bodies.jsonl"
    path.write_text("".join(f'{{"rows":[{{"a":{number},"b":"x"}}]}}\n' for number in range(7)))
    return path


def need_wrk() -> None:
    if shutil.which("wrk") is None and "CI" not in os.environ:
        pytest.skip("wrk is not installed")


def test_wrk_sends_the_bodies_in_turn(bodies: Path) -> None:
    need_wrk()
    with Plain().running() as server:
        found = busiest(server.url, bodies, connections=1, seconds=1, core=None)
        lines = bodies.read_bytes().splitlines()
        assert found.answers <= len(server.bodies) <= found.answers + 1
        assert server.bodies[:20] == (lines * 4)[1:21]  # wrk itself looks at the first request before it begins
        assert 0 < found.p50_ms <= found.p99_ms


def test_each_request_of_wrks_has_an_id_of_its_own(bodies: Path) -> None:
    need_wrk()
    with Plain().running() as server:
        found = busiest(server.url, bodies, connections=3, seconds=1, core=None, ids="load-1-")
        rows = [json.loads(body)["rows"][0] for body in server.bodies]
    assert found.answers > 20
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["id"].startswith("load-1-") and row["b"] == "x" for row in rows)
    assert {row["a"] for row in rows} == set(range(7))


def test_a_pause_of_the_server_is_counted_for_all_that_were_due_meanwhile(bodies: Path) -> None:
    with Plain(pause_s=0.4).running() as server:
        found = steady(server.url, bodies, rate=100, connections=1, seconds=0.5, core=None)
    assert found.answers == len(server.bodies) == 50
    assert server.bodies[:8] == (bodies.read_bytes().splitlines() * 2)[:8]
    # 40 of 50 were due while the first was answered, and waited 0.2 s by the middle of it
    assert found.p50_ms > 100
    assert found.p99_ms > 350
    assert found.late_p99_ms < found.p99_ms / 2  # it was the server that had the only connection


def test_what_wrk_printed_is_read_and_trouble_is_refused() -> None:
    told = {"answers": 5_000, "refused": 0, "broken": 0, "duration_us": 2_500_000, "p50_us": 1_500, "p99_us": 9_000}
    found = parsed(f"Running 2s test @ http://…\ntold {json.dumps(told)}\n")
    assert (found.answers, found.per_s, found.p50_ms, found.p99_ms) == (5_000, 2_000.0, 1.5, 9.0)
    for trouble in ({"refused": 1}, {"broken": 1}, {"answers": 0}):
        with pytest.raises(RuntimeError, match="answers"):
            parsed(f"told {json.dumps(told | trouble)}\n")
    with pytest.raises(RuntimeError, match="0 lines"):
        parsed("unable to connect\n")


def test_quantiles_are_in_milliseconds() -> None:
    assert quantiles_ms(np.arange(101) / 1_000) == pytest.approx((50.0, 99.0))


def test_a_claim_that_is_not_kept_is_told_and_what_was_not_measured_is_not() -> None:
    assert broken({"bench": "serving"}) == []
    assert broken(AT_LEAST | AT_MOST) == []
    assert broken({"echo_ratio": 0.1}) == [f"echo_ratio is 0.1 and not ≥ {AT_LEAST['echo_ratio']}"]
    assert broken({"ready_s": 9.0}) == [f"ready_s is 9.0 and not ≤ {AT_MOST['ready_s']}"]
    assert {*AT_LEAST, *AT_MOST} <= set(PARTS)
