"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everloop.errors import StorageFull, no_room

__all__ = ["drafted", "write_whole"]


@contextmanager
def drafted(path: Path, *, full: str) -> Iterator[Path]:
    """A draft beside `path` to be written, which then takes its place.

    Where the disk is full, no draft is left and StorageFull is raised with the sentence `full`.
    """
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if no_room(error):
            raise StorageFull(full) from error
        raise


def write_whole(path: Path, data: str | bytes) -> None:
    """Write it to `path`, whose folder is made where it is missing, whole or not at all; a text as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
