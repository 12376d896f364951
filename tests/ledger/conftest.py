"""A ledger on each database we say works, and a clock that stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import Ledger

from ..database_server import database_server

Place = tuple[str | Path, Path]  # the address, and the head file


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 1, 5, tzinfo=UTC))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a real server's `postgres` database."""
    with database_server() as server:
        yield server.address


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an empty ledger can be made, on each kind of database."""
    if request.param == "sqlite":
        return tmp_path / ".everloop" / "ledger.db", tmp_path / ".everloop" / "ledger.head"
    import psycopg

    address: str = request.getfixturevalue("postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")  # a database of its own takes 200 ms
    return address, tmp_path / "ledger.head"


@pytest.fixture
def open_ledger(place: Place, clock: SimulatedClock) -> Iterator[Callable[[], Ledger]]:
    """Opens the same ledger as often as it is called."""
    opened: list[Ledger] = []

    def open_it() -> Ledger:
        opened.append(Ledger.open(place[0], clock=clock, head_path=place[1]))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()
