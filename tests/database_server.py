"""A real PostgreSQL of a test's own, reached by a socket in a folder of its own, which can be stopped and started."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["DatabaseServer", "database_server"]


class DatabaseServer:
    """A server that runs."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.address = f"postgresql://postgres@/postgres?host={folder}"
        self.folder = folder
        self._control = str(binaries / "pg_ctl")

    def start(self) -> None:
        settings = {"listen_addresses": "''", "unix_socket_directories": self.folder, "fsync": "off"}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items()) + " -c max_connections=200"
        start = ["-w", "-o", options, "-l", f"{self.folder}/log", "start"]
        command = [self._control, "-D", f"{self.folder}/data", *start]
        subprocess.run(_as_postgres(command), check=True, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self) -> None:
        """As a crash of it: nobody is told, connections break off."""
        command = [self._control, "-D", f"{self.folder}/data", "-m", "immediate", "stop"]
        subprocess.run(_as_postgres(command), check=False, capture_output=True, cwd="/")


def _as_postgres(command: list[str]) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *command] if getpass.getuser() == "root" else command


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """A new and empty server; skips where PostgreSQL's programs are not installed, fails there in CI."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed here; CI needs it (apt-get install postgresql)")
        pytest.skip("PostgreSQL is not installed here (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="everloop-pg-"))
    if getpass.getuser() == "root":
        shutil.chown(folder, "postgres")
    server = DatabaseServer(folder, found[-1].parent)
    try:
        init = [str(found[-1]), "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(_as_postgres(init), check=True, capture_output=True, cwd="/")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
