"""Spools that nobody needs any more: their process is gone, what was in them is in the log, their ids are forgotten."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from everloop.clock import from_us
from everloop.traffic.answers import remove_ids
from everloop.traffic.spool import KEEP_S, connect, databases, file_lock, is_held, try_lock

__all__ = ["IdleSpool", "idle_spools", "remove_spool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSpool:
    """A spool whose slot nobody holds and in which no row waits. since: its last recorded row, else its last change."""

    name: str
    bytes: int
    since: datetime


def idle_spools(folder: Path, *, now: datetime) -> list[IdleSpool]:
    """Those of a folder, by slot. One that still answers for ids (48 hours) is none of them, nor is a damaged one."""
    found = [_idle(folder, path) for path in databases(folder) if not is_held(folder, path)]
    horizon = now - timedelta(seconds=KEEP_S)
    return [one for one in found if one is not None and one.since <= horizon]


def _idle(folder: Path, path: Path) -> IdleSpool | None:
    try:
        # before it is opened: that may move what waits in its journal
        files = [told for told in (path, _journal(path)) if told.exists()]
        size = sum(file.stat().st_size for file in files)
        changed_s = max(file.stat().st_mtime for file in files)
        with closing(connect(path, durability="process", read_only=True)) as connection:
            waiting = connection.execute("SELECT count(*) FROM block").fetchone()[0]
            last_us = connection.execute("SELECT max(recorded_at_us) FROM answered").fetchone()[0]
    except (FileNotFoundError, ValueError, sqlite3.Error):
        return None  # taken away meanwhile, or damaged: not for a rule to decide
    since = datetime.fromtimestamp(changed_s, tz=UTC) if last_us is None else from_us(last_us)
    return None if waiting else IdleSpool(name=path.name, bytes=size, since=since)


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def remove_spool(folder: Path, name: str, *, since: datetime) -> bool:
    """Remove a spool's files, if nobody holds it and nothing was recorded after `since`; says whether it did.

    Its lock's file stays, so that whoever takes the slot meanwhile waits for this. Raises OSError.
    """
    path = folder / name
    with file_lock(folder / "slots.lock"):
        held = try_lock(path.with_suffix(".lock"))
        if held is None:
            return False
        try:
            idle = _idle(folder, path)
            if idle is None or idle.since > since:
                return False
            path.unlink()
            for end in ("-wal", "-shm"):
                path.with_name(f"{name}{end}").unlink(missing_ok=True)
            remove_ids(path)
            return True
        finally:
            os.close(held)
