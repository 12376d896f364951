"""Who changes the tables of this machine: the mover while it moves, an import, what forgets. One at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everloop.traffic.spool import file_lock

__all__ = ["alone_with_the_tables"]


@contextmanager
def alone_with_the_tables(spool: Path) -> Iterator[None]:
    """Wait until nobody of this machine moves rows or rewrites files, and keep others waiting; capture goes on.

    It is no lock of the mover's process: that holds it for one move at a time. What other machines do to tables that
    they share shows as a Conflict of Delta's.
    """
    spool.mkdir(parents=True, exist_ok=True)
    with file_lock(spool / "move.lock"):
        yield
