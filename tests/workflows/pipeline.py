"""A small real workflow, and a program that dies at each of its points."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from everloop.clock import SystemClock
from everloop.ledger import Ledger, VersionRegistered
from everloop.workflows import Engine, RunContext, State, Step, Workflow

POINTS = (
    "queued:run",
    "taken:run",
    "before:run",
    "started:run",
    "before:snapshot",
    "written:snapshot",
    "after:snapshot",
    "before:fit",
    "at:half fitted",
    "written:fit",
    "after:fit",
    "before:register",
    "at:registered",
    "written:register",
    "after:register",
    "ending:run",
    "after:run",
)
INPUTS = {"model": "fraud", "spec": "fraud-s1", "rows": 5}


def snapshot(context: RunContext, state: State) -> State:
    path = context.workdir / "rows.txt"
    path.write_text("\n".join(str(number) for number in range(state["rows"])))
    return {"snapshot": path.name}


def fit(context: RunContext, state: State) -> State:
    rows = (context.workdir / state["snapshot"]).read_text().split()
    (context.workdir / "half").write_text("half")
    context.crash_point("half fitted")
    total = sum(int(row) for row in rows)
    (context.workdir / "model.txt").write_text(str(total))
    return {"total": total, "shape": (1, 2)}


def register(context: RunContext, state: State) -> State:
    payload = VersionRegistered(
        model=state["model"], bundle=f"sum {state['total']}", run=context.run_id, spec=state["spec"], spec_hash="h"
    )
    version, _ = context.ledger.register_version(
        state["model"], payload, actor=context.actor, cause=context.cause, key=context.key(1)
    )
    context.crash_point("registered")
    return {"bundle": version.bundle}


TRAIN = Workflow(
    name="train",
    steps=[Step(name="snapshot", run=snapshot), Step(name="fit", run=fit), Step(name="register", run=register)],
)


def run_id_of(point: str) -> str:
    return "r-" + point.replace(":", "-").replace(" ", "-")


def train(folder: Path, point: str) -> Any:
    """One run that dies at `point`."""
    ledger = Ledger.open(folder / "ledger.db", clock=SystemClock())
    engine = Engine.open(folder, ledger=ledger, clock=SystemClock(), workflows=[TRAIN], crash_at=point)
    with engine:
        return engine.run("train", INPUTS, run_id=run_id_of(point), actor="alice")


def main(folder: Path) -> None:
    """Die at every point, each time in a child process."""
    import everloop.workflows.durable  # noqa: F401  once, not in every child

    for point in POINTS:
        child = os.fork()
        if child == 0:
            train(folder, point)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(point, os.waitstatus_to_exitcode(status), sep="\t", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
