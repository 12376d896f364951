"""The chain's head, kept in a file beside the database, so that a cut tail is found."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everloop.errors import ChainBroken, no_room

__all__ = ["Head", "HeadFile"]

_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last fact: its seq and its hash."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head in `SEQ:HASH`, as `str` writes it. Raises ValueError with a sentence."""
        number, _, digest = text.strip().partition(":")
        if not (number.isascii() and number.isdigit()) or not _HASH.fullmatch(digest.lower()):
            raise ValueError(f"{text!r} is not a head (SEQ:HASH, a number and 64 hexadecimal digits)")
        return cls(seq=int(number), hash=digest.lower())

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class HeadFile:
    """`SEQ HASH` in one line, replaced whole after every commit.

    Two processes that commit at once may leave the older head: the file is allowed to be behind the table.
    It never moves over a head that the table does not hold, so that what was cut stays found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Head | None:
        """The kept head, or None where there is no file. Raises ChainBroken where it is not ours."""
        try:
            words = self.path.read_text(encoding="ascii", errors="replace").split()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ChainBroken(f"{self.path} cannot be read: {error.strerror}") from error
        if len(words) != 2 or not words[0].isdigit() or len(words[1]) != 64:
            raise ChainBroken(f"{self.path} is not a head file; it should hold the number and hash of the last fact")
        return Head(seq=int(words[0]), hash=words[1])

    def write(self, head: Head) -> None:
        """Replace the file by `head`."""
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            beside.write_text(f"{head.seq} {head.hash}\n", encoding="ascii")
            beside.replace(self.path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def advance(self, head: Head, holds: Callable[[Head], bool]) -> None:
        """Move on to `head` unless the file is there already or has seen what the table no longer holds.

        Where the disk has no room left it stays behind: the facts are committed, and the next ones move it on.
        """
        try:
            kept = self.read()
        except ChainBroken:
            return  # kept as it is: verify tells it
        if kept is not None and kept.seq < head.seq and holds(kept):
            try:
                self.write(head)
            except OSError as error:
                if not no_room(error):
                    raise
