"""What waits in the spools of a machine: how many rows, how large, and since when."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everloop.traffic.records import recorded_at_us
from everloop.traffic.spool import connect, databases

__all__ = ["Pending", "pending"]

_COUNT: Final = "SELECT coalesce(sum(rows), 0), coalesce(sum(length(body)), 0) FROM block"
_OLDEST: Final = "SELECT substr(body, 1, 32) FROM block ORDER BY seq LIMIT 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Recorded rows that are not in the log yet, of all spools in a folder.

    oldest_us: when the one that has waited longest was recorded, microseconds since 1970 UTC; None where none waits.
    """

    rows: int
    size_bytes: int
    oldest_us: int | None


def pending(folder: Path) -> Pending:
    """What waits in the spools of `folder`; nothing once the mover has caught up."""
    rows, size_bytes = 0, 0
    oldest: list[int] = []
    for path in databases(folder) if folder.is_dir() else []:
        try:
            connection = connect(path, durability="process", read_only=True)
        except FileNotFoundError:  # taken away since it was listed
            continue
        with closing(connection):
            own_rows, own_bytes = connection.execute(_COUNT).fetchone()
            first = connection.execute(_OLDEST).fetchone()
        rows, size_bytes = rows + own_rows, size_bytes + own_bytes
        oldest += [] if first is None else [recorded_at_us(first[0])]
    return Pending(rows=rows, size_bytes=size_bytes, oldest_us=min(oldest, default=None))
