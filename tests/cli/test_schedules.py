"""`everloop schedule` as people type it, and what an outside scheduler reads of `everloop train`: its exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources
from everloop.experiment import approve
from everloop.ledger import Ledger, VersionRegistered
from everloop.project import Project
from everloop.rollout import deploy

from ..production.shop import add_spec, shop
from .terminal import Ended, everloop

BEGIN = datetime(2026, 10, 21, 12, tzinfo=UTC)  # a Wednesday, four days before Berlin's clocks go back
MODEL = """\
timezone: {zone}
data: {{source: rows.parquet, time: at, target: fraud}}
objective: recall at precision >= 0.80
train: {train}
"""
MODELS = {
    "eta": ("UTC", "{schedule: every 6h}"),
    "films": ("America/New_York", "{schedule: external}"),
    "fraud": ("Europe/Berlin", '{schedule: "0 2 * * SUN"}'),
    "music": ("UTC", "{schedule: daily}"),
    "plain": ("UTC", "{window: 90d}"),
}


class Town:
    """A project of five models, all but one with a champion, and a clock that commands read too."""

    def __init__(self, root: Path) -> None:
        self.root = root / "town"
        for name, (zone, train) in MODELS.items():
            (self.root / name).mkdir(parents=True)
            (self.root / name / "model.yaml").write_text(MODEL.format(zone=zone, train=train))
        (self.root / "everloop.yaml").write_text("{}\n")
        self.clock = SimulatedClock(BEGIN, path=root / "clock")
        project = Project.open(self.root, environment={})
        assert project.state.is_dir()
        self.ledger = Ledger.open(project, clock=self.clock)
        self.controller = Controller(Resources.of(project, ledger=self.ledger, clock=self.clock))
        for name in MODELS:
            payload = VersionRegistered(model=name, bundle="b", run="r-1", spec=f"{name}-s1", spec_hash="h")
            self.ledger.register_version(name, payload, actor="test")
            if name != "music":
                deploy(self.ledger, name, 1, actor="alice", reason="test")
        self.controller.tick()

    def say(self, *words: str) -> Ended:
        return everloop("schedule", *words, cwd=self.root, EVERLOOP_CLOCK=f"shared:{self.root.parent / 'clock'}")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.ledger.close()


def narrow(shown: Ended) -> bool:
    return max(len(line) for line in (shown.out + shown.err).splitlines()) <= 80


def test_list_says_of_every_model_when_it_is_trained_next(town: Town) -> None:
    shown = town.say("list")
    assert (shown.code, narrow(shown)) == (0, True), shown.err
    lines = shown.out.splitlines()
    at = lines.index("fraud: 0 2 * * SUN, Europe/Berlin, active")
    assert lines[at + 1 : at + 7] == [
        "  last  never fired",
        "  next  Sun 2026-10-25 02:00 CEST",  # the first of the two
        "        Sun 2026-11-01 02:00 CET",
        "        Sun 2026-11-08 02:00 CET",
        "        Sun 2026-11-15 02:00 CET",
        "        Sun 2026-11-22 02:00 CET",
    ]
    assert "films: external: what calls 'everloop train' decides\nfraud: " in shown.out
    assert "music: daily, UTC, waiting for a first version, from 'everloop train'" in shown.out
    assert lines[-1] == "plain: no schedule, trained by hand with 'everloop train'"
    record = {one["model"]: one for one in town.say("list", "--next", "2", "--json").json}
    assert {name: one["state"] for name, one in record.items()} == {
        "eta": "active",
        "films": "external",
        "fraud": "active",
        "music": "waiting",
        "plain": "none",
    }
    assert record["eta"]["next"] == ["2026-10-21T18:00:00+00:00", "2026-10-22T00:00:00+00:00"]
    assert record["fraud"]["next"] == ["2026-10-25T02:00:00+02:00", "2026-11-01T02:00:00+01:00"]
    assert record["films"]["next"] == []
    assert not record["fraud"]["worker"]
    assert shown.err == "no worker is alive, so nothing fires: start 'everloop up' or 'everloop worker'\n"
    town.ledger.acquire_lease("control", "someone", ttl_s=600)
    one = town.say("list", "fraud")
    assert (one.err, one.out.splitlines()) == ("", lines[at : at + 7])
    assert record["fraud"]["missed"] == "once"


def test_what_fired_late_or_was_skipped_is_told_with_its_run(town: Town) -> None:
    town.clock.advance(timedelta(days=3))
    town.controller.tick()
    shown = town.say("show", "eta")
    assert (shown.code, narrow(shown)) == (0, True), shown.err
    assert "Sat 2026-10-24 12:00 UTC: run r-" in shown.out
    assert "11 earlier times missed" in shown.out
    town.clock.advance(timedelta(hours=9))
    town.controller.tick()
    text = " ".join(town.say("show", "eta").out.split())
    assert "Sat 2026-10-24 18:00 UTC: run r-" in text
    assert "has not begun; 3h late, nothing watched when it came due" in text
    record = town.say("show", "eta", "--last", "5", "--json").json
    assert [one["missed"] for one in record["firings"]] == [0, 11]
    assert record["last"] == record["firings"][0]
    assert (record["last"]["late_s"], record["last"]["result"]) == (3 * 3600, "waiting")
    unknown = town.say("show", "frod")
    assert unknown.code == 1
    assert "did you mean 'fraud'" in unknown.err
    assert town.say("show", "eta", "--next", "0").code == 2


def test_pause_and_resume_say_who_and_why(town: Town) -> None:
    without = town.say("pause", "fraud")
    assert (without.code, without.out) == (2, "")
    assert "say why, for whoever finds no new version: --reason TEXT" in without.err
    paused = town.say("pause", "fraud", "--reason", "the [source] is being moved")
    assert (paused.code, paused.out) == (0, "the schedule of fraud is paused\n")
    assert paused.err == "'everloop schedule resume fraud' lets it fire again\n"
    again = town.say("pause", "fraud", "--reason", "too", "--json")
    assert (again.code, again.out) == (1, "")
    assert "is paused already, by " in again.err
    listed = town.say("list")
    assert "since 2026-10-21 12:00 UTC: the [source] is being moved" in " ".join(listed.out.split())
    assert narrow(listed)
    record = next(one for one in town.say("list", "--json").json if one["model"] == "fraud")
    assert (record["state"], record["paused"]["reason"]) == ("paused", "the [source] is being moved")
    resumed = town.say("resume", "fraud", "--reason", "moved", "--json")
    assert (resumed.code, resumed.json["state"]) == (0, "active")
    assert resumed.json["next"] == ["2026-10-25T02:00:00+02:00"]
    assert town.say("resume", "fraud").code == 1
    facts = town.ledger.facts(kind=["schedule.paused", "schedule.resumed"])
    assert [fact.payload["reason"] for fact in facts] == ["the [source] is being moved", "moved"]
    external = town.say("pause", "films", "--reason", "x")
    assert (external.code, external.out) == (2, "")
    assert "nothing fires by itself, so there is nothing to pause" in external.err


def test_run_asks_for_one_and_says_who_will_begin_it(town: Town) -> None:
    asked = town.say("run", "fraud", "--reason", "new columns")
    assert asked.code == 0, asked.err
    run = town.ledger.last("schedule.asked").payload["run"]  # type: ignore[union-attr]
    assert asked.out == f"run {run} of fraud is asked for\n"
    assert asked.err == "no worker is alive: 'everloop up' or 'everloop worker' starts it\n"
    again = town.say("run", "fraud", "--json")
    assert (again.json["run"], again.json["new"], again.json["worker"]) == (run, False, False)
    assert "had asked for it before" in town.say("run", "fraud").err
    assert len(town.ledger.facts(kind="schedule.asked")) == 1
    town.ledger.acquire_lease("control", "someone", ttl_s=600)
    alive = town.say("run", "eta")
    assert "the worker starts it; 'everloop run show r-" in alive.err
    assert (town.say("run", "plain").code, town.say("run", "music").code) == (2, 1)
    assert "asked (new columns): run" in town.say("show", "fraud").out


# Where something else schedules, the exit code of `everloop train` is all it reads.

GATES = "gates: [{gates}]\ntrain: {{schedule: external, holdout: {holdout}}}\n"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """Trains one project again and again, by other rules each time."""
    root = tmp_path_factory.mktemp("outside") / "shop"
    found, model = shop(root, gates="# rules\n", rows=6_000)
    assert found.state.is_dir()
    with Ledger.open(found, clock=SimulatedClock(datetime(2024, 4, 1, tzinfo=UTC))) as ledger:
        approve(found, model, "fraud-s1", by="alice", ledger=ledger)
    add_spec(model, 2)  # which nobody approved
    path = root / "fraud" / "model.yaml"
    rules = path.read_text()

    def train(*words: str, gates: str = "recall >= 0.10", holdout: str = "30%") -> Ended:
        path.write_text(rules + GATES.format(gates=gates, holdout=holdout))
        return everloop("train", *words, cwd=root)

    return train


@pytest.mark.slow
def test_the_exit_code_of_train_is_what_an_outside_scheduler_reads(outside: Callable[..., Ended]) -> None:
    finished = outside("--json")
    assert (finished.code, finished.json["status"]) == (0, "finished"), finished.err
    usage = outside("--specs", "fraud-s1")
    assert (usage.code, usage.out) == (2, "")
    wrong = outside(holdout="80%")
    assert (wrong.code, wrong.out) == (1, "")
    assert "fraud/model.yaml:" in wrong.err
    unapproved = outside("--spec", "fraud-s2")
    assert (unapproved.code, unapproved.out) == (3, "")
    refused = outside(gates="recall >= 99%")
    assert refused.code == 3
    assert "recall >= 0.99  failed" in refused.out
    assert "refused: recall" in refused.err
    undecided = outside(holdout="5%")
    assert (undecided.code, undecided.out) == (4, "")
    assert "validation and test need 50 each" in undecided.err
    assert {one.err.count("Traceback") for one in (usage, wrong, unapproved, refused, undecided)} == {0}
