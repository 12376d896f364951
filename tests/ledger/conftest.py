"""A ledger on each database we say works, and a clock that stands."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import Ledger

Place = tuple[str | Path, Path]  # the address, and the head file


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2026, 1, 5, tzinfo=UTC))


def _as_postgres(command: list[str]) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *command] if getpass.getuser() == "root" else command


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a real server's `postgres` database, reached by a socket in a folder of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed here; CI needs it (apt-get install postgresql)")
        pytest.skip("PostgreSQL is not installed here (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="everloop-pg-"))
    binaries = found[-1].parent
    if getpass.getuser() == "root":
        shutil.chown(folder, "postgres")
    data, control = str(folder / "data"), str(binaries / "pg_ctl")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    start = [control, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start"]
    try:
        init = [str(binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(_as_postgres(init), check=True, capture_output=True, cwd="/")
        subprocess.run(_as_postgres(start), check=True, stdout=subprocess.DEVNULL, cwd="/")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        stop = [control, "-D", data, "-m", "immediate", "stop"]
        subprocess.run(_as_postgres(stop), check=False, capture_output=True, cwd="/")
        shutil.rmtree(folder, ignore_errors=True)


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
