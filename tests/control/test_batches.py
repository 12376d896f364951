"""Batch scoring on a schedule: fired by the controller, once for each time that came due, by the champion of then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources
from everloop.control import actions as to_do
from everloop.control.batches import BatchFacts, batch_at
from everloop.control.decisions import decide
from everloop.control.view import BatchSchedule
from everloop.ledger import Ledger
from everloop.project import Model, Project, parse_model

from ..production.scorer import copied, logged, new_rows, table, trained_shop
from .views import NOW, seen, view

HOUR = timedelta(hours=1)
START = datetime(2024, 5, 6, 0, 30, tzinfo=UTC)
DATA = "data: {source: a, time: t, target: y}\nobjective: f1\n"
DAILY = ("daily", "UTC")


def model(score: str) -> Model:
    found, mistakes = parse_model(DATA + score)
    assert found is not None, mistakes
    return found


@pytest.mark.parametrize(
    ("facts", "now", "expected"),
    [
        (BatchFacts(), START, BatchSchedule(known=False, since=START)),
        (BatchFacts(said=DAILY, since=START), START + HOUR, BatchSchedule()),
        (
            BatchFacts(said=DAILY, since=START),
            START + 2 * HOUR,
            BatchSchedule(due=datetime(2024, 5, 6, 2, tzinfo=UTC), sentence="nothing watched when it came due"),
        ),
        (
            BatchFacts(said=DAILY, since=START),
            datetime(2024, 5, 9, 2, 1, tzinfo=UTC),
            BatchSchedule(due=datetime(2024, 5, 9, 2, tzinfo=UTC), missed=3),
        ),
        (
            BatchFacts(said=DAILY, since=START, fired=datetime(2024, 5, 9, 2, tzinfo=UTC)),
            datetime(2024, 5, 9, 3, tzinfo=UTC),
            BatchSchedule(),
        ),
        (
            BatchFacts(said=DAILY, since=START, fired=datetime(2024, 5, 9, 2, tzinfo=UTC), begun=False),
            datetime(2024, 5, 9, 3, tzinfo=UTC),
            BatchSchedule(due=datetime(2024, 5, 9, 2, tzinfo=UTC)),
        ),
        (
            BatchFacts(said=("weekly", "UTC"), since=START),
            START,
            BatchSchedule(known=False, said="weekly", since=START),
        ),
    ],
)
def test_what_is_due(facts: BatchFacts, now: datetime, expected: BatchSchedule) -> None:
    assert batch_at(facts, model("score: {source: new, schedule: daily}"), now) == expected


def test_a_model_without_a_schedule_has_none() -> None:
    assert batch_at(BatchFacts(), model("score: {source: new}"), START) == BatchSchedule()
    gone = batch_at(BatchFacts(said=DAILY, since=START), model("score: {source: new}"), START)
    assert gone == BatchSchedule(known=False, said="daily", since=START)


def test_a_schedule_without_a_source_is_a_mistake() -> None:
    found, mistakes = parse_model(DATA + "score: {schedule: daily}\n")
    assert found is None
    assert "there is no source to score" in mistakes[0]


def test_scoring_waits_for_nothing_but_a_champion() -> None:
    due = BatchSchedule(due=NOW)
    expected = [to_do.StartScoring(model="fraud", due=NOW)]
    assert decide(view(seen(batches=due))) == expected
    assert decide(view(seen(batches=due, routing=None, versions=(), been_champion=frozenset()))) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    score = "score: {source: incoming, target: scored, schedule: every 1h}\nmonitor: {checks: [schema]}\n"
    return trained_shop(tmp_path_factory.mktemp("batches") / "shop", score=score)


def test_what_came_is_scored_every_hour_once(trained: Path, tmp_path: Path) -> None:
    root = copied(trained, tmp_path / "shop")
    found, clock = Project.open(root, environment={}), SimulatedClock(START)
    with (
        Ledger.open(found, clock=clock) as ledger,
        Resources.opened(found, ledger=ledger, clock=clock, slot="town") as resources,
    ):
        controller = Controller(resources, wait=True)
        controller.tick()
        noted = [(fact.subject, fact.payload["schedule"]) for fact in ledger.facts(kind="schedule.set")]
        assert noted == [("fraud", None), ("fraud/score", "every 1h")]  # trainings have a schedule of their own: none
        for hour in range(3):
            new_rows(10, seed=hour, first=10 * hour).write_parquet(root / "incoming" / f"{hour}.parquet")
            clock.set(START + (hour + 1) * HOUR - timedelta(minutes=29))
            for _ in range(3):
                controller.tick()
        clock.set(START + 9 * HOUR)  # a worker that was off
        controller.tick()
        fired = ledger.facts(kind="schedule.fired", subject="fraud/score")
        assert [fact.payload["due"][11:16] for fact in fired] == ["01:00", "02:00", "03:00", "09:00"]
        assert (fired[-1].payload["missed"], fired[-1].payload["sentence"]) == (5, "nothing watched when it came due")
        runs = [run for run in ledger.runs("fraud") if run.workflow == "score"]
        assert [(run.run, run.trigger, run.status) for run in runs] == [
            (fact.payload["run"], "schedule", "finished") for fact in fired
        ]
        assert [fact.payload["rows"] for fact in ledger.facts(kind="score.done")] == [10, 10, 10]
        assert ledger.verify().ok
    assert table(root).height == logged(root).height == 30


def test_a_time_that_fired_before_its_run_was_asked_for_is_asked_for_once(trained: Path, tmp_path: Path) -> None:
    """Killed between the fact and the run."""
    from everloop.control.batches import batch_key

    root = copied(trained, tmp_path / "shop")
    found, clock = Project.open(root, environment={}), SimulatedClock(START)
    pl.DataFrame(new_rows(5, seed=1)).write_parquet(root / "incoming" / "a.parquet")
    with (
        Ledger.open(found, clock=clock) as ledger,
        Resources.opened(found, ledger=ledger, clock=clock, slot="town") as resources,
    ):
        controller = Controller(resources, wait=True)
        controller.tick()
        due = START.replace(hour=1, minute=0)
        clock.set(due)
        payload = {"model": "fraud", "schedule": "every 1h", "due": due, "run": "r-lost"}
        ledger.append("schedule.fired", "fraud/score", payload, actor="control", key=batch_key("fraud", due))
        controller.tick()
        controller.tick()
        assert [run.run for run in ledger.runs("fraud") if run.workflow == "score"] == ["r-lost"]
        assert ledger.run("r-lost").status == "finished"
        assert len(ledger.facts(kind="schedule.fired")) == 1
