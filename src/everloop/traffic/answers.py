"""What was answered for an id: a block of answers beside each block of predictions, and the search for it."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from everloop.traffic.known_ids import KnownIds

__all__ = [
    "ANSWERS_SCHEMA",
    "Answered",
    "Answers",
    "answers_without",
    "encode_answers",
    "ids_path",
    "make_ids",
    "remove_ids",
]

ANSWERS_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answered (
  seq INTEGER PRIMARY KEY, model TEXT NOT NULL, recorded_at_us INTEGER NOT NULL,
  rows INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_RESCAN_NS: Final = 50_000_000  # how coarse a folder's time of change may be


class Answered(NamedTuple):
    """What was answered for an id: the digest of its row, the bytes given, and what the digest was made over."""

    digest: bytes
    answer: bytes
    layout: str

    def is_of(self, digest: bytes, layout: str) -> bool:
        """Whether it was the answer to this row. Read by another contract, a row cannot be told from itself."""
        return self.digest == digest or self.layout != layout


class _Answers(msgspec.Struct, frozen=True, array_like=True):
    """A block of answers as it lies in the spool; row for row as the block of predictions with its number."""

    layout: str
    ids: list[str]
    digests: list[bytes]
    answers: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answers).decode


def encode_answers(layout: str, ids: Sequence[str], digests: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """The block of answers."""
    return _encode(_Answers(layout, list(ids), list(digests), list(answers)))


def answers_without(body: bytes, ids: set[str]) -> tuple[bytes | None, int]:
    """A block without what was answered for these ids (None where none is left), and how many these were.

    The tables of ids go on saying that an id may be in it, which is looked up then, and not found.
    """
    block = _decode(body)
    kept = [row for row, one in enumerate(block.ids) if one not in ids]
    gone = len(block.ids) - len(kept)
    if gone == 0:
        return body, 0
    left = _Answers(
        block.layout,
        [block.ids[row] for row in kept],
        [block.digests[row] for row in kept],
        [block.answers[row] for row in kept],
    )
    return (_encode(left) if kept else None), gone


def make_ids(database: Path, connection: sqlite3.Connection) -> None:
    """See that a slot whose process is gone has its table of ids; the caller holds the lock of all slots."""
    slot = _Slot(database, connection)
    try:
        slot.make_ids()
    finally:
        slot.close()


def remove_ids(database: Path) -> None:
    """Remove a slot's tables of ids."""
    path = ids_path(database)
    for one in (path, path.with_name(f"{path.name}-before")):
        one.unlink(missing_ok=True)


def ids_path(database: Path) -> Path:
    """The table of ids beside a slot's database."""
    return database.with_suffix(".ids")


class Answers:
    """The answers of all slots of a machine, as one of them sees them.

    connect: a slot's database by its path, to read; raises FileNotFoundError where it is gone.
    """

    def __init__(
        self,
        database: Path,
        connection: sqlite3.Connection,
        *,
        connect: Callable[[Path], sqlite3.Connection],
        list_databases: Callable[[Path], list[Path]],
    ) -> None:
        self._folder = database.parent
        self._name = database.name
        self._connect = connect
        self._list_databases = list_databases
        self._own = _Slot(database, connection)
        self._own.make_ids()
        self._others: dict[str, _Slot] = {}
        self._looked = ((0, 0), 0)  # the folder and its time of change as of the last look, and when that was

    @property
    def last_seq(self) -> int:
        """The number of this slot's last block, also of those that are gone."""
        found = self._own.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'block'").fetchone()
        return 0 if found is None else int(found[0])

    def close(self) -> None:
        """Let go of the tables and of the other slots' databases; this slot's own is its owner's."""
        self._own.ids.close()
        for slot in self._others.values():
            slot.close()
        self._others = {}

    def enter(self, places: Sequence[int], seq: int) -> None:
        """Say, before it is committed, that block `seq` of this slot holds the ids of these places; after `found`.

        Raises OSError where a new table has no room.
        """
        self._own.ids.add(places, seq)

    def settled(self) -> bool:
        """Whether no file of the folder came, went or was renamed since `look_around` looked; for one look at it."""
        changed_ns, looked_ns = self._looked
        folder = os.stat(self._folder)
        return (folder.st_ino, folder.st_mtime_ns) == changed_ns and looked_ns - changed_ns[1] > _RESCAN_NS

    def found(self, model: str, ids: Sequence[str], places: Sequence[int]) -> dict[str, Answered]:
        """What any slot has answered for these ids; places: as `places_of` gives them.

        Raises OSError where a lost table of this slot cannot be made anew: then nothing can be said.
        """
        answered: dict[str, Answered] = {}
        blocks: dict[tuple[str, int], Mapping[str, Answered]] = {}
        for slot in self._slots():
            for number, low in slot.ids.hits(places):
                block = blocks.get((slot.name, low))
                if block is None:
                    block = blocks[slot.name, low] = slot.block(model, low)
                if ids[number] in block:
                    answered[ids[number]] = block[ids[number]]
        return answered

    def _slots(self) -> Iterator[_Slot]:
        if not self.settled():
            self._look_around()
        yield self._own
        yield from self._others.values()

    def _look_around(self) -> None:
        """Open the databases of other slots that have come, let go of those that are gone, and map all tables anew."""
        folder, now_ns = os.stat(self._folder), time.time_ns()
        there = {path.name: path for path in self._list_databases(self._folder) if path.name != self._name}
        for name in list(self._others):
            if name not in there or not self._others[name].in_place:
                self._others.pop(name).close()
        for name, path in there.items():
            if name not in self._others:
                try:
                    self._others[name] = _Slot(path, self._connect(path))
                except FileNotFoundError:  # taken away since it was listed
                    continue
        self._own.make_ids()
        for slot in self._others.values():
            slot.ids.refresh()
        self._looked = ((folder.st_ino, folder.st_mtime_ns), now_ns)


class _Slot:
    """One slot's database, to read answers from, and its table of ids."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.name = path.name
        self.connection = connection
        self._path = path
        self._inode = os.stat(path).st_ino
        (self._uuid,) = connection.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        self.ids = KnownIds(ids_path(path), self._uuid)

    def make_ids(self) -> None:
        """See that there is a table; for the slot's owner, and for who holds the lock of slots that nobody owns."""
        self.ids.refresh()
        if not self.ids.mapped:
            self.ids.fill(self._blocks())

    @property
    def in_place(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False

    def close(self) -> None:
        self.ids.close()
        self.connection.close()

    def block(self, model: str, low: int) -> Mapping[str, Answered]:
        """The answers of a block by id; none where it is gone, was never committed, or is another model's."""
        found = self.connection.execute(
            "SELECT body FROM answered WHERE seq IN (?, ?) AND model = ?", (*self._numbers(low), model)
        ).fetchone()
        if found is None:
            return {}
        block = _decode(found[0])
        rows = zip(block.ids, block.digests, block.answers, strict=True)
        return {one: Answered(digest, answer, block.layout) for one, digest, answer in rows}

    def _numbers(self, low: int) -> tuple[int, int]:
        """The block numbers with these low 32 bits that may be here: in the newest span of them, or the one before."""
        (last,) = self.connection.execute("SELECT coalesce(max(seq), 0) FROM answered").fetchone()
        high = int(last) >> 32 << 32
        return high + low, high - (1 << 32) + low

    def _blocks(self) -> Iterator[tuple[int, str, Sequence[str]]]:
        for seq, model, body in self.connection.execute("SELECT seq, model, body FROM answered ORDER BY seq"):
            yield seq, model, _decode(body).ids
