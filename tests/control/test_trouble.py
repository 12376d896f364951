"""What goes wrong with one model, or with deciding at all, keeps nothing else from being done."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources, ask_for_run
from everloop.control.worker import work
from everloop.experiment import approve
from everloop.ledger import Ledger, VersionRegistered
from everloop.production import start_training
from everloop.project import Project, Spec, write_spec

from ..serving.place import wait_until
from .town import BEGIN, Town, life, make

MINUTE = timedelta(minutes=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of two models, `fraud` and, after it, `wire`; each has an approved spec."""
    root = tmp_path / "shop"
    make(root, life(schedule="weekly"))
    shutil.copytree(root / "fraud", root / "wire", ignore=shutil.ignore_patterns("specs"))
    found = Project.open(root, environment={})
    model = found.model("wire")
    spec = Spec.new(name="wire-s1", learner="constant", hyperparameters={}, objective=str(model.objective), reason="x")
    write_spec(model.spec_path(1), spec)
    with Ledger.open(found, clock=SimulatedClock(BEGIN)) as ledger:
        approve(found, model, "wire-s1", by="alice", ledger=ledger)
    return root


@contextmanager
def controlled(root: Path) -> Iterator[Town]:
    found, clock = Project.open(root, environment={}), SimulatedClock(BEGIN)
    with (
        Ledger.open(found, clock=clock) as ledger,
        Resources.opened(found, ledger=ledger, clock=clock, slot="test") as resources,
    ):
        yield Town(resources=resources, clock=clock, controller=Controller(resources))


def asked_for(here: Town) -> None:
    """Each model has a champion, and someone wants it trained anew."""
    here.controller.tick()  # which writes down what the schedules are
    for name, model in here.resources.project.models.items():
        made = VersionRegistered(model=name, bundle="b", run="r", spec=f"{name}-s1", spec_hash="h")
        here.ledger.register_version(name, made, actor="alice")
        here.ledger.change_routing(name, expected_revision=0, champion=1, previous=None, reason="", actor="alice")
        ask_for_run(here.ledger, model, by="bob", reason="now")


def told_at(here: Town, words: str, minutes: range) -> dict[int, str]:
    """The minutes in which something was said with these words in it."""
    told: dict[int, str] = {}
    for minute in minutes:
        here.clock.set(BEGIN + minute * MINUTE)
        for sentence in here.controller.tick():
            if words in sentence:
                told[minute] = sentence
    return told


def test_what_one_models_action_raises_keeps_no_other_from_its_turn(root: Path) -> None:
    (root / "fraud" / "specs" / "fraud-s1.yaml").write_bytes(b"\xff\xfe no text\x00")
    with controlled(root) as here:
        asked_for(here)
        told = told_at(here, "fraud: StartTraining", range(40))
        assert list(told) == [0, 10, 30]  # ever later, as whatever cannot be done
        trace = here.resources.project.paths.logs / "fraud-StartTraining.error.txt"
        assert "UnicodeDecodeError: " in told[0]
        assert told[0].endswith(f"the trace is in {trace}")
        assert "Traceback" in trace.read_text()
        assert [run.model for run in here.ledger.runs()] == ["wire"]


def test_a_model_whose_traffic_cannot_be_read_is_said_once_and_the_rest_goes_on(root: Path) -> None:
    with controlled(root) as here:
        asked_for(here)
        log = here.resources.project.paths.traffic / "fraud" / "predictions" / "_delta_log"
        log.mkdir(parents=True)
        (log / f"{0:020}.json").write_text("[no commit\n")
        told = told_at(here, "fraud: its windows cannot be read", range(1, 5))
        assert list(told) == [1]
        # neither the other model nor what else there is to do of this one waits for it
        assert [run.model for run in here.ledger.runs()] == ["fraud", "wire"]
        shutil.rmtree(log)
        assert told_at(here, "fraud", range(6, 10)) == {}
        log.mkdir()
        (log / f"{0:020}.json").write_text("[no commit\n")
        assert list(told_at(here, "fraud: its windows cannot be read", range(11, 14))) == [11]


def test_runs_that_wait_begin_where_nothing_can_be_decided(root: Path) -> None:
    with controlled(root) as here:
        resources = here.resources
        assert resources.engine is not None
        asked = start_training(
            resources.engine,
            resources.pipeline,
            resources.ledger,
            model=resources.model("wire"),
            as_of=BEGIN,
            actor="alice",
            begin=False,
        )
        ledger = resources.project.paths.ledger_db
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("DROP TABLE alert")
    said: list[str] = []
    stop = threading.Event()
    project = Project.open(root, environment={})
    worker = threading.Thread(target=work, args=(project, stop), kwargs={"say": said.append})
    worker.start()
    try:
        wait_until(lambda: f"run {asked.run_id} begins" in said, within_s=30)
    finally:
        stop.set()
        worker.join()
    assert any("alert" in sentence for sentence in said), said
