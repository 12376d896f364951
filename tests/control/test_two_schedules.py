"""Two models under one `everloop up`, each with its own schedule; a clock that all its processes share moves on."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Resources
from everloop.experiment import approve
from everloop.ledger import Ledger
from everloop.production import start_training
from everloop.project import Project, Spec, write_spec

from ..serving.place import wait_until
from .test_up import everloop, up
from .town import BEGIN, DAY, life, make

HOUR = timedelta(hours=1)
SUNDAY = BEGIN + 6 * DAY + 2 * HOUR


def two_models(root: Path, clock: SimulatedClock) -> Project:
    """`fraud`, trained weekly, and `abuse`, on the same rows every six hours; each has a champion."""
    rules = life().splitlines()
    rules[1] = "train: {holdout: 25%, schedule: weekly}"
    make(root, "\n".join(rules) + "\n")
    shutil.copytree(root / "fraud", root / "abuse", ignore=shutil.ignore_patterns("specs"))
    path = root / "abuse" / "model.yaml"
    path.write_text(path.read_text().replace("schedule: weekly", "schedule: every 6h"))
    (root / "everloop.yaml").write_text(f"clock: shared:{root / 'clock'}\n")
    found = Project.open(root, environment={})
    model = found.model("abuse")
    settings = {"n_estimators": 100, "num_leaves": 15}
    spec = Spec.new(
        name="abuse-s1", learner="lightgbm", hyperparameters=settings, objective=str(model.objective), reason="a test's"
    )
    write_spec(model.spec_path(1), spec)
    with Ledger.open(found, clock=clock) as ledger:
        approve(found, model, "abuse-s1", by="alice", ledger=ledger)
        with Resources.opened(found, ledger=ledger, clock=clock, slot="test") as resources:
            assert resources.engine is not None
            handles = [
                start_training(
                    resources.engine,
                    resources.pipeline,
                    ledger,
                    model=resources.model(name),
                    as_of=clock.now(),
                    actor="alice",
                )
                for name in ("fraud", "abuse")
            ]
            assert [resources.engine.wait(one.run_id).status for one in handles] == ["finished"] * 2
    return found


@pytest.mark.slow
def test_each_model_is_trained_by_its_own_schedule(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    clock = SimulatedClock(BEGIN, path=root / "clock")
    found = two_models(root, clock)
    with Ledger.open(found, clock=clock) as ledger:

        def ended(model: str, count: int) -> bool:
            runs = ledger.runs(model)
            return len(runs) == count and not runs[-1].open

        with up(root) as running:
            wait_until(lambda: len(ledger.facts(kind="schedule.set")) == 2)
            listed = json.loads(everloop(root, "schedule", "list", "--json").stdout)
            assert [(one["model"], one["schedule"], one["state"]) for one in listed] == [
                ("abuse", "every 6h", "active"),
                ("fraud", "weekly", "active"),
            ]
            assert datetime.fromisoformat(listed[0]["next"][0]) == BEGIN + 6 * HOUR
            assert datetime.fromisoformat(listed[1]["next"][0]) == SUNDAY
            clock.set(BEGIN + 6 * HOUR)
            wait_until(lambda: len(ledger.runs("abuse")) == 2)
            assert len(ledger.runs("fraud")) == 1
            paused = everloop(root, "schedule", "pause", "abuse", "--reason", "a freeze")
            assert paused.returncode == 0, paused.stderr
            clock.set(SUNDAY)
            wait_until(lambda: ended("fraud", 2) and ended("abuse", 2), within_s=60)
            asked = everloop(root, "schedule", "run", "abuse", "--reason", "before the freeze", "--json")
            record = json.loads(asked.stdout)
            assert (record["worker"], record["paused"], record["new"]) == (True, True, True)
            wait_until(lambda: ended("abuse", 3), within_s=60)
            told = everloop(root, "schedule", "list").stdout
            why = everloop(root, "why", "abuse/v3").stdout
            assert running.stop() == 0
        runs = {model: ledger.runs(model)[1:] for model in ("fraud", "abuse")}
        assert [(run.trigger, run.status) for run in runs["fraud"]] == [("schedule", "finished")]
        assert [run.trigger for run in runs["abuse"]] == ["schedule", "person"]
        assert runs["abuse"][1].run == record["run"]
        fired = ledger.facts(kind="schedule.fired")
        assert [(fact.subject, fact.payload["run"]) for fact in fired] == [
            ("abuse", runs["abuse"][0].run),
            ("fraud", runs["fraud"][0].run),
        ]
        [request] = ledger.facts(kind="schedule.asked")
        assert ledger.fact(runs["abuse"][1].seq).cause == request.seq
        assert ledger.verify().ok
    assert f"asked (before the freeze): run {record['run']} finished" in " ".join(told.split())
    assert "Sun 2024-03-03 02:00 UTC: run" in told
    assert "asked for the run that the schedule every 6h asks for, now: before the freeze" in " ".join(why.split())
    assert max(len(line) for line in told.splitlines()) <= 80
    assert "Traceback" not in (root / "up.log").read_text()
