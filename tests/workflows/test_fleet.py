"""Several machines, one queue in PostgreSQL: whoever dies, freezes or is cut off, every run ends once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from everloop.clock import SystemClock
from everloop.errors import LedgerUnreadable
from everloop.ledger import Ledger, NoticeSent
from everloop.workflows import Engine, RunContext, State, Step, Workflow

from ..database_server import DatabaseServer, database_server
from . import fleet

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    with database_server() as server:
        yield server


@pytest.fixture
def address(server: DatabaseServer) -> str:
    """An empty database."""
    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS everloop_runs CASCADE"
        )
    return server.address


def until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    pause, clock = threading.Event(), SystemClock()
    limit_s = clock.monotonic_s() + seconds
    while not holds():
        assert clock.monotonic_s() < limit_s, "it did not come to pass"
        pause.wait(0.02)


def test_workers_that_are_killed_at_every_point_end_every_run_once(tmp_path: Path, address: str) -> None:
    points = fleet.EVERY_POINT
    program = [sys.executable, "-m", "workflows.fleet", str(tmp_path), address, ",".join(points)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=HERE, check=True, timeout=300)
    said = [line.split("\t") for line in done.stdout.splitlines()]
    assert said[0] == ["asked", "0"], done.stderr
    assert {point for point, code in said if code == str(-signal.SIGKILL)} == set(points), done.stderr
    assert {code for point, code in said[1:] if point == "none"} == {"0"}, done.stderr
    with fleet.open_ledger(tmp_path, address) as ledger:
        assert [run.status for run in ledger.runs()] == ["finished"] * fleet.RUNS
        assert len(ledger.facts(kind="run.finished")) == fleet.RUNS
        registered = [version.run for version in ledger.versions()]
        assert sorted(registered) == [f"r-{number:02}" for number in range(fleet.RUNS)]
        assert len(ledger.facts(kind="run.step")) == fleet.RUNS * len(fleet.FLEET.steps)
        assert ledger.facts(kind="run.taken")
        assert_one_at_a_time(ledger)
        assert ledger.verify().ok


def assert_one_at_a_time(ledger: Ledger) -> None:
    """Of a lane one run goes on, and they begin in the order in which they were asked for."""
    going_on: dict[str, str] = {}
    order: dict[str, list[str]] = {}
    for fact in ledger.facts(kind=("run.started", "run.finished")):
        lane = ledger.run(fact.subject).lane
        if fact.kind == "run.started":
            assert going_on.setdefault(lane, fact.subject) == fact.subject
            order.setdefault(lane, []).append(fact.subject)
        else:
            assert going_on.pop(lane) == fact.subject
    assert all(runs == sorted(runs) for runs in order.values())


def test_a_frozen_worker_loses_its_run_and_writes_nothing_more(tmp_path: Path, address: str) -> None:
    inputs = {"model": "m", "spec": "s1", "rows": 5, "folder": str(tmp_path)}
    program = "import sys, pathlib; from workflows.fleet import work; work(pathlib.Path(sys.argv[1]), sys.argv[2], 1)"
    with fleet.open_ledger(tmp_path, address) as ledger:
        with fleet.engine_on(tmp_path, ledger, 0) as engine:
            engine.start("held", inputs, run_id="r-1", actor="alice", begin=False)
        frozen = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), address], cwd=HERE)
        try:
            until(lambda: bool(list(tmp_path.glob(f"began-*-{frozen.pid}"))))
            os.kill(frozen.pid, signal.SIGSTOP)
            (tmp_path / "go").touch()
            with fleet.engine_on(tmp_path, ledger, 2) as engine:
                until(lambda: bool(engine.recover()))
                result = engine.wait("r-1", timeout_s=60)
                assert (result.status, result.state["held_by"]) == ("finished", os.getpid())
                told = ledger.facts(subject="r-1")
                os.kill(frozen.pid, signal.SIGCONT)
                assert frozen.wait(60) == 0  # nothing is open any more, so it ends, and in order
            assert ledger.facts(subject="r-1") == told
        finally:
            frozen.kill()
            frozen.wait()
    taken = next(fact for fact in told if fact.kind == "run.taken")
    assert taken.payload["taken_from"] != taken.payload["slot"]
    assert "is gone; the run goes on" in taken.payload["sentence"]


def test_a_database_that_is_restarted_in_mid_run_delays_it(tmp_path: Path) -> None:
    inputs = {"model": "m", "spec": "s1", "rows": 5, "folder": str(tmp_path)}
    with database_server() as server, fleet.open_ledger(tmp_path, server.address) as ledger:
        with fleet.engine_on(tmp_path, ledger, 1) as engine:
            engine.start("held", inputs, run_id="r-1", actor="alice")
            until(lambda: bool(list(tmp_path.glob("began-*"))))
            server.stop()
            (tmp_path / "go").touch()
            until((tmp_path / "runs" / "r-1" / "steps" / "hold.json").exists)  # the step ended, and cannot say so
            server.start()
            assert engine.wait("r-1", timeout_s=60).status == "finished"
        kinds = [fact.kind for fact in ledger.facts(subject="r-1")]
        assert kinds.count("run.finished") == 1
        assert kinds.count("run.step") == 4
        assert len(list(tmp_path.glob("began-*"))) == 1  # what the step had done was not thrown away
        assert ledger.verify().ok


def test_a_fact_of_a_step_is_written_once_where_the_answer_to_it_was_lost(tmp_path: Path, address: str) -> None:
    lost = [True]

    def tell(context: RunContext, state: State) -> State:
        payload = NoticeSent(channel="log", sentence="it is told", delivered=True)
        context.append("notice.sent", "log", payload)
        if lost:
            lost.clear()
            raise LedgerUnreadable("the server closed the connection")  # after it had committed
        return {}

    workflow = Workflow(name="tell", steps=[Step(name="tell", run=tell)])
    with fleet.open_ledger(tmp_path, address) as ledger:
        with Engine.open(tmp_path, ledger=ledger, clock=SystemClock(), workflows=[workflow], lease_s=30.0) as engine:
            assert engine.run("tell", {}, run_id="r-1", actor="alice").status == "finished"
        assert [fact.n for fact in ledger.facts(kind="notice.sent")] == [1]
