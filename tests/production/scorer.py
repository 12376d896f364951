"""A shop with a champion whose new rows are scored in batch, and a program that dies where it is told to."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from everloop.clock import SimulatedClock
from everloop.ledger import Ledger
from everloop.production import PipelineResources, scoring_workflow, start_scoring
from everloop.project import Project
from everloop.storage import FolderStorage
from everloop.traffic import TrafficLog
from everloop.workflows import Engine, RunResult

from ..experiment.made import payments
from .shop import GATES, shop, train

LATER = datetime(2024, 5, 1, tzinfo=UTC)
SCORE = "score: {source: incoming, target: scored}\n"


def trained_shop(root: Path, *, score: str = SCORE) -> Path:
    found, _ = shop(root, gates=GATES + score)
    assert train(found, run_id="r-first").status == "finished"
    (root / "incoming").mkdir()
    return root


def copied(shop_root: Path, to: Path) -> Path:
    shutil.copytree(shop_root, to)
    return to


def new_rows(n: int, *, seed: int, first: int = 0) -> pl.DataFrame:
    frame = payments(n, seed=seed).drop("fraud")
    return frame.with_columns(payment=pl.format("new-{}", pl.int_range(first, first + n)))


def scored(
    root: Path, run_id: str, *, crash_at: str | None = None, recover: bool = False, artifacts: Path | None = None
) -> RunResult:
    """Take up what was left, or ask for a run; how it ended. artifacts: what machines without one disk share."""
    found, clock = Project.open(root, environment={}), SimulatedClock(LATER)
    with (
        Ledger.open(found, clock=clock) as ledger,
        Engine.open(
            found.paths,
            ledger=ledger,
            clock=clock,
            workflows=[scoring_workflow()],
            resources=PipelineResources.of(found),
            crash_at=crash_at,
            artifacts=None if artifacts is None else FolderStorage(artifacts),
        ) as engine,
    ):
        if recover:
            engine.recover()
            return engine.wait(run_id, timeout_s=120)
        start_scoring(engine, found, ledger, model=found.model(), as_of=LATER, actor="alice", run_id=run_id)
        return engine.wait(run_id, timeout_s=120)


def table(root: Path, name: str = "scored") -> pl.DataFrame:
    return pl.read_delta(str(root / name)).sort("id")


def logged(root: Path) -> pl.DataFrame:
    """The log's rows as they lie there, repeats and all."""
    folder = root / ".everloop" / "traffic" / "fraud" / "predictions"
    return pl.read_delta(str(folder)).sort("prediction_id")


def told(root: Path) -> list[dict[str, Any]]:
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(LATER)) as ledger:
        assert ledger.verify().ok
        return [dict(fact.payload) for fact in ledger.facts(kind="score.done")]


def log_of(root: Path) -> TrafficLog:
    return TrafficLog(root / ".everloop" / "traffic", "fraud")


if __name__ == "__main__":
    place, run, *points = sys.argv[1:]
    shared = os.environ.get("SCORER_ARTIFACTS")
    import everloop.workflows.durable  # noqa: F401  once, not in every child

    for point in points:
        child = os.fork()
        if child == 0:
            folder = Path(place) / point.replace(":", "-").replace(" ", "-")
            scored(folder, run, crash_at=point, artifacts=None if shared is None else Path(shared))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(point, os.waitstatus_to_exitcode(status), sep="\t", flush=True)
