"""Schedules under a real controller and ledger: on time, late, skipped, paused, asked for, and by a clock that errs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.control import (
    Controller,
    Resources,
    ask_for_run,
    pause_schedule,
    resume_schedule,
    schedule_status,
    status,
)
from everloop.control.worker import LEASE
from everloop.errors import Conflict, NotFound, UsageError
from everloop.ledger import Ledger, VersionRegistered
from everloop.project import Project
from everloop.rollout import deploy

BEGIN = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
MINUTE, HOUR, DAY, WEEK = (timedelta(minutes=n) for n in (1, 60, 1440, 10080))
SUNDAY = datetime(2026, 3, 8, 2, tzinfo=UTC)
MODEL = """\
data: {source: rows.parquet, time: at, target: fraud}
objective: recall at precision >= 0.80
"""


class HandClock:
    """A clock that anybody may set, also back."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass
class Yard:
    """A project with a champion and no engine: what asks for a run asks in vain, until a test begins it."""

    root: Path
    ledger: Ledger
    clock: HandClock
    controller: Controller

    @property
    def model(self) -> Any:
        return self.controller._resources.model("fraud")

    def fired(self) -> list[dict[str, Any]]:
        return [dict(fact.payload) for fact in self.ledger.facts(kind="schedule.fired")]

    def at(self, at: datetime) -> list[str]:
        """What the controller says at that time."""
        self.clock.at = at
        return self.controller.tick()

    def reopened(self, train: str | None = None) -> None:
        """Another process, with the file as it is now."""
        if train is not None:
            (self.root / "fraud" / "model.yaml").write_text(f"{MODEL}train: {train}\n")
        self.controller = _controller(self.root, self.ledger, self.clock)

    def run(self, run: str, begin: datetime, end: datetime | None) -> None:
        """A training that went on for this long."""
        self.clock.at = begin
        payload = {"run": run, "workflow": "train", "model": "fraud", "spec": "fraud-s1", "trigger": "person"}
        self.ledger.append("run.started", run, payload, actor="alice", key=(run, "run", 0))
        if end is not None:
            self.clock.at = end
            self.ledger.append("run.finished", run, {"run": run, "sentence": "good"}, actor="control")


def _controller(root: Path, ledger: Ledger, clock: HandClock) -> Controller:
    return Controller(Resources.of(Project.open(root, environment={}), ledger=ledger, clock=clock))


@contextmanager
def yard(root: Path, train: str, *, champion: bool = True, more: str = "") -> Iterator[Yard]:
    (root / "fraud").mkdir(parents=True)
    (root / "everloop.yaml").write_text("{}\n")
    (root / "fraud" / "model.yaml").write_text(f"{MODEL}train: {train}\n{more}")
    found, clock = Project.open(root, environment={}), HandClock(BEGIN)
    assert found.state.is_dir()
    with Ledger.open(found, clock=clock) as ledger:
        payload = VersionRegistered(model="fraud", bundle="b", run="r-1", spec="fraud-s1", spec_hash="h")
        ledger.register_version("fraud", payload, actor="test")
        if champion:
            deploy(ledger, "fraud", 1, actor="alice", reason="test")
        yield Yard(root=root, ledger=ledger, clock=clock, controller=_controller(root, ledger, clock))


def test_it_fires_once_at_its_time_and_asks_for_a_run(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: weekly}") as here:
        assert here.at(BEGIN) == []
        assert here.at(SUNDAY - MINUTE) == []
        said = here.at(SUNDAY + timedelta(seconds=1))
        assert said[0] == "fraud: the schedule weekly came due; a retrain follows"
        for later in (SUNDAY + MINUTE, SUNDAY + HOUR, SUNDAY + 6 * DAY):
            here.at(later)
        [fact] = here.fired()
        assert (fact["due"], fact["late_s"], fact["missed"]) == ("2026-03-08T02:00:00Z", 1.0, 0)
        assert (fact["sentence"], fact["skipped"]) == ("", None)
        assert fact["run"].startswith("r-")
        assert schedule_status(here.ledger, here.model, now=here.clock.now()).firings[0].result == "waiting"
        assert here.ledger.verify().ok


def test_nothing_fires_before_the_first_champion_nor_where_something_else_calls(tmp_path: Path) -> None:
    with yard(tmp_path / "a", "{schedule: hourly}", champion=False) as here:
        here.at(SUNDAY)
        assert here.fired() == []
        assert schedule_status(here.ledger, here.model, now=SUNDAY).state == "waiting"
    with yard(tmp_path / "b", "{schedule: external}") as here:
        for days in range(40):
            here.at(BEGIN + days * DAY)
        assert here.fired() == []
        stands = schedule_status(here.ledger, here.model, now=SUNDAY)
        assert (stands.state, stands.next, stands.firings) == ("external", (), ())


def test_what_was_missed_runs_once_and_says_how_late_it_is(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: weekly}") as here:
        here.at(BEGIN)
        said = here.at(SUNDAY + 3 * WEEK + 3 * HOUR)
        assert said[0].startswith("fraud: the schedule weekly came due 3h ago, and nothing watched when it")
        here.at(SUNDAY + 3 * WEEK + 4 * HOUR)
        [fact] = here.fired()
        assert (fact["due"], fact["late_s"], fact["missed"]) == ("2026-03-29T02:00:00Z", 3 * 3600, 3)
        assert fact["sentence"] == "nothing watched when it came due"
        here.at(SUNDAY + 4 * WEEK)
        assert [one["missed"] for one in here.fired()] == [3, 0]


def test_what_was_missed_is_skipped_where_the_project_says_so(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: weekly, missed: skip}") as here:
        here.at(BEGIN)
        here.at(SUNDAY + WEEK + 3 * HOUR)
        here.at(SUNDAY + 2 * WEEK + MINUTE)
        skipped, fired = here.fired()
        assert (skipped["run"], skipped["missed"], skipped["late_s"]) == (None, 1, 3 * 3600)
        assert skipped["skipped"] == "nothing watched when it came due, and train.missed is skip"
        assert (fired["skipped"], fired["missed"]) == (None, 0)
        assert fired["run"] is not None


@pytest.mark.parametrize("missed", ["once", "skip"])
def test_what_came_due_while_a_run_went_on_was_not_missed(tmp_path: Path, missed: str) -> None:
    with yard(tmp_path, f"{{schedule: weekly, missed: {missed}}}") as here:
        here.at(BEGIN)
        here.run("r-long", SUNDAY - HOUR, None)
        assert here.at(SUNDAY + HOUR) == []
        here.clock.at = SUNDAY + 2 * HOUR
        here.ledger.append("run.finished", "r-long", {"run": "r-long", "sentence": "good"}, actor="control")
        here.at(SUNDAY + 2 * HOUR + MINUTE)
        [fact] = here.fired()
        assert (fact["sentence"], fact["skipped"]) == ("run r-long went on until then", None)
        assert fact["late_s"] == (2 * HOUR + MINUTE).total_seconds()


@pytest.mark.parametrize("missed", ["once", "skip"])
def test_a_paused_schedule_fires_nothing_and_on_resume_does_as_the_project_says(tmp_path: Path, missed: str) -> None:
    with yard(tmp_path, f"{{schedule: daily, missed: {missed}}}") as here:
        here.at(BEGIN)
        with pytest.raises(UsageError, match="say why"):
            pause_schedule(here.ledger, here.model, by="alice", reason=" ")
        paused = pause_schedule(here.ledger, here.model, by="alice", reason="the source is being moved")
        with pytest.raises(Conflict, match="is paused already, by alice: the source is being moved"):
            pause_schedule(here.ledger, here.model, by="bob", reason="too")
        for day in range(1, 5):
            assert here.at(BEGIN + day * DAY) == []
        here.reopened()
        assert here.at(BEGIN + 5 * DAY) == []
        assert here.fired() == []
        stands = schedule_status(here.ledger, here.model, now=here.clock.now())
        assert (stands.state, stands.to_dict()["paused"]["by"]) == ("paused", "alice")
        seen = status(Project.open(here.root, environment={}), here.ledger, here.clock)
        assert seen.models[0].next_retrain is None
        assert seen.to_dict()["models"][0]["schedule_paused"]["reason"] == "the source is being moved"
        assert "Next retrain: paused by alice since 2026-03-04 12:00: the source is being" in seen.text()
        assert "→ everloop schedule resume fraud" in seen.text()
        resumed = datetime(2026, 3, 10, 2, 5, tzinfo=UTC)  # five minutes after the last one came due
        here.clock.at = resumed
        resume_schedule(here.ledger, here.model, by="bob", reason="moved")
        assert here.ledger.last("schedule.resumed").cause == paused.seq  # type: ignore[union-attr]
        with pytest.raises(Conflict, match="is not paused"):
            resume_schedule(here.ledger, here.model, by="bob")
        here.at(resumed)
        [fact] = here.fired()
        said = "alice had paused the schedule: the source is being moved"
        assert (fact["due"], fact["late_s"], fact["missed"]) == ("2026-03-10T02:00:00Z", 300.0, 5)
        assert fact["sentence"] == said
        assert fact["skipped"] == (None if missed == "once" else f"{said}, and train.missed is skip")
        assert (fact["run"] is None) == (missed == "skip")
        here.at(datetime(2026, 3, 11, 2, tzinfo=UTC))
        assert [one["late_s"] for one in here.fired()] == [300.0, 0.0]


def test_there_is_nothing_to_pause_where_nothing_fires_by_itself(tmp_path: Path) -> None:
    with yard(tmp_path / "a", "{schedule: external}") as here, pytest.raises(UsageError, match="is external"):
        pause_schedule(here.ledger, here.model, by="alice", reason="x")
    with yard(tmp_path / "b", "{window: 90d}") as here:
        with pytest.raises(UsageError, match="is left out, and nothing fires by itself"):
            pause_schedule(here.ledger, here.model, by="alice", reason="x")
        with pytest.raises(UsageError, match="has no train"):
            ask_for_run(here.ledger, here.model, by="alice")


def test_a_run_that_a_person_asks_for_is_asked_once_and_begun_once(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: weekly}") as here:
        here.at(BEGIN)
        asked = ask_for_run(here.ledger, here.model, by="alice", reason="new columns")
        assert (asked.new, asked.by, asked.worker, asked.after) == (True, "alice", False, None)
        again = ask_for_run(here.ledger, here.model, by="bob")
        assert (again.new, again.by, again.run, again.fact) == (False, "alice", asked.run, asked.fact)
        pause_schedule(here.ledger, here.model, by="carol", reason="a freeze")
        here.reopened()
        said = here.at(BEGIN + MINUTE)  # a person's own is not held by a pause
        assert said == ["fraud: StartTraining was not possible: this process trains nothing; start 'everloop worker'"]
        stands = schedule_status(here.ledger, here.model, now=here.clock.now(), firings=3)
        [firing] = stands.firings
        assert (firing.by, firing.sentence, firing.run, firing.result) == ("alice", "new columns", asked.run, "waiting")
        here.run(asked.run, BEGIN + 2 * MINUTE, BEGIN + HOUR)
        assert here.at(BEGIN + 2 * HOUR) == []
        [firing] = schedule_status(here.ledger, here.model, now=here.clock.now()).firings
        assert (firing.run, firing.result, firing.ended) == (asked.run, "finished", "good")
        here.ledger.acquire_lease(LEASE, "someone", ttl_s=60)
        here.run("r-other", BEGIN + 3 * HOUR, None)
        third = ask_for_run(here.ledger, here.model, by="bob")
        assert (third.new, third.worker, third.after, third.paused) == (True, True, "r-other", True)
        assert third.run != asked.run


def test_a_first_version_is_not_asked_of_a_schedule(tmp_path: Path) -> None:
    nothing = pytest.raises(NotFound, match="'everloop train' makes the first version")
    with yard(tmp_path, "{schedule: weekly}", champion=False) as here, nothing:
        ask_for_run(here.ledger, here.model, by="alice")


def test_another_schedule_in_the_file_is_a_fact_and_counts_from_then_on(tmp_path: Path) -> None:
    with yard(tmp_path, "{window: 90d}") as here:
        here.at(BEGIN)
        here.reopened("{schedule: weekly}")
        said = here.at(BEGIN + 40 * DAY)  # six Sundays have gone by without any schedule: none was missed
        assert said == ["fraud: the schedule is weekly (UTC) from now on"]
        assert here.fired() == []
        here.at(BEGIN + 47 * DAY)
        assert len(here.fired()) == 1
        here.reopened("{schedule: daily}")
        here.at(BEGIN + 47 * DAY + HOUR)
        assert len(here.fired()) == 1
        here.at(datetime(2026, 4, 21, 2, tzinfo=UTC))
        assert here.fired()[-1]["due"] == "2026-04-21T02:00:00Z"
        here.reopened("{window: 90d}")
        here.at(BEGIN + 60 * DAY)
        facts = here.ledger.facts(kind="schedule.set")
        told = [(fact.payload["before"], fact.payload["schedule"]) for fact in facts]
        assert told == [(None, None), (None, "weekly"), ("weekly", "daily"), ("daily", None)]
        head = here.ledger.head()
        here.reopened()
        here.at(BEGIN + 61 * DAY)
        assert here.ledger.head() == head


def test_another_time_zone_in_the_file_counts_from_then_on_too(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: daily}") as here:
        here.at(BEGIN)
        here.at(BEGIN + DAY)
        here.reopened("{schedule: daily}\ntimezone: America/New_York")
        said = here.at(BEGIN + DAY + HOUR)
        assert said[0] == "fraud: the schedule is daily (America/New_York) from now on"
        here.at(BEGIN + 2 * DAY)
        dues = [one["due"] for one in here.fired()]
        assert dues == ["2026-03-05T02:00:00Z", "2026-03-06T07:00:00Z"]


def test_a_clock_that_was_far_ahead_and_is_put_right_starves_no_schedule(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: daily}") as here:
        here.at(BEGIN)
        here.at(BEGIN + DAY)
        here.at(BEGIN + 400 * DAY)  # wrong by more than a year
        here.at(BEGIN + DAY + HOUR)
        assert len(here.fired()) == 2
        for days in (2, 3, 4):
            here.at(BEGIN + days * DAY)
        here.reopened()
        here.at(BEGIN + 5 * DAY)
        dues = [one["due"] for one in here.fired()]
        assert dues[2:] == [f"2026-03-{day:02}T02:00:00Z" for day in (6, 7, 8, 9)]
        assert len(dues) == len(set(dues))


def test_a_clock_that_is_put_back_says_nothing_and_fires_nothing_again(tmp_path: Path) -> None:
    with yard(tmp_path, "{schedule: daily}") as here:
        for days in range(1, 4):
            here.at(BEGIN + days * DAY)
        head = here.ledger.head()
        for hours in (60, 30, 20, 61, 70):
            assert [said for said in here.at(BEGIN + hours * HOUR) if "came due" in said] == []
        assert here.ledger.head() == head
        here.at(BEGIN + 4 * DAY)
        assert [one["due"][:10] for one in here.fired()] == [f"2026-03-0{day}" for day in (5, 6, 7, 8)]


def test_a_schedule_first_seen_by_a_clock_that_was_ahead_counts_from_now(tmp_path: Path) -> None:
    with yard(tmp_path, "{window: 90d}") as here:
        here.at(BEGIN)
        here.reopened("{schedule: daily}")
        here.at(BEGIN + 400 * DAY)
        here.at(BEGIN + HOUR)
        here.at(BEGIN + DAY)
        assert [one["due"] for one in here.fired()] == ["2026-03-05T02:00:00Z"]


@settings(max_examples=12, deadline=None)
@given(
    schedule=st.sampled_from(["hourly", "daily", "every 6h", "rate(90 minutes)"]),
    missed=st.sampled_from(["once", "skip"]),
    moves=st.lists(st.tuples(st.integers(-30 * 60, 60 * 60), st.booleans()), min_size=1, max_size=12),
)
def test_however_the_clock_jumps_nothing_fires_twice_nor_before_its_time(
    schedule: str, missed: str, moves: list[tuple[int, bool]]
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        yard(Path(folder), f"{{schedule: {schedule}, missed: {missed}}}") as here,
    ):
        here.at(BEGIN)
        for minutes, restarted in moves:
            if restarted:
                here.reopened()
            here.at(max(BEGIN, here.clock.at + minutes * MINUTE))
        facts = here.ledger.facts(kind="schedule.fired")
        dues = [datetime.fromisoformat(fact.payload["due"]) for fact in facts]
        assert len(dues) == len(set(dues))
        assert all(due <= fact.at for due, fact in zip(dues, facts, strict=True))
        assert len({fact.payload["run"] for fact in facts} - {None}) == sum(
            fact.payload["skipped"] is None for fact in facts
        )


@settings(max_examples=12, deadline=None)
@given(ticks=st.lists(st.tuples(st.integers(1, 900), st.booleans()), min_size=3, max_size=20))
def test_a_span_keeps_its_grid_over_late_ticks_and_restarts(ticks: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder, yard(Path(folder), "{schedule: every 6h}") as here:
        here.at(BEGIN)
        for minutes, restarted in ticks:
            if restarted:
                here.reopened()
            here.at(here.clock.at + minutes * MINUTE)
        facts = here.fired()
        dues = [datetime.fromisoformat(fact["due"]) for fact in facts]
        assert all(due.hour % 6 == due.minute == due.second == 0 for due in dues)
        passed = (here.clock.at - BEGIN) // (6 * HOUR)  # BEGIN is on the grid
        assert len(facts) + sum(fact["missed"] for fact in facts) == passed
