"""Law 1 at the endpoint: what got a 200 is in the log exactly once, whatever process dies at whatever point."""

from __future__ import annotations

import itertools
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import polars as pl
import psutil
import pytest

from everloop.traffic import CRASH_POINTS, SPOOL_CRASH_POINTS
from tests.serving.place import Place, logged, row, wait_until

DYING = str(Path(__file__).with_name("dying.py"))
MOVER = [sys.executable, "-m", "everloop.control.mover_process", "--project"]
_WITHIN_S = 40.0
_MOVED = [point for point in CRASH_POINTS if point != "compacted"]  # that takes many files


@dataclass
class Told:
    """What was acknowledged: the answer of each prediction's id, and the outcome of each."""

    predictions: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, bool] = field(default_factory=dict)


class Teller:
    """Clients that predict and tell outcomes whatever happens, each id again until it got a 200."""

    def __init__(self, port: int, *, clients: int = 4) -> None:
        self._base = f"http://127.0.0.1:{port}/v1/models/fraud"
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self.told = Told()
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self) -> Teller:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                rows = [row(next(self._numbers)) for _ in range(3)]
                reply = self._sent(client, "predict", rows)
                if reply is None:
                    return
                for one in reply["results"]:
                    self.told.predictions[one["id"]] = json.dumps(one)
                truths = [{"id": one["payment_id"], "fraud": int(one["payment_id"][4:]) % 3 == 0} for one in rows]
                if self._sent(client, "outcomes", truths) is None:
                    return
                self.told.outcomes |= {str(one["id"]): bool(one["fraud"]) for one in truths}

    def _sent(
        self, client: httpx.Client, what: str, rows: list[dict[str, object]]
    ) -> dict[str, list[dict[str, object]]] | None:
        """The reply, however often it takes; None where all is over."""
        while True:
            try:
                reply = client.post(f"{self._base}/{what}", json={"rows": rows})
            except httpx.TransportError:
                if self._stop.wait(0.02):
                    return None
                continue
            if reply.status_code == 200 and not reply.json()["errors"]:
                return dict(reply.json())
            self.wrong.append(reply.text)
            return None


def free_port() -> int:
    """None of those that a connection to somewhere is given, which may be taken while nobody listens at it."""
    return next(port for port in random.SystemRandom().sample(range(15_000, 30_000), 1_000) if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def running(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        for one in [process, *_children(process.pid)]:
            one.kill()
        process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def hold_the_law(place: Place, told: Told) -> None:
    seen = logged(place)
    assert len(seen) == seen["prediction_id"].n_unique(), "each prediction is there once"
    scores = dict(zip(seen["prediction_id"], seen["score"], strict=True))
    assert set(told.predictions) <= set(scores), "what was acknowledged is there"
    for one, answer in told.predictions.items():
        assert json.loads(answer)["score"] == pytest.approx(scores[one], abs=1e-7), "as it was answered"
    outcomes = pl.read_delta(str(place.project.paths.traffic / "fraud" / "outcomes"))
    found = dict(zip(outcomes["prediction_id"], outcomes["number"], strict=True))
    assert {one: found.get(one) for one in told.outcomes} == {one: float(true) for one, true in told.outcomes.items()}


def some(points: Sequence[str], *daily: str) -> list[object]:
    """The points; only `daily` ones are died at in every run of the tests, the others in `make chaos`."""
    return [point if point in daily else pytest.param(point, marks=pytest.mark.chaos) for point in points]


@pytest.mark.parametrize("point", some(SPOOL_CRASH_POINTS, "predictions committed"))
def test_a_worker_that_dies_at_a_point_has_lost_and_doubled_nothing(place: Place, point: str) -> None:
    place.deployed()
    root, port = place.project.root, free_port()
    with Teller(port) as teller:
        for arrival in (1, 40):
            with running(sys.executable, DYING, "endpoint", root, point, arrival, port) as dying:
                wait_until(lambda: dying.poll() is not None, within_s=_WITHIN_S)
        told = len(teller.told.predictions)
        with running(sys.executable, "-m", "everloop.serving", "--project", root, "--port", port):
            wait_until(
                lambda: len(teller.told.predictions) > told + 100 and len(teller.told.outcomes) > 100,
                within_s=_WITHIN_S,
            )
    assert not teller.wrong
    hold_the_law(place, teller.told)


@pytest.mark.parametrize("point", some(_MOVED, "committed"))
def test_a_mover_that_dies_at_a_point_under_load_has_lost_and_doubled_nothing(place: Place, point: str) -> None:
    place.deployed()
    root, port = place.project.root, free_port()
    with (
        running(sys.executable, "-m", "everloop.serving", "--project", root, "--port", port),
        Teller(port) as teller,
    ):
        for arrival in (1, 3):
            with running(sys.executable, DYING, "mover", root, point, arrival) as dying:
                wait_until(lambda: dying.poll() is not None, within_s=_WITHIN_S)
    assert not teller.wrong
    hold_the_law(place, teller.told)


def killed(place: Place, rounds: int) -> None:
    """So many kills of a worker, the supervisor or the mover at any moment, under load."""
    chance, root, port = random.Random(7), place.project.root, free_port()
    serve = [sys.executable, "-m", "everloop.serving", "--project", root, "--port", port, "--workers", 2]
    with Teller(port) as teller:
        left = rounds
        while left:
            with running(*serve) as supervisor, running(*MOVER, root) as mover:
                while left:
                    told = len(teller.told.predictions)
                    wait_until(lambda: len(teller.told.predictions) > told + 30 or teller.wrong, within_s=_WITHIN_S)  # noqa: B023
                    time.sleep(chance.random() * 0.05)  # at any moment
                    left -= 1
                    workers = _children(supervisor.pid)
                    victim = chance.choice(["worker", "worker", "mover", "supervisor"])
                    if victim == "worker":
                        chance.choice(workers).kill()
                    else:
                        (mover if victim == "mover" else supervisor).kill()
                        break
            # who lost their supervisor answer what they took, and end
            wait_until(lambda: is_free(port), within_s=_WITHIN_S)
    assert not teller.wrong
    hold_the_law(place, teller.told)


def test_processes_that_are_killed_at_any_moment_have_lost_and_doubled_nothing(place: Place) -> None:
    place.deployed()
    killed(place, rounds=2)


@pytest.mark.chaos
def test_a_hundred_kills_have_lost_and_doubled_nothing(place: Place) -> None:
    place.deployed()
    killed(place, rounds=100)
