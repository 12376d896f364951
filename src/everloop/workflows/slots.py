"""Slots: a process runs workflows under a name of its own, which it holds by a lock while it lives."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from everloop.errors import AlreadyRunning, WorkflowError

__all__ = ["Slot", "dead_slots"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_MOST = 16


class Slot:
    """A held slot. The system drops the lock when the process dies, however it dies."""

    def __init__(self, name: str, handle: int) -> None:
        self.name = name
        self._handle = handle

    @classmethod
    def take(cls, folder: Path, name: str) -> Slot:
        """The slot `name`, or where a living process holds it the first free of `name-2`, `name-3` …

        Raises AlreadyRunning when all are held.
        """
        if _NAME.fullmatch(name) is None:
            raise WorkflowError(f"{name!r} cannot name a slot: it has 1 to 40 of a-z, 0-9 and '-'")
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST + 1):
            slot = cls._try(folder, name if number == 1 else f"{name}-{number}")
            if slot is not None:
                return slot
        raise AlreadyRunning(f"{_MOST} processes run workflows as {name} already; wait for one of them to end")

    @classmethod
    def _try(cls, folder: Path, name: str) -> Slot | None:
        handle = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(name, handle)

    def release(self) -> None:
        """Let it go. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._handle)


def dead_slots(folder: Path, *, besides: str) -> Iterator[Slot]:
    """The slots that no living process holds, each held while it is looked at."""
    for path in sorted(folder.glob("*.lock")):
        slot = None if path.stem == besides else Slot._try(folder, path.stem)
        if slot is not None:
            try:
                yield slot
            finally:
                slot.release()
