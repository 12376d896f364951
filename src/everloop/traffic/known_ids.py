"""Which ids a slot has answered lately: a table in shared memory that says in which block to look.

Looking an id up in a database costs more than scoring its row, and nearly every id is new. So each slot keeps a hash
table in a file that all workers of the machine map (`slot-N.ids`, open addressing, 8 bytes an id): whoever asks finds
at once that an id is new, or the block in which its answer may stand. The table may claim too much, never too little:
an id is entered before its block is committed, and what is found is held against the block itself.

A table holds a million ids; then it becomes the one before (`slot-N.ids-before`), and the one before that goes. It
survives the death of its process, as the pages are the kernel's; after a restart of the machine, or where it is
missing, it is made anew from the blocks of answers.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

__all__ = ["ROWS_A_TABLE", "KnownIds", "places_of"]

ROWS_A_TABLE: Final = 1_000_000
_SLOTS: Final = 1 << 21
_MASK: Final = _SLOTS - 1
_LOW: Final = 0xFFFF_FFFF
_HEAD_BYTES: Final = 4096
_HEAD: Final = struct.Struct("<8s36s40s")
_MAGIC: Final = b"evlids01"
_COUNT: Final = _HEAD_BYTES // 8 - 1  # the last word of the head
_BYTES: Final = _HEAD_BYTES + 8 * _SLOTS
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def places_of(model: str, ids: Sequence[str]) -> list[int]:
    """Where each id's search begins, and what it is told by: 64 bits that callers cannot aim at one another."""
    keyed = blake2b(model.encode(), digest_size=8, key=b"everloop ids")
    found = []
    for one in ids:
        hashed = keyed.copy()
        hashed.update(one.encode())
        found.append(int.from_bytes(hashed.digest(), "little"))
    return found


class KnownIds:
    """The tables of one slot, mapped. Only the slot's own worker enters ids; callers hold the append lock."""

    def __init__(self, path: Path, owner: str) -> None:
        """path: `slot-N.ids`. owner: the uuid of the slot's database, whose blocks the tables tell of."""
        self._path = path
        self._before = path.with_name(f"{path.name}-before")
        self._owner = owner
        self._tables: list[_Table] = []
        self._inodes: tuple[int, ...] = ()

    @property
    def mapped(self) -> bool:
        """Whether there is a table to ask."""
        return bool(self._tables)

    def fill(self, blocks: Iterable[tuple[int, str, Sequence[str]]]) -> None:
        """Begin with what (seq, model, ids) tell, oldest first. Raises OSError where there is no room for a table."""
        self._begin()
        for seq, model, ids in blocks:
            self.add(places_of(model, ids), seq)

    def close(self) -> None:
        """Let the tables go; the files stay."""
        for table in self._tables:
            table.close()
        self._tables, self._inodes = [], ()

    def refresh(self) -> None:
        """Map the files that are there now; another process may have begun a new one."""
        inodes = tuple(_inode(path) for path in (self._path, self._before))
        if inodes != self._inodes:
            self.close()
            found = [_Table.open(path, self._owner) for path in (self._path, self._before)]
            self._tables = [table for table in found if table is not None] if found[0] is not None else []
            self._inodes = inodes

    def hits(self, places: Sequence[int]) -> list[tuple[int, int]]:
        """Which of these ids may stand in which blocks (their low 32 bits), by number in `places`; mostly none does."""
        return [hit for table in self._tables for hit in table.hits(places)]

    def add(self, places: Sequence[int], seq: int) -> None:
        """Enter ids that block `seq` will hold. Raises OSError where a new table has no room, with none entered."""
        assert len(places) <= ROWS_A_TABLE
        if self._tables[0].count + len(places) > ROWS_A_TABLE and self._tables[0].count:
            self._begin()
        self._tables[0].add(places, seq)

    def _begin(self) -> None:
        """A new table; the one in use becomes the one before."""
        aside = self._path.with_name(f"new-{self._path.name}")
        _Table.make(aside, self._owner)
        with contextlib.suppress(FileNotFoundError):
            self._path.replace(self._before)
        aside.replace(self._path)
        self.refresh()


class _Table:
    """One file: a head (magic, owner, boot, count), then the entries: 32 bits that tell the id, 32 of its block."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._view = memoryview(mapped)
        self._words = self._view.cast("Q")
        self._entries = self._words[_HEAD_BYTES // 8 :]

    @classmethod
    def make(cls, path: Path, owner: str) -> None:
        """An empty table's file, with all the room it will ever need: writing into it must never find the disk full."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, _BYTES)
            else:
                os.truncate(handle, _BYTES)
            os.pwrite(handle, _HEAD.pack(_MAGIC, owner.encode(), _boot()), 0)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)

    @classmethod
    def open(cls, path: Path, owner: str) -> Self | None:
        """The table of a file; None where there is none of this owner and of this run of the machine."""
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            head = os.pread(handle, _HEAD.size, 0)
            if os.fstat(handle).st_size != _BYTES or head != _HEAD.pack(_MAGIC, owner.encode(), _boot()):
                return None
            return cls(mmap.mmap(handle, _BYTES))
        finally:
            os.close(handle)

    @property
    def count(self) -> int:
        return self._words[_COUNT]

    def hits(self, places: Sequence[int]) -> list[tuple[int, int]]:
        entries, found = self._entries, []
        for number, place in enumerate(places):
            at = place & _MASK
            while entry := entries[at]:
                if entry >> 32 == ((place >> 32) or 1):
                    found.append((number, entry & _LOW))
                at = (at + 1) & _MASK
        return found

    def add(self, places: Sequence[int], seq: int) -> None:
        entries, low = self._entries, seq & _LOW
        self._words[_COUNT] += len(places)
        for place in places:
            at = place & _MASK
            while entries[at]:
                at = (at + 1) & _MASK
            entries[at] = ((place >> 32) or 1) << 32 | low

    def close(self) -> None:
        for view in (self._entries, self._words, self._view):
            view.release()
        self._mapped.close()


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return 0


def _boot() -> bytes:
    """Which run of the machine this is: what was mapped in an earlier one may not have reached the disk."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:  # another system
        import psutil

        return b"%d" % (psutil.boot_time() // 60)
