"""The worker as a real process: killed in the middle of what it does, the next one ends it as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.control import Resources
from everloop.ledger import Ledger

from ..serving.place import wait_until
from .town import BEGIN, DAY, life, make, train_first


@contextmanager
def worker(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    with (root / "worker.log").open("ab") as talk:
        process = subprocess.Popen(
            [sys.executable, "-m", "everloop.control.worker", "--project", str(root)],
            stderr=talk,
            env=kept | {"EVERLOOP_CLOCK": f"shared:{root / 'clock'}"},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


@pytest.mark.slow
def test_a_retrain_whose_worker_is_killed_is_ended_by_the_next_one(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    rules = life().splitlines()
    rules[1] = "train: {holdout: 25%, schedule: weekly}"
    found = make(root, "\n".join(rules) + "\n")
    clock = SimulatedClock(BEGIN, path=root / "clock")
    with Ledger.open(found, clock=clock) as ledger:
        with Resources.opened(found, ledger=ledger, clock=clock, slot="test") as resources:
            train_first(resources)
        clock.advance(7 * DAY)
        with worker(root) as first:
            wait_until(lambda: len(ledger.runs("fraud")) == 2, within_s=100)
            run = ledger.runs("fraud")[-1].run
            wait_until(lambda: _has_ended(ledger, run, "split"), within_s=60)
            first.send_signal(signal.SIGKILL)
            first.wait()
        assert ledger.run(run).status == "running"
        with worker(root) as second:
            wait_until(lambda: ledger.run(run).status != "running", within_s=60)
            wait_until(lambda: ledger.last("rollout.started") is not None, within_s=20)
            second.terminate()
            assert second.wait(timeout=40) == 0
        assert ledger.run(run).status == "finished", (root / "worker.log").read_text()
        assert [fact.payload["run"] for fact in ledger.facts(kind="schedule.fired")] == [run]
        assert [version.number for version in ledger.versions("fraud")] == [1, 2]
        assert ledger.verify().ok
        assert ledger.lease("control") is None
    assert "Traceback" not in (root / "worker.log").read_text()


def _has_ended(ledger: Ledger, run: str, step: str) -> bool:
    return any(fact.payload["step"] == step for fact in ledger.facts(kind="run.step", subject=run))
