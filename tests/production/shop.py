"""A small project with an approved spec, and a program that trains it and dies where it is told to."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everloop.clock import SimulatedClock
from everloop.experiment import approve
from everloop.ledger import Ledger
from everloop.models import FitProcess
from everloop.production import PipelineResources, start_training, training_workflow
from everloop.project import Model, Project, Spec, write_spec
from everloop.workflows import Engine, RunContext, RunResult

from ..experiment.made import payments, project
from ..ready import run_ready

NOW = datetime(2024, 4, 1, tzinfo=UTC)
GATES = """\
train: {holdout: 20%}
gates:
  - recall >= 0.30
  - beats yardstick
  - not worse than champion by 0.02, undecided passes
"""
STEPS = (
    "configure",
    "snapshot",
    "check",
    "split",
    "fit",
    "evaluate",
    "package",
    "refit",
    "gate",
    "register",
    "release",
)


def shop(
    root: Path, *, gates: str = GATES, rows: int = 10_000, learner: str = "lightgbm", linear: bool = False
) -> tuple[Project, Model]:
    """A project with data, a contract and `fraud-s1`, not yet approved."""
    found, model = project(root, payments(rows, linear=linear), more=gates)
    add_spec(model, 1, learner=learner)
    return found, model


def add_spec(model: Model, number: int, **rest: Any) -> Spec:
    """Write `fraud-sN`."""
    fields: dict[str, Any] = {"learner": "lightgbm", "hyperparameters": {"n_estimators": 100, "num_leaves": 15}, **rest}
    if fields["learner"] != "lightgbm" and "hyperparameters" not in rest:
        fields["hyperparameters"] = {}
    spec = Spec.new(name=f"fraud-s{number}", objective=str(model.objective), reason="a test's own", **fields)
    write_spec(model.spec_path(number), spec)
    return spec


def run_context(project: Project, ledger: Ledger, *, step: str, workdir: Path, **rest: Any) -> RunContext:
    """What a step of a run is given, for one that is called by itself."""
    said: dict[str, Any] = {"clock": SimulatedClock(NOW), "stopping": lambda: False, "crash": lambda _point: None}
    return RunContext(
        run_id=workdir.name,
        workflow="a test's own",
        step=step,
        attempt=1,
        workdir=workdir,
        ledger=ledger,
        actor="alice",
        cause=1,
        resources=PipelineResources.of(project),
        deadline_s=None,
        **(said | rest),
    )


def train(
    found: Project,
    *,
    run_id: str,
    spec: str = "fraud-s1",
    crash_at: str | None = None,
    fitting: FitProcess | None = None,
) -> RunResult:
    """Approve the spec as it is, take up what was left, and run the pipeline."""
    clock = SimulatedClock(NOW)
    model = found.model()
    assert found.state.is_dir()
    with Ledger.open(found, clock=clock) as ledger:
        approve(found, model, spec, by="alice", ledger=ledger)
        resources = PipelineResources.of(found, fitting=fitting)
        with Engine.open(
            found.paths,
            ledger=ledger,
            clock=clock,
            workflows=[training_workflow()],
            resources=resources,
            crash_at=crash_at,
        ) as engine:
            engine.recover()
            start_training(engine, resources, ledger, model=model, as_of=NOW, actor="alice", spec=spec, run_id=run_id)
            return engine.wait(run_id)


def main() -> None:
    root, run, point = sys.argv[1:]
    train(Project.open(Path(root), environment={}), run_id=run, crash_at=point)
    os._exit(0)


def died_at(root: Path, run: str, point: str) -> tuple[int, str]:
    """`train` in a process that kills itself at this point: how it ended, and what it said."""
    code, _, said = run_ready(
        [str(root), run, point],
        cwd=Path(__file__).parents[2],
        environment=os.environ,
        timeout_s=300,
        module="tests.production.shop",
    )
    return code, said


if __name__ == "__main__":
    main()
