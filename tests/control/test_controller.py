"""The loop over real parts: a trained champion, traffic, windows, trainings, rollouts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Controller, Resources, why
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
        # people are told once a channel, and the address with its secret is nowhere
        [notice] = here.ledger.facts(kind="notice.sent")
        assert notice.payload["channel"] == "nowhere-1"
        assert not notice.payload["delivered"]
        assert "token" not in str(notice.payload)


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


@pytest.mark.slow
def test_an_alert_is_investigated_answered_and_closed_by_the_policy_rollout(trained: Path, tmp_path: Path) -> None:
    with town(living(trained, tmp_path / "shop", on_alert="rollout")) as here:
        here.changed_from = BEGIN + DAY
        here.until("alert.closed", days=20)
        ledger, kinds = here.ledger, here.kinds()
        born = kinds.index("alert.opened")  # what is before made the first version
        order = ["alert.opened", "investigation.made", "proposal.made", "spec.approved", "version.registered"]
        order += ["rollout.started", "rollout.promoted", "alert.closed"]
        first = [kinds.index(kind, born) for kind in order]
        assert first == sorted(first), list(zip(order, first, strict=True))
        assert kinds.count("alert.opened") == kinds.count("proposal.made") == 1
        version = ledger.rollouts("fraud")[0].version
        chain = {reason.kind for reason in why(here.resources.project, ledger, version=f"v{version}")}
        assert {"rollout.promoted", "version.registered", "run.started", "spec.approved", "proposal.made"} <= chain
        assert {"spec.written", "investigation.made", "alert.opened", "check.done"} <= chain
        assert ledger.last("spec.approved").payload["by"] == "policy:on_alert"  # type: ignore[union-attr]
        assert ledger.verify().ok
