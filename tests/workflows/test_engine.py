"""Runs: how they end, what they leave, who may run them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from everloop.clock import SystemClock
from everloop.errors import (
    AlreadyRunning,
    NotEnoughData,
    NotFound,
    Refused,
    StepTimeout,
    Undecided,
    WorkflowError,
)
from everloop.ledger import Ledger
from everloop.workflows import Engine, RunContext, RunResult, State, Step, Workflow
from everloop.workflows.slots import Slot

from . import pipeline
from .conftest import OpenEngine


def until_stopped(context: RunContext, state: State) -> State:
    state["began"].set() if "began" in state else None
    pause = threading.Event()
    while not context.should_stop():
        pause.wait(0.002)
    return {"stopped": True}


def kinds(ledger: Ledger) -> list[str]:
    return [fact.kind for fact in ledger.facts()]


def one(run: object, **options: object) -> Workflow:
    return Workflow(name="one", steps=[Step(name="only", run=run, **options)])  # type: ignore[arg-type]


def test_a_run_passes_its_state_along_and_writes_its_facts(open_engine: OpenEngine, ledger: Ledger) -> None:
    with open_engine([pipeline.TRAIN]) as engine:
        handle = engine.start("train", pipeline.INPUTS, run_id="r-1", actor="alice")
        result = engine.wait("r-1")
    assert result.state == {**pipeline.INPUTS, "snapshot": "rows.txt", "total": 10, "shape": [1, 2], "bundle": "sum 10"}
    assert handle.fact.kind == "run.started"
    run = ledger.run("r-1")
    assert (run.status, run.model, run.spec, run.workflow) == ("finished", "fraud", "fraud-s1", "train")
    assert [fact.kind for fact in ledger.why("fraud", 1)] == ["version.registered", "run.started"]
    step = ledger.keyed("r-1", "fit", 0)
    assert step is not None
    assert step.payload["outputs"] == {"total": 10, "shape": [1, 2]}
    assert step.payload["seconds"] >= 0


def test_a_refusal_ends_the_run_at_once_with_its_evidence(open_engine: OpenEngine, ledger: Ledger) -> None:
    calls: list[int] = []

    def gate(context: RunContext, state: State) -> State:
        calls.append(context.attempt)
        verdict = {"name": "recall >= 0.75", "outcome": "failed", "sentence": "recall 0.71 is below 0.75"}
        raise Refused("recall 0.71 is below 0.75", evidence_path="runs/r-1/evidence.json", verdicts=[verdict])

    with open_engine([one(gate, attempts=3)]) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    assert calls == [1]
    assert (result.status, result.evidence_path, result.step) == ("refused", "runs/r-1/evidence.json", "only")
    with pytest.raises(Refused, match=r"is below 0\.75") as caught:
        result.raise_for_status()
    assert caught.value.exit_code == 3
    assert kinds(ledger) == ["run.queued", "run.started", "run.refused"]
    assert ledger.run("r-1").evidence_path == "runs/r-1/evidence.json"
    assert ledger.facts()[-1].payload["verdicts"][0]["name"] == "recall >= 0.75"


@pytest.mark.parametrize("error", [NotEnoughData("40 positives, 50 are needed"), Undecided("too early to say")])
def test_an_error_of_ours_fails_the_run_with_its_sentence(open_engine: OpenEngine, error: Exception) -> None:
    def step(context: RunContext, state: State) -> State:
        raise error

    with open_engine([one(step)]) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    assert (result.status, result.sentence, result.error) == ("failed", str(error), type(error).__name__)
    with pytest.raises(type(error), match=str(error)):
        result.raise_for_status()


def test_any_other_error_is_recorded_and_its_trace_kept(open_engine: OpenEngine, tmp_path: Path) -> None:
    with open_engine([one(lambda context, state: {"x": 1 / 0})]) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    assert "step only raised ZeroDivisionError: division by zero" in result.sentence
    assert "1 / 0" in (tmp_path / "runs" / "r-1" / "only.error.txt").read_text()
    with pytest.raises(WorkflowError, match="ZeroDivisionError"):
        result.raise_for_status()


def test_a_step_is_tried_as_often_as_it_may(open_engine: OpenEngine, ledger: Ledger) -> None:
    def flaky(context: RunContext, state: State) -> State:
        if context.attempt < 2:
            raise ConnectionError("not yet")
        return {"attempt": context.attempt}

    with open_engine([one(flaky, attempts=3)]) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    assert result.state == {"attempt": 2}
    assert [fact.payload["attempt"] for fact in ledger.facts(kind="run.step")] == [2]


def test_what_no_file_can_hold_is_no_output(open_engine: OpenEngine) -> None:
    with open_engine([one(lambda context, state: {"x": object()})]) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    assert "cannot hold a object" in result.sentence


def test_on_failure_is_called_once_the_run_went_wrong(open_engine: OpenEngine) -> None:
    seen: list[RunResult] = []

    def no(context: RunContext, state: State) -> State:
        raise Refused("no")

    def note(context: RunContext, result: RunResult) -> None:
        seen.append(result)

    def broken(context: RunContext, result: RunResult) -> None:
        raise NotFound("no note was written")

    steps = [Step(name="gate", run=no)]
    flows = [
        Workflow(name="noted", steps=steps, on_failure=note),
        Workflow(name="broken", steps=steps, on_failure=broken),
    ]
    with open_engine(flows) as engine:
        engine.run("noted", {}, run_id="r-1", actor="a")
        assert [(result.status, result.step) for result in seen] == [("refused", "gate")]
        result = engine.run("broken", {}, run_id="r-2", actor="a")
    assert result.sentence == "no (then: no note was written)"


@pytest.mark.parametrize("polite", [True, False])
def test_a_step_that_takes_too_long_fails_whether_it_stops_or_not(open_engine: OpenEngine, polite: bool) -> None:
    released = threading.Event()

    def stubborn(context: RunContext, state: State) -> State:
        released.wait()
        return {}

    with open_engine([one(until_stopped if polite else stubborn, timeout_s=0.05, attempts=2)]) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    released.set()
    assert result.sentence.startswith("step only took longer than 0.05 s")
    with pytest.raises(StepTimeout):
        result.raise_for_status()


def test_a_cancelled_run_stops_before_its_next_step(open_engine: OpenEngine, ledger: Ledger) -> None:
    steps = [Step(name="long", run=until_stopped), Step(name="next", run=lambda context, state: {"next": True})]
    with open_engine([Workflow(name="two", steps=steps)]) as engine:
        engine.start("two", {"model": "fraud"}, run_id="r-1", actor="a")
        engine.cancel("r-1", actor="bob", reason="bob changed his mind")
        result = engine.wait("r-1", timeout_s=30)
        assert engine.cancel("r-1", actor="eve").sentence == "bob changed his mind"
        with pytest.raises(NotFound, match="no run r-9"):
            engine.cancel("r-9", actor="bob")
    assert (result.status, result.sentence) == ("cancelled", "bob changed his mind")
    assert kinds(ledger) == ["run.queued", "run.started", "run.cancelled"]
    assert ledger.run("r-1").status == "cancelled"


def test_a_run_that_ended_keeps_its_end(open_engine: OpenEngine, ledger: Ledger) -> None:
    with open_engine([one(lambda context, state: {})]) as engine:
        engine.run("one", {}, run_id="r-1", actor="a")
        assert engine.cancel("r-1", actor="bob").status == "finished"
    assert kinds(ledger)[-1] == "run.finished"


def test_closing_leaves_a_run_to_be_gone_on_with(open_engine: OpenEngine, ledger: Ledger) -> None:
    began, calls = threading.Event(), []

    def long(context: RunContext, state: State) -> State:
        calls.append("long")
        if len(calls) == 1:
            began.set()
            return until_stopped(context, state)
        return {"whole": True}

    flow = Workflow(name="two", steps=[Step(name="first", run=lambda c, s: {"first": 1}), Step(name="long", run=long)])
    with open_engine([flow]) as engine:
        engine.start("two", {}, run_id="r-1", actor="a")
        assert began.wait(30)
    assert ledger.run("r-1").status == "running"
    with open_engine([flow]) as engine:  # opening alone does not go on with it
        assert engine.interrupted() == ["r-1"]
        with pytest.raises(WorkflowError, match=r"has not ended after 0\.01 s"):
            engine.wait("r-1", timeout_s=0.01)
    with open_engine([flow], slot="worker") as engine:
        assert engine.recover() == ["r-1"]
        result = engine.wait("r-1", timeout_s=30)
    assert result.state == {"first": 1, "whole": True}
    assert calls == ["long", "long"]
    told = [kind for kind in kinds(ledger) if kind != "run.taken"]  # once, or twice where the wait went on with it
    assert told == ["run.queued", "run.started", "run.step", "run.step", "run.finished"]
    assert ledger.last("run.taken", "r-1").payload["taken_from"].startswith("cli@")  # type: ignore[union-attr]


def test_a_run_of_a_workflow_that_changed_fails_with_a_sentence(open_engine: OpenEngine, ledger: Ledger) -> None:
    began = threading.Event()

    def long(context: RunContext, state: State) -> State:
        began.set()
        return until_stopped(context, state)

    first = Step(name="first", run=lambda context, state: {})
    with open_engine([Workflow(name="w", steps=[first, Step(name="long", run=long)])]) as engine:
        engine.start("w", {}, run_id="r-1", actor="a")
        assert began.wait(30)
    with open_engine([Workflow(name="w", steps=[Step(name="renamed", run=first.run)])]) as engine:
        engine.recover()
        result = engine.wait("r-1", timeout_s=30)
    assert result.status == "failed"
    assert "the run cannot go on" in result.sentence
    assert ledger.run("r-1").status == "failed"


def test_the_same_id_is_the_same_run(open_engine: OpenEngine, ledger: Ledger) -> None:
    calls: list[int] = []
    with open_engine([one(lambda context, state: calls.append(1) or {"x": 1})]) as engine:
        first = engine.run("one", {}, run_id="r-1", actor="a")
        assert engine.run("one", {}, run_id="r-1", actor="a") == first
    with open_engine([one(lambda context, state: {"x": 2})]) as engine:
        assert engine.run("one", {}, run_id="r-1", actor="a") == first
        with pytest.raises(NotFound, match="there is no run r-7"):
            engine.wait("r-7")
        with pytest.raises(WorkflowError, match="there is no workflow two; there are: one"):
            engine.start("two", {}, run_id="r-2", actor="a")
    assert calls == [1]


def test_a_step_gets_its_owners_resources_and_writes_its_facts_once(open_engine: OpenEngine, ledger: Ledger) -> None:
    def step(context: RunContext, state: State) -> State:
        payload = {"channel": "log", "sentence": context.resources["word"], "delivered": True}
        facts = [context.append("notice.sent", "team", payload) for _ in range(2)]
        if context.attempt == 1:
            raise ConnectionError("after writing")
        return {"seqs": [fact.seq for fact in facts]}

    with open_engine([one(step, attempts=2)], resources={"word": "hello"}) as engine:
        result = engine.run("one", {}, run_id="r-1", actor="a")
    assert result.state == {"seqs": [3, 4]}
    assert kinds(ledger) == ["run.queued", "run.started", "notice.sent", "notice.sent", "run.step", "run.finished"]


def test_one_engine_at_a_time_in_a_process(open_engine: OpenEngine) -> None:
    with open_engine([pipeline.TRAIN]), pytest.raises(WorkflowError, match="close that one first"):
        open_engine([pipeline.TRAIN], slot="second")
    with open_engine([pipeline.TRAIN]) as engine:
        assert engine.slot == "cli"


def test_a_held_slot_gives_the_next_one(tmp_path: Path) -> None:
    slots = [Slot.take(tmp_path, "cli") for _ in range(64)]
    assert [slot.name for slot in slots[:3]] == ["cli", "cli-2", "cli-3"]
    with pytest.raises(AlreadyRunning, match="64 processes"):
        Slot.take(tmp_path, "cli")
    for slot in slots:
        slot.release()
    again = Slot.take(tmp_path, "cli")
    assert again.name == "cli"
    again.release()


def test_the_engines_file_holds_json_and_no_pickle(open_engine: OpenEngine, tmp_path: Path) -> None:
    with open_engine([pipeline.TRAIN]) as engine:
        engine.run("train", pipeline.INPUTS, run_id="r-1", actor="alice")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        found = connection.execute("SELECT inputs FROM workflow_input").fetchall()
        found += connection.execute("SELECT output FROM workflow_output").fetchall()
        found += connection.execute("SELECT output FROM operation_outputs").fetchall()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(found) == 5
    assert all(isinstance(json.loads(text), dict) for (text,) in found)


def test_a_damaged_file_is_said_in_one_sentence(open_engine: OpenEngine, tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"a letter, no database\n" * 500)
    with pytest.raises(WorkflowError, match=r"runs\.db cannot be read or written"):
        open_engine([pipeline.TRAIN])
    (tmp_path / "runs.db").unlink()
    with open_engine([pipeline.TRAIN]) as engine:
        assert engine.slot == "cli"


@pytest.mark.parametrize(("name", "options"), [("run", {}), ("", {}), ("a", {"attempts": 0}), ("a", {"timeout_s": 0})])
def test_a_step_that_makes_no_sense_is_refused(name: str, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"possible|cannot be called"):
        Step(name=name, run=lambda context, state: {}, **options)  # type: ignore[arg-type]


def test_importing_does_not_import_the_engine_and_running_says_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, everloop.workflows; assert 'dbos' not in sys.modules\n"
        "from pathlib import Path; from workflows.pipeline import train\n"
        "result = train(Path(sys.argv[1]), 'never'); print(result.status)"
    )
    here = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=here)
    assert (done.stdout, done.stderr, done.returncode) == ("finished\n", "", 0)


def test_a_project_says_where(tmp_path: Path, ledger: Ledger) -> None:
    class Paths:
        runs_db = tmp_path / "x" / "runs.db"
        runs = tmp_path / "x" / "runs"
        slots = tmp_path / "x" / "slots"

    with Engine.open(Paths(), ledger=ledger, clock=SystemClock(), workflows=[pipeline.TRAIN]) as engine:
        engine.run("train", pipeline.INPUTS, run_id="r-1", actor="a")
    assert (tmp_path / "x" / "runs" / "r-1" / "model.txt").exists()
