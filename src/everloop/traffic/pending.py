"""What waits in the spools of a machine: how many rows, how large, and since when."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everloop.traffic.records import recorded_at_us
from everloop.traffic.spool import read_each

__all__ = ["Pending", "pending", "pending_rows"]

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
    found = list(read_each(folder, _waiting))
    oldest = [recorded_at_us(head) for _, _, head in found if head is not None]
    return Pending(
        rows=sum(rows for rows, _, _ in found),
        size_bytes=sum(size_bytes for _, size_bytes, _ in found),
        oldest_us=min(oldest, default=None),
    )


def pending_rows(folder: Path) -> int:
    """Rows of all the spools in a folder that are not in the log yet; none once the mover has caught up."""
    return pending(folder).rows


def _waiting(spool: sqlite3.Connection) -> Iterator[tuple[int, int, bytes | None]]:
    """Rows, bytes, and the head of the oldest block."""
    rows, size_bytes = spool.execute(_COUNT).fetchone()
    first = spool.execute(_OLDEST).fetchone()
    yield rows, size_bytes, None if first is None else first[0]
