"""A clock that is put back in mid-run: the run ends, what it took is told, and the chain still verifies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.workflows import Engine, RunContext, State, Step, Workflow, run_story, story_page

BEGIN = datetime(2024, 3, 1, 12, tzinfo=UTC)


@dataclass
class PutBack(SystemClock):
    """A clock that somebody sets."""

    at: datetime

    def now(self) -> datetime:
        return self.at


def test_a_run_over_which_the_clock_is_put_back_ends_and_verifies(tmp_path: Path) -> None:
    clock = PutBack(BEGIN)

    def put_back(context: RunContext, state: State) -> State:
        clock.at -= timedelta(hours=3)
        return {"rows": 5}

    steps = [Step(name="read", run=put_back), Step(name="fit", run=lambda context, state: {"total": state["rows"]})]
    with Ledger.open(tmp_path / "ledger.db", clock=clock) as ledger:
        workflow = Workflow(name="train", steps=steps, lane=lambda inputs: str(inputs["model"]))
        with Engine.open(tmp_path, ledger=ledger, clock=clock, workflows=[workflow]) as engine:
            first = engine.run("train", {"model": "fraud"}, run_id="r-1", actor="alice")
            second = engine.run("train", {"model": "fraud"}, run_id="r-2", actor="alice")
        assert [first.status, second.status] == ["finished", "finished"]
        assert [run.run for run in ledger.runs()] == ["r-1", "r-2"]  # as they were asked for, not as the clock says
        story = run_story(ledger, tmp_path / "runs", "r-1")
        assert story.seconds == 0.0
        assert all(step.seconds >= 0 for step in story.steps)
        assert "r-1" in story_page(story)
        report = ledger.verify()
        assert report.ok, report.problem
