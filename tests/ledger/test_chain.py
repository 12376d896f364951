"""The chain: whatever is changed, removed, moved or cut afterwards is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everloop.clock import SimulatedClock
from everloop.errors import LedgerError
from everloop.ledger import Ledger

from . import scenes

COLUMNS = ("at_us", "actor", "kind", "subject", "cause", "schema", "payload", "prev", "hash", "run", "step", "n")
FACTS = 8


@pytest.fixture
def kept(tmp_path: Path, clock: SimulatedClock) -> Path:
    """A SQLite ledger of eight facts, closed."""
    path = tmp_path / "ledger.db"
    with Ledger.open(path, clock=clock) as ledger:
        scenes.improvement(ledger)
        assert ledger.head().seq == FACTS
    return path


def tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER IF EXISTS fact_is_never_changed")
        connection.execute("DROP TRIGGER IF EXISTS fact_is_never_removed")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def problem(path: Path, clock: SimulatedClock) -> str | None:
    with Ledger.open(path, clock=clock) as ledger:
        report = ledger.verify()
    assert report.ok == (report.problem is None)
    return report.problem


def test_an_untouched_chain_verifies(kept: Path, clock: SimulatedClock) -> None:
    assert problem(kept, clock) is None


def test_the_table_refuses_changes(kept: Path) -> None:
    with closing(sqlite3.connect(kept)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            connection.execute("UPDATE fact SET actor = 'eve'")
        with pytest.raises(sqlite3.IntegrityError, match="never removed"):
            connection.execute("DELETE FROM fact")


@settings(max_examples=24, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seq=st.integers(1, FACTS), column=st.sampled_from(COLUMNS))
def test_any_changed_value_is_found(
    kept: Path, clock: SimulatedClock, tmp_path_factory: pytest.TempPathFactory, seq: int, column: str
) -> None:
    path = tmp_path_factory.mktemp("copy") / "ledger.db"
    for suffix in (".db", ".head"):
        shutil.copy(kept.with_suffix(suffix), path.with_suffix(suffix))
    value = f"{column} + 1" if column in ("at_us", "schema") else "12345" if column in ("cause", "n") else "'eve'"
    tamper(path, f"UPDATE fact SET {column} = {value} WHERE seq = {seq}")
    assert f"fact {seq}" in (problem(path, clock) or "")


@pytest.mark.parametrize("seq", [1, 4, FACTS])
def test_a_removed_fact_is_found(kept: Path, clock: SimulatedClock, seq: int) -> None:
    tamper(kept, f"DELETE FROM fact WHERE seq = {seq}")
    found = problem(kept, clock) or ""
    assert f"fact {seq} was removed" in found or (seq == FACTS and "cut" in found)


def test_facts_in_another_order_are_found(kept: Path, clock: SimulatedClock) -> None:
    tamper(kept, *(f"UPDATE fact SET seq = {new} WHERE seq = {old}" for old, new in ((3, 99), (4, 3), (99, 4))))
    assert "facts 3 and 4 were swapped" in (problem(kept, clock) or "")


@pytest.mark.parametrize("left", [0, 1, FACTS - 1])
def test_a_cut_tail_is_found_also_after_more_was_written(kept: Path, clock: SimulatedClock, left: int) -> None:
    tamper(kept, f"DELETE FROM fact WHERE seq > {left}")
    assert f"ends at fact {left}, but the head file has seen fact {FACTS}" in (problem(kept, clock) or "")
    with Ledger.open(kept, clock=clock) as ledger:
        for _ in range(FACTS + 2):
            scenes.notice(ledger)
    assert f"fact {FACTS} is not the one the head file has seen" in (problem(kept, clock) or "")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE version SET bundle = 'another' WHERE number = 1", "version fraud 1"),
        ("UPDATE routing SET champion = 7", "routing fraud"),
        ("INSERT INTO approval VALUES ('fraud', 'h9', 'fraud-s9', 'eve', 1, 1)", "approval fraud h9"),
        ("DELETE FROM alert", "alert a-1"),
    ],
)
def test_a_state_that_no_fact_brought_about_is_found(
    open_ledger: Callable[[], Ledger], statement: str, named: str
) -> None:
    ledger = open_ledger()
    version = scenes.improvement(ledger)
    with ledger.transaction() as transaction:
        transaction.change_routing(
            "fraud", expected_revision=0, champion=version.number, previous=None, reason="first", actor="tester"
        )
    assert ledger.verify().ok
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text(statement))
    assert (ledger.verify().problem or "").startswith(f"the state was changed without a fact: {named}")
    ledger.rebuild_state()
    assert ledger.verify().ok


def test_a_lost_or_foreign_head_file_is_told(kept: Path, clock: SimulatedClock) -> None:
    head = kept.with_suffix(".head")
    head.write_text("what is this")
    assert "is not a head file" in (problem(kept, clock) or "")
    head.unlink()
    assert "is missing" in (problem(kept, clock) or "")


def test_the_head_file_may_be_behind_but_not_ahead(
    open_ledger: Callable[[], Ledger], place: tuple[object, Path]
) -> None:
    ledger = open_ledger()
    older = []
    for _ in range(4):
        scenes.notice(ledger)
        older.append(place[1].read_text())
    for text in older:
        place[1].write_text(text)
        assert ledger.verify().ok
    place[1].write_text(f"5 {'a' * 64}\n")
    assert "cut" in (ledger.verify().problem or "")


def test_a_cut_tail_is_found_on_every_database(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    for _ in range(3):
        scenes.notice(ledger)
    if ledger._database.is_sqlite:
        return
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM fact WHERE seq = 3"))
    assert "ends at fact 2, but the head file has seen fact 3" in (ledger.verify().problem or "")


def test_an_error_is_one_of_the_tree(kept: Path, clock: SimulatedClock) -> None:
    with Ledger.open(kept, clock=clock) as ledger, pytest.raises(LedgerError):
        ledger.append("notice.sent", "", {"channel": "l", "sentence": "s", "delivered": True}, actor="a")
