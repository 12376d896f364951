"""How fast the ledger writes and verifies: `python -m bench.ledger --json [--facts N] [--rows N]`.

Facts of the kinds that a project writes most (steps of runs, checks, notices), on SQLite with synchronous=FULL, in a
folder of its own. `facts_per_s`: a thousand facts in a transaction, the state that they imply with them.
`commits_per_s`: one fact in a transaction, so one flush to the disk each. Beside each stands bare SQLite in the same
round, with the same fsync policy and rows of the same columns and sizes: `…_floor`, and the ratio to it, which holds on
any machine. `verify_rows_per_s`: the chain: every row read, its hash and its link. `audit_rows_per_s`: `Ledger.verify`
whole, which replays the state from the facts besides. Held: 2,000 facts/s and 50,000 rows/s.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.claims import arguments, told, unkept

from everloop.clock import SimulatedClock, SystemClock
from everloop.ledger import Ledger, NoticeSent, Payload, RunStarted, RunStep, Transaction, VerdictRecord, Window
from everloop.ledger.facts import verify_chain
from everloop.ledger.kinds import CheckDone
from everloop.ledger.queries import rows_of

LEAST = {"facts_per_s": 2_000, "verify_rows_per_s": 50_000}
BATCH = 1_000
_INSERT = "INSERT INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WINDOW = Window(start=datetime(2026, 1, 4, tzinfo=UTC), end=datetime(2026, 1, 5, tzinfo=UTC))


def facts(begin: int, count: int) -> Iterator[tuple[str, str, Payload]]:
    """As a project writes them: of ten, six are steps of a run, three checks or notices, one begins a run."""
    for number in range(begin, begin + count):
        run = f"r-{number // 10}"
        match number % 10:
            case 0:
                yield "run.started", run, RunStarted(run=run, workflow="train", model="fraud", spec="fraud-s1")
            case 7:
                verdict = VerdictRecord(name="recall", outcome="passed", sentence="recall 0.81 [0.75, 0.86] is ≥ 0.75")
                yield (
                    "check.done",
                    "fraud",
                    CheckDone(model="fraud", window=_WINDOW, verdicts=[verdict] * 3, rows=5),
                )
            case 8 | 9:
                yield "notice.sent", "a-1", NoticeSent(channel="log", sentence="recall fell", delivered=True)
            case step:
                yield "run.step", run, RunStep(run=run, step=f"step-{step}", position=step, seconds=1.5)


def write(ledger: Ledger, begin: int, count: int, *, batch: int) -> float:
    """Seconds for so many facts, `batch` of them in a transaction."""
    made = list(facts(begin, count))
    began = time.perf_counter()
    for start in range(0, count, batch):
        with ledger.transaction() as transaction:
            for kind, subject, payload in made[start : start + batch]:
                _append(transaction, kind, subject, payload)
    return time.perf_counter() - began


def _append(transaction: Transaction, kind: str, subject: str, payload: Payload) -> None:
    transaction.append(kind, subject, payload, actor="bench")


def floor(folder: Path, rows: list[Any], *, batch: int) -> float:
    """Seconds for the same rows in bare SQLite, `batch` of them in a transaction: same file format, same flushes."""
    with closing(sqlite3.connect(folder / f"floor-{time.monotonic_ns()}.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        names = "at_us, actor, kind, subject, cause, schema, payload BLOB, prev, hash, run, step, n"
        connection.execute(f"CREATE TABLE fact (seq INTEGER PRIMARY KEY, {names})")
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            connection.execute("BEGIN IMMEDIATE")
            for row in rows[start : start + batch]:
                connection.execute(_INSERT, row)
            connection.execute("COMMIT")
        return time.perf_counter() - began


def measured(count: int, rows: int, rounds: int) -> dict[str, Any]:
    """Rates by the median of `rounds`, ours and the floor in turn, after one that warms up."""
    walls: dict[str, list[float]] = {name: [] for name in ("facts", "facts_floor", "commits", "commits_floor")}
    single = max(50, count // 20)
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as place:
        folder = Path(place)
        with Ledger.open(folder / "ledger.db", clock=SystemClock()) as ledger:
            write(ledger, 0, BATCH, batch=BATCH)
            for turn in range(rounds):
                begin = 10_000_000 * (turn + 1)
                walls["facts"].append(write(ledger, begin, count, batch=BATCH) / count)
                walls["commits"].append(write(ledger, begin + count * 10, single, batch=1) / single)
                with ledger._database.reading() as connection:
                    same = list(rows_of(connection, after=ledger.head().seq - count))
                walls["facts_floor"].append(floor(folder, same, batch=BATCH) / count)
                walls["commits_floor"].append(floor(folder, same[:single], batch=1) / single)
        verified = _verified(folder / "long.db", rows, rounds)
    rates = {f"{name}_per_s": round(1 / median(values)) for name, values in walls.items()}
    ratios = {
        f"{name}_ratio": round(median(walls[name]) / median(walls[f"{name}_floor"]), 2) for name in ("facts", "commits")
    }
    return rates | ratios | verified


def _verified(path: Path, rows: int, rounds: int) -> dict[str, Any]:
    with Ledger.open(path, clock=SimulatedClock(datetime(2026, 1, 5, tzinfo=UTC))) as ledger:
        write(ledger, 0, rows, batch=10 * BATCH)

        def chain() -> bool:
            with ledger._database.reading() as connection:
                return verify_chain(rows_of(connection), None).ok

        def bare() -> bool:
            with closing(sqlite3.connect(path)) as connection:
                return sum(1 for _ in connection.execute("SELECT * FROM fact ORDER BY seq")) == rows

        def whole() -> bool:
            return ledger.verify().ok

        walls = {name: [_wall_s(one) for _ in range(rounds)] for name, one in
                 (("verify", chain), ("audit", whole), ("verify_floor", bare))}  # fmt: skip
    rates = {f"{name}_rows_per_s": round(rows / median(values)) for name, values in walls.items()}
    return rates | {
        "verified_rows": rows,
        "verify_ratio": round(median(walls["verify"]) / median(walls["verify_floor"]), 1),
    }


def _wall_s(act: Callable[[], bool]) -> float:
    began = time.perf_counter()
    assert act(), "a chain that was just written does not verify"
    return time.perf_counter() - began


def main() -> int:
    """Measure, print one JSON document; 1 where a claim was not kept."""
    parser = arguments("ledger", __doc__)
    parser.add_argument("--facts", type=int, default=10_000, help="facts written in each round")
    parser.add_argument("--rows", type=int, default=100_000, help="facts in the chain that is verified")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each")
    given = parser.parse_args()
    document: dict[str, Any] = {"bench": "ledger", **measured(given.facts, given.rows, given.rounds)}
    return told(document, unkept(document, at_least=LEAST), line=given.json)


if __name__ == "__main__":
    sys.exit(main())
