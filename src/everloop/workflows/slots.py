"""Slots: a process runs workflows under a name of its own, which it holds by a lock while it lives."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from everloop.errors import AlreadyRunning, WorkflowError

__all__ = ["Slot"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_MOST = 64
_PLACE = "place"


class Slot:
    """A held slot. The system drops the lock when the process dies, however it dies.

    identity: `worker@HOST-PLACE`, by which other machines know it; the place is six letters that the folder keeps.
    """

    def __init__(self, folder: Path, name: str, handle: int) -> None:
        self.name = name
        self.identity = f"{name}@{_here(folder)}"
        self._folder = folder
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
            tried = name if number == 1 else f"{name}-{number}"
            handle = _lock(folder, tried)
            if handle is not None:
                return cls(folder, tried, handle)
        raise AlreadyRunning(f"{_MOST} processes run workflows as {name} already; wait for one of them to end")

    def shares_place_with(self, identity: str) -> bool:
        """Whether the other one's lock lies in this folder, on this machine, so that it tells who lives."""
        return identity.partition("@")[2] == self.identity.partition("@")[2]

    def is_free(self, identity: str) -> bool:
        """Whether no living process holds the other one's lock in this folder."""
        name = identity.partition("@")[0]
        if name == self.name:
            return False
        if not (self._folder / f"{name}.lock").exists():
            return True
        handle = _lock(self._folder, name)
        if handle is None:
            return False
        os.close(handle)
        return True

    def release(self) -> None:
        """Let it go. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._handle)


def _lock(folder: Path, name: str) -> int | None:
    handle = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _here(folder: Path) -> str:
    """The machine and the folder; two machines may bear one name, and two folders lie on one machine."""
    kept = folder / _PLACE
    if not kept.exists():
        draft = folder / f".{_PLACE}.{secrets.token_hex(4)}"
        draft.write_text(secrets.token_hex(3), encoding="ascii")
        try:
            with suppress(FileExistsError):  # of two processes that begin at once one wins
                os.link(draft, kept)
        finally:
            draft.unlink()
    return f"{socket.gethostname()}-{kept.read_text(encoding='ascii').strip()}"
