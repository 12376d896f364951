"""Small files of a day become one, a few at a time: what is read at once is bounded, however many rows a day has."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from typing import Final

from everloop.errors import Conflict
from everloop.traffic.delta import DataFile, DeltaLog

__all__ = ["compact", "merges"]

_SMALL_BYTES: Final = 32 * 1024 * 1024
_SMALL_ROWS: Final = 500_000
# Twice what is small, so that what was merged is small no more and is not rewritten over and over.
_MERGED_BYTES: Final = 2 * _SMALL_BYTES
_MERGED_ROWS: Final = 2 * _SMALL_ROWS


def merges(files: Collection[DataFile], *, older: int, newest: int) -> list[list[DataFile]]:
    """Which files become one, each group of one day and in order of time; the day with the most small files first.

    older, newest: how many small files a day must have, the newest day and those before it.
    """
    days: dict[dt.date, list[DataFile]] = {}
    for file in files:
        if file.size_bytes < _SMALL_BYTES and file.rows < _SMALL_ROWS:
            days.setdefault(file.day, []).append(file)
    last = max(days, default=None)
    due = [small for day, small in days.items() if len(small) >= (newest if day == last else older)]
    return [group for small in sorted(due, key=len, reverse=True) for group in _groups(small)]


def _groups(small: list[DataFile]) -> list[list[DataFile]]:
    """Neighbours in time, as many as may be read at once."""
    groups: list[list[DataFile]] = []
    size = rows = 0
    for file in sorted(small, key=lambda one: (one.min_us or 0, one.path)):
        if not groups or size + file.size_bytes > _MERGED_BYTES or rows + file.rows > _MERGED_ROWS:
            groups.append([])
            size = rows = 0
        groups[-1].append(file)
        size, rows = size + file.size_bytes, rows + file.rows
    return [group for group in groups if len(group) > 1]


def compact(
    table: DeltaLog, *, older: int, newest: int, most: int | None = None, crash: Callable[[str], None]
) -> tuple[int, int]:
    """Merge, in one commit for each group; returns how many files went, and how many commits that took.

    Rows are the same before and after, sorted by time. most: groups at a time; the others' turn comes.
    """
    gone = commits = 0
    for group in merges(table.files.values(), older=older, newest=newest)[:most]:
        frame = table.scan(group).sort(table.time, maintain_order=True).collect()
        try:
            table.commit(add=table.write(frame), remove=group)
        except Conflict:
            continue  # another machine has rewritten one of them
        crash("compacted")
        gone, commits = gone + len(group), commits + 1
    return gone, commits
