"""Workers on several machines that share one queue, each a process that can be killed at a named point."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from everloop.clock import SystemClock
from everloop.errors import EverloopError
from everloop.ledger import Ledger
from everloop.workflows import Engine, RunContext, State, Step

from .pipeline import POINTS, TRAIN

LEASE_S = 1.0
LANES = 5
RUNS = 50
EVERY_POINT = (*(point for point in POINTS if point != "queued:run"), "taken over:run")
FLEET = replace(TRAIN, lane=lambda inputs: f"train {inputs['model']}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of its own as far as the engine can tell; what runs leave lies on a disk that all share."""

    runs: Path
    slots: Path
    runs_db: Path

    @classmethod
    def of(cls, folder: Path, number: int) -> Machine:
        own = folder / f"machine-{number}"
        return cls(runs=folder / "runs", slots=own / "slots", runs_db=own / "runs.db")


def hold(context: RunContext, state: State) -> State:
    """Say that the step began, and wait to be let go."""
    folder = Path(state["folder"])
    (folder / f"began-{time.monotonic_ns()}-{os.getpid()}").touch()
    while not (folder / "go").exists() and not context.should_stop():
        time.sleep(0.02)
    return {"held_by": os.getpid()}


HELD = replace(TRAIN, name="held", steps=[Step(name="hold", run=hold), *TRAIN.steps])


def open_ledger(folder: Path, address: str) -> Ledger:
    return Ledger.open(address, clock=SystemClock(), head_path=folder / "ledger.head")


def engine_on(folder: Path, ledger: Ledger, number: int, **options: object) -> Engine:
    """A worker of machine `number`."""
    return Engine.open(
        Machine.of(folder, number),
        ledger=ledger,
        clock=SystemClock(),
        slot="worker",
        workflows=[FLEET, HELD],
        capacity=1,
        lease_s=LEASE_S,
        **options,  # type: ignore[arg-type]
    )


def ask_for_all(folder: Path, address: str) -> None:
    """Fifty runs of five models."""
    with open_ledger(folder, address) as ledger, engine_on(folder, ledger, 0) as engine:
        for number in range(RUNS):
            inputs = {"model": f"m{number % LANES}", "spec": "s1", "rows": 5}
            engine.start("train", inputs, run_id=f"r-{number:02}", actor="alice", begin=False)


def work(folder: Path, address: str, number: int, *, crash_at: str | None = None) -> None:
    """A worker that goes on until nothing is open."""
    with open_ledger(folder, address) as ledger, engine_on(folder, ledger, number, crash_at=crash_at) as engine:
        while any(run.open for run in ledger.runs()):
            try:
                engine.recover()
                engine.take()
            except EverloopError as error:
                print(f"worker {number}: {error}", file=sys.stderr, flush=True)
            time.sleep(0.02)


def in_child(act: Callable[[], None]) -> int:
    """Do it in a process of its own; its pid."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def main(folder: Path, address: str, points: Sequence[str]) -> None:
    """Three workers at a time; each dies at its point, and another machine takes its place."""
    import everloop.workflows.durable  # noqa: F401  once, not in every child

    _, status = os.waitpid(in_child(lambda: ask_for_all(folder, address)), 0)
    print("asked", os.waitstatus_to_exitcode(status), sep="\t", flush=True)
    waiting: list[str | None] = list(points)
    alive: dict[int, str | None] = {}

    def spawn() -> None:
        point = waiting.pop(0) if waiting else None
        number = len(points) - len(waiting) if point else 100 + len(alive)
        alive[in_child(lambda: work(folder, address, number, crash_at=point))] = point

    for _ in range(3):
        spawn()
    while alive:
        pid, status = os.wait()
        point, code = alive.pop(pid), os.waitstatus_to_exitcode(status)
        print(point or "none", code, sep="\t", flush=True)
        if code == -signal.SIGKILL:
            spawn()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(","))
