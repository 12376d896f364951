"""Several processes write at once, some are killed: what was acknowledged is there once, and the chain verifies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from everloop.ledger import Ledger

WRITER = """
import sys
from pathlib import Path
from everloop.clock import SystemClock
from everloop.ledger import Ledger, NoticeSent

address, head, name, facts = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
ledger = Ledger.open(address, clock=SystemClock(), head_path=head)
for n in range(facts):
    payload = NoticeSent(channel="log", sentence=f"{name} {n}", delivered=True)
    fact = ledger.append("notice.sent", name, payload, actor=name, key=(name, "write", n))
    print(fact.seq, flush=True)
"""


def writer(place: tuple[object, Path], name: str, facts: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(place[0]), str(place[1]), name, str(facts)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_writers_at_once_with_a_kill_in_the_middle(
    open_ledger: Callable[[], Ledger], place: tuple[object, Path]
) -> None:
    steady = [writer(place, f"steady-{number}", 15) for number in range(2)]
    killed = writer(place, "killed", 1_000_000)
    assert killed.stdout is not None
    acknowledged = [int(killed.stdout.readline()) for _ in range(10)]
    killed.kill()
    acknowledged += [int(line) for line in killed.stdout.read().split("\n")[:-1]]
    killed.wait()
    again = writer(place, "killed", len(acknowledged) + 5)
    seqs = [[int(line) for line in process.communicate()[0].split()] for process in (*steady, again)]
    assert all(process.returncode == 0 for process in (*steady, again))

    ledger = open_ledger()
    report = ledger.verify()
    assert report.ok, report.problem
    assert seqs[2][: len(acknowledged)] == acknowledged
    assert report.facts == 15 + 15 + len(acknowledged) + 5
    for name, count in (("steady-0", 15), ("steady-1", 15), ("killed", len(acknowledged) + 5)):
        facts = ledger.facts(subject=name)
        assert [fact.payload["sentence"] for fact in facts] == [f"{name} {n}" for n in range(count)]
