"""The loop over real parts: a trained champion, traffic, windows, trainings, rollouts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Controller, Reason, Resources, ask_for_run, schedule_status, why
from everloop.control.decisions import FIRST_POSITIVES
from everloop.control.positives import ChangedPositives
from everloop.ledger import Ledger
from everloop.project import Project

from .town import BEGIN, DAY, Town, life, make, train_first


@contextmanager
def town(root: Path) -> Iterator[Town]:
    """The project of a folder, alive at the last time that its ledger tells."""
    found = Project.open(root, environment={})
    clock = SimulatedClock(BEGIN)
    with (
        Ledger.open(found, clock=clock) as ledger,
        Resources.opened(found, ledger=ledger, clock=clock, seed="test") as resources,
    ):
        if ledger.routing("fraud") is None:
            train_first(resources)
        yield Town(resources=resources, clock=clock, controller=Controller(resources, wait=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a champion."""
    root = tmp_path_factory.mktemp("town") / "shop"
    make(root, life())
    with town(root):
        pass
    return root


def living(trained: Path, root: Path, **options: str | None) -> Path:
    """A copy of the trained project that lives by other rules."""
    shutil.copytree(trained, root)
    path = root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace(life(), life(**options)))  # type: ignore[arg-type]
    return root


def test_a_schedule_retrains_and_the_better_challenger_is_promoted_once(trained: Path, tmp_path: Path) -> None:
    with town(living(trained, tmp_path / "shop", schedule="0 2 * * SUN")) as here:
        here.changed_from = BEGIN
        here.until("rollout.promoted", days=12)
        ledger = here.ledger
        fired = [fact.payload["due"] for fact in ledger.facts(kind="schedule.fired")]
        assert len(fired) == len(set(fired))
        assert ledger.routing("fraud").champion == ledger.rollouts("fraud")[-1].version  # type: ignore[union-attr]
        assert ledger.verify().ok
        assert {fact.payload["promote"] for fact in ledger.facts(kind="rollout.started")} == {"better"}
        chain = [fact.kind for fact in ledger.chain_of(ledger.last("rollout.promoted").seq)]  # type: ignore[union-attr]
        assert {"rollout.started", "version.registered", "run.started", "schedule.fired"} <= set(chain)


def test_nothing_is_done_where_nothing_happens(trained: Path, tmp_path: Path) -> None:
    with town(living(trained, tmp_path / "shop")) as here:
        here.days(3)
        head = here.ledger.head().seq
        assert here.controller.tick() == []
        assert here.ledger.head().seq == head
        assert {"rollout.started", "alert.opened"}.isdisjoint(here.kinds())
        assert here.kinds().count("check.done") >= 4


def test_an_alert_is_opened_where_recall_falls_and_nobody_acts_by_the_policy_notify(
    trained: Path, tmp_path: Path
) -> None:
    root = living(trained, tmp_path / "shop")
    (root / "everloop.yaml").write_text("notify: [nowhere://token@host]\n")
    with town(root) as here:
        here.changed_from = BEGIN + 2 * DAY
        here.until("alert.opened", days=12)
        here.days(2)
        assert {"investigation.made", "proposal.made", "rollout.started"}.isdisjoint(here.kinds())
        # people are told by the worker, which follows the ledger: no tick waits for a channel
        assert here.ledger.facts(kind="notice.sent") == []


def test_what_cannot_be_done_is_said_and_tried_again_ever_later(trained: Path, tmp_path: Path) -> None:
    root = living(trained, tmp_path / "shop", schedule="weekly")
    spec = root / "fraud" / "specs" / "fraud-s1.yaml"
    spec.write_text(spec.read_text().replace("num_leaves: 15", "num_leaves: 9"))
    with town(root) as here:
        told: list[int] = []
        for minute in range(40):
            here.clock.set(BEGIN + 7 * DAY + minute * timedelta(minutes=1))
            if any("was changed after its approval" in sentence for sentence in here.controller.tick()):
                told.append(minute)
        assert told == [0, 10, 30]
        assert here.kinds().count("schedule.fired") == 1
        assert len(here.ledger.runs("fraud")) == 1


def test_a_run_that_someone_asked_for_and_that_cannot_begin_is_declined_once(trained: Path, tmp_path: Path) -> None:
    root = living(trained, tmp_path / "shop", schedule="weekly")
    spec = root / "fraud" / "specs" / "fraud-s1.yaml"
    spec.write_text(spec.read_text().replace("num_leaves: 15", "num_leaves: 9"))
    with town(root) as here:
        model = here.resources.model("fraud")
        asked = ask_for_run(here.ledger, model, by="bob", reason="now")
        [said] = here.controller.tick()
        assert said.startswith(f"fraud: run {asked.run}, which someone asked for, cannot begin: fraud-s1 was changed")
        here.clock.advance(DAY)
        assert here.controller.tick() == []
        [declined] = here.ledger.facts(kind="schedule.declined")
        assert declined.cause == asked.fact
        [firing] = schedule_status(here.ledger, model, now=here.clock.now()).firings
        assert (firing.run, firing.result, firing.ended) == (asked.run, "declined", declined.payload["sentence"])
        again = ask_for_run(here.ledger, model, by="bob", reason="once more")
        assert (again.new, again.run == asked.run) == (True, False)
        assert len(here.ledger.runs("fraud")) == 1


@pytest.mark.slow
def test_an_alert_is_answered_by_the_policy_and_once_more_when_its_positives_have_doubled(
    trained: Path, tmp_path: Path
) -> None:
    with town(living(trained, tmp_path / "shop", on_alert="rollout")) as here:
        here.changed_from = BEGIN + DAY
        here.until("rollout.promoted", count=2, days=20)
        here.until("alert.closed", days=5)
        here.days(2)
        ledger, kinds = here.ledger, here.kinds()
        born = kinds.index("alert.opened")  # what is before made the first version
        order = ["alert.opened", "investigation.made", "proposal.made", "spec.approved", "version.registered"]
        order += ["rollout.started", "rollout.promoted", "alert.closed"]
        first = [kinds.index(kind, born) for kind in order]
        assert first == sorted(first), list(zip(order, first, strict=True))
        counted = {kind: kinds.count(kind) for kind in ("alert.opened", "proposal.made", "rollout.promoted")}
        assert counted == {"alert.opened": 1, "proposal.made": 1, "rollout.promoted": 2}
        _the_second_run_knew_twice_as_much(here)
        assert ledger.routing("fraud").champion == 3  # type: ignore[union-attr]
        assert {fact.payload["promote"] for fact in ledger.facts(kind="rollout.started")} == {"not_worse"}
        for version in ("v2", "v3"):
            _chain_is_told(why(here.resources.project, ledger, version=version))
        causeless = {fact.kind for fact in ledger.facts(after=ledger.alerts("fraud")[0].seq) if fact.cause is None}
        assert causeless <= {"check.done"}  # a window's end brings it about, and nobody
        assert ledger.verify().ok


def _the_second_run_knew_twice_as_much(here: Town) -> None:
    ledger, [alert] = here.ledger, here.ledger.alerts("fraud")
    runs = [fact for fact in ledger.facts(kind="run.started") if fact.payload["trigger"] == "alert"]
    assert [fact.payload["inputs"]["alert"] for fact in runs] == [alert.alert, alert.alert]
    since = datetime.fromisoformat(ledger.fact(alert.investigation or 0).payload["since"])
    model, log = here.resources.model("fraud"), here.resources.log("fraud")
    start = min(datetime.fromisoformat(one.data["start"]) for one in ledger.versions("fraud") if one.data)
    first, second = (
        ChangedPositives().count(model, log, since=since, as_of=fact.at, data_start=start) for fact in runs
    )
    assert FIRST_POSITIVES <= first <= second / 2


def _chain_is_told(chain: list[Reason]) -> None:
    told = {reason.kind: reason for reason in reversed(chain)}
    assert {"rollout.promoted", "version.registered", "run.started", "spec.written", "proposal.made"} <= set(told)
    assert {"investigation.made", "alert.opened", "check.done"} <= set(told)
    # the people: who approved what was there before, and the policy that approved this
    approved = [(reason.actor, reason.sentence) for reason in chain if reason.kind == "spec.approved"]
    assert approved == [
        ("policy:on_alert", f"approved fraud-s2: on_alert: rollout answers {told['alert.opened'].subject}"),
        ("alice", "approved fraud-s1"),
    ]
    # the data and the gates
    assert " rows of payments.parquet, 2024-02-" in told["version.registered"].sentence
    assert "Gates: recall 0." in told["version.registered"].sentence
    assert "it changes only its data" in told["proposal.made"].sentence
