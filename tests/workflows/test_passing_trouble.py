"""What is away for a while when a step ends: the run is left, and goes on once it is back."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from everloop.clock import SystemClock
from everloop.errors import IntegrationError, LedgerUnreadable
from everloop.ledger import Ledger
from everloop.storage import FolderStorage
from everloop.workflows import Engine, RunContext, State, Step, Workflow


class Away(FolderStorage):
    """A store that takes nothing while it is away."""

    away = False

    def write(self, key: str, path: Path) -> None:
        if self.away:
            raise IntegrationError("the store cannot be written; try again later")
        super().write(key, path)


def two_steps(calls: list[str]) -> Workflow:
    def first(context: RunContext, state: State) -> State:
        calls.append("first")
        (context.workdir / "rows.txt").write_text("1 2 3")
        return {"rows": 3}

    def second(context: RunContext, state: State) -> State:
        calls.append("second")
        return {"sum": sum(map(int, (context.workdir / "rows.txt").read_text().split()))}

    return Workflow(name="two", steps=[Step(name="first", run=first), Step(name="second", run=second)])


def engine_on(folder: Path, ledger: Ledger, workflow: Workflow, store: FolderStorage | None = None) -> Engine:
    return Engine.open(folder, ledger=ledger, clock=SystemClock(), workflows=[workflow], artifacts=store)


def test_a_store_that_was_away_costs_the_run_a_while_and_not_its_end(tmp_path: Path, ledger: Ledger) -> None:
    calls: list[str] = []
    store = Away(tmp_path / "store")
    store.away = True
    with engine_on(tmp_path, ledger, two_steps(calls), store) as engine:
        with pytest.raises(IntegrationError, match="cannot be written"):
            engine.run("two", {}, run_id="r-1", actor="alice")
        assert ledger.run("r-1").status == "running"
        store.away = False
        engine.resume("r-1")
        assert engine.wait("r-1", timeout_s=30).state == {"rows": 3, "sum": 6}
    assert [fact.payload["step"] for fact in ledger.facts(kind="run.step")] == ["first", "second"]
    assert ledger.facts(kind="run.taken") == []  # it was this very process that broke it off
    assert ledger.verify().ok


def test_a_run_that_breaks_off_rests_before_it_is_taken_up_again(tmp_path: Path, ledger: Ledger) -> None:
    calls: list[str] = []
    store = Away(tmp_path / "store")
    store.away = True
    with engine_on(tmp_path, ledger, two_steps(calls), store) as engine:
        with pytest.raises(IntegrationError):
            engine.run("two", {}, run_id="r-1", actor="alice")
        assert [engine.recover() for _ in range(5)] == [[]] * 5
    assert calls == ["first"]


def test_a_ledger_that_is_locked_when_a_step_ends(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    locks: list[sqlite3.Connection] = []

    def locking(context: RunContext, state: State) -> State:
        if not locks:
            locks.append(sqlite3.connect(path, check_same_thread=False, isolation_level=None))
            locks[0].execute("BEGIN IMMEDIATE")
        return {"locked": True}

    with Ledger.open(path, clock=SystemClock(), busy_timeout_s=0.2) as ledger:
        workflow = Workflow(name="lock", steps=[Step(name="lock", run=locking)])
        with engine_on(tmp_path, ledger, workflow) as engine:
            with pytest.raises(LedgerUnreadable, match="was locked by another process"):
                engine.run("lock", {}, run_id="r-1", actor="alice")
            locks[0].execute("ROLLBACK")
            locks[0].close()
            engine.resume("r-1")
            assert engine.wait("r-1", timeout_s=30).status == "finished"
        assert [fact.kind for fact in ledger.facts()] == ["run.queued", "run.started", "run.step", "run.finished"]


def test_a_retry_that_another_machine_takes_over_finds_what_was_kept(tmp_path: Path, ledger: Ledger) -> None:
    calls: list[str] = []
    began, pause, failing = threading.Event(), threading.Event(), [True]
    plain = two_steps(calls)

    def second(context: RunContext, state: State) -> State:
        if failing:
            raise IntegrationError("not yet")
        if not began.is_set():
            began.set()
            while not context.should_stop():
                pause.wait(0.01)
        return plain.steps[1].run(context, state)

    workflow = Workflow(name="two", steps=[plain.steps[0], Step(name="second", run=second)])
    store = FolderStorage(tmp_path / "store")
    here, there = tmp_path / "here", tmp_path / "there"
    engine = engine_on(here, ledger, workflow, store)
    assert engine.run("two", {}, run_id="r-1", actor="alice").status == "failed"
    failing.clear()
    engine.retry("r-1", new_run_id="r-2", actor="bob")
    assert began.wait(30)
    engine.close()
    shutil.rmtree(here / "runs")  # the other machine has a disk of its own
    there.mkdir()
    shutil.copytree(here, there, dirs_exist_ok=True)
    with engine_on(there, ledger, workflow, store) as other:
        other.recover()
        assert other.wait("r-2", timeout_s=30).state["sum"] == 6
    assert calls.count("first") == 1


def test_a_retry_of_a_step_that_is_gone_ends(tmp_path: Path, ledger: Ledger) -> None:
    calls: list[str] = []
    old = two_steps(calls)
    with engine_on(tmp_path, ledger, old) as engine:
        engine.run("two", {}, run_id="r-1", actor="alice")
        engine.retry("r-1", from_step="second", new_run_id="r-2", actor="alice", begin=False)
    with engine_on(tmp_path, ledger, Workflow(name="two", steps=old.steps[:1])) as engine:
        ended = engine.wait("r-2", timeout_s=30)
    assert (ended.status, ledger.run("r-2").status) == ("failed", "failed")
    assert "two has no step second any more" in ended.sentence
