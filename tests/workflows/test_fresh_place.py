"""Processes that begin in the same moment where nothing is yet: one ledger, one queue, every run once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloop.clock import SystemClock
from everloop.ledger import Ledger

from ..database_server import database_server

HERE = Path(__file__).parent.parent
PROCESSES = 4
PROGRAM = """
import sys
from pathlib import Path
from workflows.fleet import engine_on, open_ledger

folder, address, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
machine = number if "://" in address else 0  # a file is shared by the processes of one machine
print("ready", flush=True)
sys.stdin.readline()
with open_ledger(folder, address) as ledger, engine_on(folder, ledger, machine) as engine:
    engine.start("train", {"model": f"m{number}", "spec": "s1", "rows": 5}, run_id=f"r-{number}", actor="alice")
    engine.start("train", {"model": "all", "spec": "s1", "rows": 5}, run_id="r-all", actor="alice")
    print(engine.wait(f"r-{number}", timeout_s=60).status, engine.wait("r-all", timeout_s=60).status)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a ledger is to be, and nothing is."""
    if request.param == "sqlite":
        yield str(tmp_path / "ledger.db")
    else:
        with database_server() as server:
            yield server.address


def test_processes_that_make_a_ledger_at_once_share_it(tmp_path: Path, address: str) -> None:
    def begun(number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), address, str(number)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=HERE, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    processes = [begun(number) for number in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=120) for process in processes]
    assert [(process.returncode, out) for process, (out, _) in zip(processes, ended, strict=True)] == [
        (0, "finished finished\n")
    ] * PROCESSES, ended
    with Ledger.open(address, clock=SystemClock(), head_path=tmp_path / "ledger.head") as ledger:
        asked = ("r-all", *(f"r-{number}" for number in range(PROCESSES)))
        assert {run.run: run.status for run in ledger.runs()} == dict.fromkeys(asked, "finished")
        assert len(ledger.versions()) == PROCESSES + 1
        assert ledger.verify().ok
