"""What we ask of a place for artefacts, whoever keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

__all__ = ["Entry", "Storage", "check_key"]

_KEY: Final = re.compile(r"[A-Za-z0-9_=.-][A-Za-z0-9_=. -]*(/[A-Za-z0-9_=.-][A-Za-z0-9_=. -]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object that is there. size: in bytes."""

    key: str
    size: int


class Storage(Protocol):
    """Objects under keys such as `bundles/sha256/3f…/manifest.json`.

    An object is there whole or not at all, and what was written is what the next reader, anywhere, gets. Keys are
    relative, without `..`, an empty part or a leading slash: `check_key` says so before anything is reached. Whatever
    the place raises is translated: IntegrationError where it does not answer or refuses, StorageFull where it is full.
    `everloop.testing.StorageSuite` holds an implementation to this.
    """

    @property
    def address(self) -> str:
        """The place, as people write it: `s3://bucket/prefix`, or a folder."""
        ...

    def open(self, key: str) -> AbstractContextManager[BinaryIO] | None:
        """The object's bytes as a stream, from the first; None where there is no such object."""
        ...

    def write(self, key: str, data: bytes | Path) -> None:
        """Put an object there, in the place of one that is there. data: its bytes, or the file that holds them."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Put an object there only if there is none; of several who try at once one does.

        Says whether the object that is there now has these bytes.
        """
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects whose keys begin with `prefix`, in the order of their keys."""
        ...

    def remove(self, key: str) -> None:
        """Take an object away; nothing happens where there is none."""
        ...

    def reader_options(self) -> Mapping[str, str]:
        """What Polars and Delta need besides the address to reach the same place, keys included; made anew each."""
        ...


def check_key(key: str) -> str:
    """The key. Raises ValueError for one that could lead out of the place."""
    if _KEY.fullmatch(key) is None or ".." in key.split("/") or "." in key.split("/"):
        raise ValueError(f"{key!r} is no key of an object: parts of letters, digits, '_', '-', '=', '.' between '/'")
    return key
