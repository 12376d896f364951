"""What the ledger's benchmark writes and computes, on a few rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bench.ledger import LEAST, facts, measured, write

from everloop.clock import SystemClock
from everloop.ledger import Ledger


def test_it_measures_what_it_says() -> None:
    found = measured(40, 60, 1)
    assert found["verified_rows"] == 60
    assert set(LEAST) <= found.keys()
    for name in ("facts", "commits", "verify"):
        assert found[f"{name}_ratio"] > 0
    assert all(value > 0 for value in found.values())


def test_the_facts_are_real_ones_and_imply_state(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db", clock=SystemClock()) as ledger:
        write(ledger, 0, 40, batch=7)
        assert Counter(fact.kind for fact in ledger.facts()) == Counter(kind for kind, _, _ in facts(0, 40))
        assert [run.step for run in ledger.runs()] == ["step-6"] * 4
        assert ledger.verify().ok
