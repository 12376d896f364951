"""A run killed at any point, taken up again, ends as if it had not been killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from everloop.ledger import Ledger
from everloop.workflows import Engine, RunResult

from . import pipeline
from .conftest import OpenEngine


def story(ledger: Ledger, run_id: str) -> list[tuple[Any, ...]]:
    """A run's facts without what differs between any two runs: when, where in the chain, how long."""
    told = []
    for fact in ledger.facts(run=run_id):
        payload = {name: value for name, value in fact.payload.items() if name not in ("seconds", "number", "run")}
        cause = None if fact.cause is None else ledger.fact(fact.cause).kind
        told.append((fact.kind, fact.actor, fact.step, fact.n, cause, payload))
    return told


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a process died at each point."""
    folder = tmp_path_factory.mktemp("dead")
    program = [sys.executable, "-m", "workflows.pipeline", str(folder)]
    here = Path(__file__).parent.parent
    done = subprocess.run(program, capture_output=True, text=True, cwd=here, check=True)
    assert done.stderr == ""
    codes = dict(line.split("\t") for line in done.stdout.splitlines())
    assert codes == {point: str(-signal.SIGKILL) for point in pipeline.POINTS}
    return folder


def test_every_killed_run_ends_as_one_that_was_not(dead: Path) -> None:
    from everloop.clock import SystemClock

    with Ledger.open(dead / "ledger.db", clock=SystemClock()) as ledger:
        engine = Engine.open(dead, ledger=ledger, clock=SystemClock(), slot="other", workflows=[pipeline.TRAIN])
        with engine:
            whole = engine.run("train", pipeline.INPUTS, run_id="r-whole", actor="alice")
            left = engine.recover()
            results = {point: engine.wait(pipeline.run_id_of(point), timeout_s=60) for point in pipeline.POINTS}
        assert set(left) == {pipeline.run_id_of(point) for point in pipeline.POINTS if point != "queued:run"}
        expected = story(ledger, "r-whole")
        assert [kind for kind, *_ in expected] == [
            "run.queued",
            "run.started",
            "run.step",
            "run.step",
            "version.registered",
            "run.step",
            "run.finished",
        ]
        for point, result in results.items():
            run_id = pipeline.run_id_of(point)
            assert (point, result) == (point, _renamed(whole, run_id))
            assert (point, _slotless(story(ledger, run_id))) == (point, _slotless(expected))
            assert (dead / "runs" / run_id / "model.txt").read_text() == "10"
        registered = [version.run for version in ledger.versions("fraud")]
        assert len(registered) == len(set(registered)) == len(pipeline.POINTS) + 1
        assert ledger.verify().ok
        state = ledger.dump_state()
        ledger.rebuild_state()
        assert ledger.dump_state() == state


def _renamed(result: RunResult, run_id: str) -> RunResult:
    import msgspec

    return msgspec.structs.replace(result, run_id=run_id)


def _slotless(told: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # The slot says who began a run, and the process that died had another name.
    return [(*start, {name: value for name, value in payload.items() if name != "slot"}) for *start, payload in told]


def test_what_was_recovered_is_not_recovered_again(open_engine: OpenEngine) -> None:
    with open_engine([pipeline.TRAIN]) as engine:
        engine.run("train", pipeline.INPUTS, run_id="r-1", actor="alice")
        assert engine.recover() == []
    with open_engine([pipeline.TRAIN], slot="other") as engine:
        assert engine.recover() == []
