"""Who runs next: lanes, requests that fold into one, retries, and what a step may take."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from everloop.errors import AlreadyRunning, NotFound, Refused, UsageError, WorkflowError
from everloop.ledger import Ledger
from everloop.workflows import Engine, RunContext, State, Step, Workflow, run_story, story_page

from .conftest import OpenEngine


class Gate:
    """A step that waits until it is let go."""

    def __init__(self) -> None:
        self.began, self.open = threading.Event(), threading.Event()

    def __call__(self, context: RunContext, state: State) -> State:
        self.began.set()
        while not self.open.wait(0.01) and not context.should_stop():
            pass
        return {"spec": state["spec"]}


def laned(run: object, **options: object) -> Workflow:
    return Workflow(
        name="train",
        steps=[Step(name="fit", run=run, **options)],  # type: ignore[arg-type]
        lane=lambda inputs: str(inputs["model"]),
        fold=lambda inputs: str(inputs["spec"]),
    )


def ask(engine: Engine, run_id: str, *, spec: str = "s1", model: str = "fraud", as_of: int = 0) -> str:
    inputs = {"model": model, "spec": spec, "trigger": "person", "as_of": as_of}
    return engine.start("train", inputs, run_id=run_id, actor="alice").run_id


def test_a_model_has_one_run_at_a_time_and_the_next_waits(open_engine: OpenEngine, ledger: Ledger) -> None:
    gate = Gate()
    with open_engine([laned(gate)]) as engine:
        assert ask(engine, "r-1") == "r-1"
        assert gate.began.wait(30)
        assert ask(engine, "r-2", spec="s2") == "r-2"
        assert ask(engine, "r-3", model="eta") == "r-3"
        assert [ledger.run(run).status for run in ("r-1", "r-2", "r-3")] == ["running", "queued", "running"]
        assert engine.take() == []
        gate.open.set()
        assert engine.wait("r-2", timeout_s=30).status == "finished"
        assert engine.wait("r-1", timeout_s=30).status == "finished"
    ended, began = ledger.keyed("r-1", "run", 1), ledger.keyed("r-2", "run", 0)
    assert ended is not None
    assert began is not None
    assert began.seq > ended.seq
    assert run_story(ledger, Path(), "r-2").waited_s > 0


def test_a_second_request_becomes_one_with_the_run_that_waits(open_engine: OpenEngine, ledger: Ledger) -> None:
    gate = Gate()
    with open_engine([laned(gate)]) as engine:
        ask(engine, "r-1")
        assert gate.began.wait(30)
        assert ask(engine, "r-2", as_of=2) == "r-2"  # the same as what goes on: newer rows may have come since
        assert ask(engine, "r-3", as_of=3) == "r-2"
        assert ask(engine, "r-3", as_of=4) == "r-2"  # asked again under one id, as after a crash: written once
        assert ask(engine, "r-4", spec="s2") == "r-4"
        gate.open.set()
        assert engine.wait("r-2", timeout_s=30).state["as_of"] == 3
    assert [fact.payload["run"] for fact in ledger.facts(kind="run.folded")] == ["r-3"]
    story = run_story(ledger, Path(), "r-2")
    assert [who for who, _ in story.folded] == ["alice"]
    with pytest.raises(NotFound):
        ledger.run("r-3")


def test_a_capacity_bounds_what_is_taken(open_engine: OpenEngine, tmp_path: Path, ledger: Ledger) -> None:
    from everloop.clock import SystemClock

    gate = Gate()
    with Engine.open(tmp_path, ledger=ledger, clock=SystemClock(), workflows=[laned(gate)], capacity=2) as engine:
        for number in range(3):
            inputs = {"model": f"m{number}", "spec": "s1"}
            engine.start("train", inputs, run_id=f"r-{number}", actor="alice", begin=False)
        assert engine.take() == ["r-0", "r-1"]
        assert engine.take() == []
        gate.open.set()
        for number in range(3):
            assert engine.wait(f"r-{number}", timeout_s=30).status == "finished"


def test_a_run_that_waits_can_be_cancelled_and_resumed_in_its_turn(open_engine: OpenEngine, ledger: Ledger) -> None:
    gate = Gate()
    with open_engine([laned(gate)]) as engine:
        ask(engine, "r-1")
        assert gate.began.wait(30)
        ask(engine, "r-2", spec="s2")
        with pytest.raises(AlreadyRunning, match="r-2 waits for its turn in fraud"):
            engine.resume("r-2")
        with pytest.raises(AlreadyRunning, match=r"r-1 is being run by cli@.*, which lives"):
            engine.resume("r-1")
        engine.cancel("r-2", actor="bob", reason="not needed")
        assert engine.wait("r-2", timeout_s=30).sentence == "not needed"
        gate.open.set()
        engine.wait("r-1", timeout_s=30)
        with pytest.raises(WorkflowError, match=r"r-2 has ended .cancelled.; 'everloop run retry r-2'"):
            engine.resume("r-2")
    assert ledger.keyed("r-2", "run", 0) is None  # it never began


def pipeline(calls: list[str], *, gate: bool) -> Workflow:
    def read(context: RunContext, state: State) -> State:
        calls.append("read")
        (context.workdir / "rows.txt").write_text("1 2 3")
        return {"rows": 3}

    def fit(context: RunContext, state: State) -> State:
        calls.append("fit")
        if not gate:
            raise Refused("recall 0.71 is below 0.75")
        return {"total": sum(int(word) for word in (context.workdir / "rows.txt").read_text().split())}

    return Workflow(name="train", steps=[Step(name="read", run=read), Step(name="fit", run=fit)])


def test_a_retry_keeps_what_the_steps_before_gave(open_engine: OpenEngine, ledger: Ledger, tmp_path: Path) -> None:
    calls: list[str] = []
    with open_engine([pipeline(calls, gate=False)]) as engine:
        assert engine.run("train", {"spec": "s1"}, run_id="r-1", actor="alice").status == "refused"
    with open_engine([pipeline(calls, gate=True)]) as engine:
        handle = engine.retry("r-1", new_run_id="r-2", actor="bob")
        result = engine.wait(handle.run_id, timeout_s=30)
        assert (result.status, result.state) == ("finished", {"spec": "s1", "rows": 3, "total": 6})
        assert calls == ["read", "fit", "fit"]
        again = engine.retry("r-2", new_run_id="r-3", actor="bob")  # of a run that finished: all of it
        assert engine.wait(again.run_id, timeout_s=30).status == "finished"
        assert calls == ["read", "fit", "fit", "read", "fit"]
        with pytest.raises(UsageError, match="train has no step 'fly'; it has read, fit"):
            engine.retry("r-1", from_step="fly", new_run_id="r-4", actor="bob")
        with pytest.raises(NotFound, match="no run r-9"):
            engine.retry("r-9", new_run_id="r-4", actor="bob")
    story = run_story(ledger, tmp_path / "runs", "r-2")
    assert [(step.step, step.kept_from) for step in story.steps] == [("read", "r-1"), ("fit", None)]
    assert story.retry_of == "r-1"
    assert "kept from r-1" in story_page(story)
    queued = ledger.keyed("r-2", "run", 2)
    assert queued is not None
    assert queued.cause == ledger.run("r-1").last_seq


def test_a_retry_of_what_never_ended_a_step_is_refused_by_name(open_engine: OpenEngine) -> None:
    calls: list[str] = []
    with open_engine([pipeline(calls, gate=False)]) as engine:
        engine.run("train", {}, run_id="r-1", actor="alice")
        steps = engine._runs_folder / "r-1" / "steps"  # as where a disk was cleaned by hand
        (steps / "read.json").unlink()
        handle = engine.retry("r-1", new_run_id="r-2", actor="bob")
        result = engine.wait(handle.run_id, timeout_s=30)
    assert result.status == "failed"
    assert "r-1 holds no output of read" in result.sentence


def test_a_step_out_of_time_is_broken_off_where_it_does_not_ask(open_engine: OpenEngine) -> None:
    ended, counted = threading.Event(), [0]

    def busy(context: RunContext, state: State) -> State:
        try:
            while True:  # never asks whether it should stop, and catches what it can
                try:
                    counted[0] += 1
                except Exception:
                    counted[0] = 0
        finally:
            ended.set()

    with open_engine([laned(busy, timeout_s=0.1)]) as engine:
        result = engine.wait(ask(engine, "r-1"), timeout_s=30)
        assert result.error == "StepTimeout"
        assert ended.wait(10)
    stood = counted[0]
    assert counted[0] == stood


def test_pauses_grow_up_to_the_longest_and_every_failure_is_told(
    open_engine: OpenEngine, ledger: Ledger, tmp_path: Path
) -> None:
    def flaky(context: RunContext, state: State) -> State:
        if context.attempt < 4:
            raise ConnectionError(f"attempt {context.attempt}: the store does not answer")
        return {"read": state["spec"]}

    options = {"attempts": 4, "first_pause_s": 0.01, "longest_pause_s": 0.02}
    with open_engine([laned(flaky, **options)]) as engine:
        engine.wait(ask(engine, "r-1"), timeout_s=30)
    (step,) = run_story(ledger, tmp_path / "runs", "r-1").steps
    assert (step.attempts, [one.waited_s for one in step.failures]) == (4, [0.01, 0.02, 0.02])
    assert "attempt 2: the store does not answer" in step.failures[1].sentence
    assert (dict(step.inputs), dict(step.outputs)) == ({"spec": "s1"}, {"read": "s1"})
    kept = json.loads((tmp_path / "runs" / "r-1" / "steps" / "fit.json").read_text())
    assert kept["attempt"] == 4
    page = story_page(run_story(ledger, tmp_path / "runs", "r-1"))
    assert "the store does not answer" in page
    assert "Gantt chart" in page


def test_the_failures_of_a_step_that_never_succeeds_are_told(open_engine: OpenEngine, ledger: Ledger) -> None:
    def down(context: RunContext, state: State) -> State:
        raise ConnectionError("the store does not answer")

    with open_engine([laned(down, attempts=3, first_pause_s=0.01)]) as engine:
        engine.wait(ask(engine, "r-1"), timeout_s=30)
    (step,) = run_story(ledger, Path("nowhere"), "r-1").steps
    assert (step.status, step.attempts, len(step.failures)) == ("failed", 3, 3)
    assert run_story(ledger, Path("nowhere"), "r-1").to_dict()["steps"][0]["failures"][2]["waited_s"] == 0.0
