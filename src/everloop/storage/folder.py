"""A folder as a storage: what tests use, and what a mounted disk is."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from everloop.errors import IntegrationError, StorageFull, no_room
from everloop.storage.storage import Entry, check_key

__all__ = ["FolderStorage", "folder_bytes"]

_DRAFT = ".draft-"


class FolderStorage:
    """Objects as files under a folder, which is made when the first is written."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._root)

    def open(self, key: str) -> AbstractContextManager[BinaryIO] | None:
        """The file, opened; None where there is none."""
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, key: str, data: bytes | Path) -> None:
        """Write beside, then rename over what is there."""
        with self._drafted(key, data) as (draft, path):
            draft.replace(path)

    def create(self, key: str, data: bytes) -> bool:
        """Write beside, then link to the name, which fails where it is taken."""
        with self._drafted(key, data) as (draft, path):
            try:
                os.link(draft, path)
            except FileExistsError:
                return path.read_bytes() == data
        return True

    def list(self, prefix: str) -> Iterator[Entry]:
        """The files below, but no drafts."""
        found = [path for path in self._root.rglob("*") if path.is_file() and not path.name.startswith(_DRAFT)]
        for path in sorted(found, key=lambda path: path.relative_to(self._root).as_posix()):
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix):
                yield Entry(key=key, size=path.stat().st_size)

    def remove(self, key: str) -> None:
        """Unlink the file."""
        self._path(key).unlink(missing_ok=True)

    def reader_options(self) -> Mapping[str, str]:
        """Nothing: a path says it all."""
        return {}

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _drafted(self, key: str, data: bytes | Path) -> Iterator[tuple[Path, Path]]:
        path = self._path(key)
        draft = path.with_name(f"{_DRAFT}{secrets.token_hex(6)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, Path):
                shutil.copyfile(data, draft)
            else:
                draft.write_bytes(data)
            yield draft, path
        except OSError as error:
            if no_room(error):
                raise StorageFull(f"no room in {self._root}; make some and try again, nothing was lost") from error
            raise IntegrationError(f"{self._root} cannot be written: {error.strerror}; check it is there") from error
        finally:
            draft.unlink(missing_ok=True)


def folder_bytes(folder: Path) -> int:
    """The sizes of all files below; what goes meanwhile counts nothing."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return size
