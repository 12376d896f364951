"""What goes wrong around the ledger: one sentence each, and nothing lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from everloop.clock import SimulatedClock
from everloop.errors import LedgerUnreadable, StorageFull
from everloop.ledger import Ledger

from . import scenes


@pytest.fixture
def path(tmp_path: Path, clock: SimulatedClock) -> Path:
    path = tmp_path / "ledger.db"
    with Ledger.open(path, clock=clock) as ledger:
        scenes.improvement(ledger)
    return path


def test_a_file_that_is_no_database(path: Path, clock: SimulatedClock) -> None:
    path.write_bytes(b"this is no database, this is a letter\n" * 300)
    with pytest.raises(LedgerUnreadable, match="is damaged or no ledger"):
        Ledger.open(path, clock=clock)


def test_a_damaged_page(path: Path, clock: SimulatedClock) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerUnreadable, match="is damaged"):  # noqa: PT012  where it is noticed is SQLite's
        ledger = Ledger.open(path, clock=clock)
        ledger.verify()


def test_a_folder_in_its_place(tmp_path: Path, clock: SimulatedClock) -> None:
    with pytest.raises(LedgerUnreadable, match="may not be read and written"):
        Ledger.open(tmp_path, clock=clock)


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["removed", "emptied"])
def test_a_ledger_that_is_gone_is_not_begun_anew(
    path: Path, clock: SimulatedClock, lost: Callable[[Path], object]
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = path.read_bytes()
    head = path.with_suffix(".head").read_text()
    lost(path)
    before = sorted(path.parent.iterdir())
    with pytest.raises(LedgerUnreadable, match=r"gone or empty, and held \d+ facts; put a backup in its place, or"):
        Ledger.open(path, clock=clock)
    assert sorted(path.parent.iterdir()) == before
    assert path.with_suffix(".head").read_text() == head
    path.write_bytes(kept)
    with Ledger.open(path, clock=clock) as ledger:
        assert ledger.verify().ok
    lost(path)
    path.with_suffix(".head").unlink()
    with Ledger.open(path, clock=clock) as ledger:
        assert ledger.head().seq == 0


def test_a_file_where_its_folder_should_be(tmp_path: Path, clock: SimulatedClock) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(LedgerUnreadable, match="cannot be used"):
        Ledger.open(tmp_path / "x" / "ledger.db", clock=clock)


def test_a_ledger_of_a_newer_everloop(path: Path, clock: SimulatedClock) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE meta SET value = 9 WHERE name = 'schema'")
        connection.commit()
    with pytest.raises(LedgerUnreadable, match="upgrade everloop"):
        Ledger.open(path, clock=clock)


def test_a_lock_that_is_never_given_back(path: Path, clock: SimulatedClock) -> None:
    with closing(sqlite3.connect(path)) as other, Ledger.open(path, clock=clock, busy_timeout_s=0.05) as ledger:
        other.execute("BEGIN IMMEDIATE")
        assert len(ledger.versions("fraud")) == 1  # reading goes on
        with pytest.raises(LedgerUnreadable, match="locked by another process"):
            scenes.notice(ledger)
        other.rollback()
        scenes.notice(ledger)


def test_a_full_disk_is_said_and_nothing_is_half_written(path: Path, clock: SimulatedClock) -> None:
    with Ledger.open(path, clock=clock) as ledger:
        before = ledger.head()
        engine = ledger._database.engine
        engine.dispose()

        @event.listens_for(engine, "connect")
        def small(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")

        with pytest.raises(StorageFull, match="is full"):
            scenes.notice(ledger, "x" * 1_000_000)
        event.remove(engine, "connect", small)
        engine.dispose()
        assert ledger.head() == before
        assert ledger.verify().ok


@pytest.mark.parametrize("how", ["removed", "replaced by another file"])
def test_a_file_that_is_taken_away_while_it_is_open(path: Path, clock: SimulatedClock, how: str) -> None:
    with Ledger.open(path, clock=clock) as ledger:
        before, kept = ledger.head(), path.with_name("kept.db")
        path.rename(kept)
        if how != "removed":
            path.write_bytes(kept.read_bytes())
        content = path.read_bytes() if path.exists() else None
        for use in (ledger.head, lambda: scenes.notice(ledger)):
            with pytest.raises(LedgerUnreadable, match=f"was {how} while it was in use"):
                use()
        assert (path.read_bytes() if path.exists() else None) == content
        kept.replace(path)
        assert ledger.head() == before
        scenes.notice(ledger)
        assert ledger.verify().ok


def test_a_file_taken_away_within_a_transaction_is_not_told_as_written(path: Path, clock: SimulatedClock) -> None:
    def late(ledger: Ledger) -> None:
        with ledger.transaction() as transaction:
            path.unlink()
            transaction.append("lease.released", "x", {"lease": "x", "holder": "y"}, actor="y")

    with Ledger.open(path, clock=clock) as ledger, pytest.raises(LedgerUnreadable, match="was removed"):
        late(ledger)


def test_a_server_that_is_not_there(clock: SimulatedClock) -> None:
    with pytest.raises(LedgerUnreadable, match="cannot be used") as caught:
        Ledger.open("postgresql://someone:secret@127.0.0.1:1/db", clock=clock)
    assert "secret" not in str(caught.value)


def test_a_server_that_vanishes_without_a_word_is_noticed(postgresql: str, clock: SimulatedClock) -> None:
    """What the kernel does for it cannot be tried here; that it is asked for can."""
    with Ledger.open(postgresql, clock=clock) as ledger, ledger._database.reading() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        asked = driver.info.get_parameters()
    most_s = int(asked["keepalives_idle"]) + int(asked["keepalives_interval"]) * int(asked["keepalives_count"])
    assert most_s <= 5
    assert asked["tcp_user_timeout"] == "5000"


def test_a_database_we_do_not_speak(clock: SimulatedClock) -> None:
    with pytest.raises(LedgerUnreadable, match="cannot be kept in mysql"):
        Ledger.open("mysql://host/db", clock=clock)


def test_an_address_of_sqlite(tmp_path: Path, clock: SimulatedClock) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/x.db", clock=clock) as ledger:
        scenes.notice(ledger)
    assert (tmp_path / "x.head").exists()


def test_importing_is_quick_and_needs_no_other_room() -> None:
    code = (
        "import sys, everloop.ledger; print(*(n for n in sys.modules if n in ('polars', 'dbos', 'scipy', 'psycopg')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
