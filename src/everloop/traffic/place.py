"""Where one Delta table lies: a folder of this machine, or object storage that machines share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from everloop.project import Project
from everloop.storage import Storage, artifacts_of

__all__ = ["FolderPlace", "StoredPlace", "TablePlace", "TrafficRoot", "tables_of", "traffic_root"]

TrafficRoot = Path | Storage
"""What holds the tables of all models: a folder, or a storage, where they lie under `traffic/`."""


def traffic_root(project: Project) -> TrafficRoot:
    """Where the project keeps its traffic tables."""
    remote = artifacts_of(project)
    return project.paths.traffic if remote is None else remote


def tables_of(root: TrafficRoot) -> list[tuple[str, str]]:
    """The (model, table) that are there, sorted."""
    if isinstance(root, Path):
        found = [path.parts[-2:] for path in root.glob("*/*") if (path / "_delta_log").is_dir()]
    else:
        found = [tuple(entry.key.split("/")[1:3]) for entry in root.list("traffic/") if "/_delta_log/" in entry.key]
    return sorted({(model, table) for model, table in found})


class TablePlace(Protocol):
    """The files of one table, by names relative to it."""

    @property
    def uri(self) -> str:
        """The table as Delta's library and Polars are told of it."""
        ...

    def options(self) -> Mapping[str, str] | None:
        """What those need besides; None for nothing."""
        ...

    def exists(self) -> bool:
        """Whether there is a log of commits."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none."""
        ...

    def write(self, name: str, data: bytes | memoryview) -> None:
        """A new file, whole before anything can refer to it."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away that nothing refers to; nothing happens where there is none."""
        ...

    def commit(self, name: str, data: bytes) -> bool:
        """A file of the log, only where there is none: of several who try at once one does. Says whether it is this."""
        ...

    def flush(self, names: Sequence[str]) -> None:
        """Bring files that the library wrote, and their folders, to where no loss of power takes them back."""
        ...

    def log_names(self, suffix: str) -> list[str]:
        """The names of the log's files that end so."""
        ...


class FolderPlace:
    """A table in a folder. flush: whether writing waits for the disk."""

    def __init__(self, folder: Path, *, flush: bool = False) -> None:
        self._folder = folder
        self._flush = flush

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self._folder)

    def options(self) -> None:
        """Nothing: a path says it all."""

    def exists(self) -> bool:
        """Whether the folder of the log is there."""
        return (self._folder / "_delta_log").is_dir()

    def read(self, name: str) -> bytes | None:
        """The file's bytes."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write the file; its name is one that nobody has used."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._synced(path, path.parent, self._folder)

    def remove(self, name: str) -> None:
        """Unlink it."""
        (self._folder / name).unlink(missing_ok=True)

    def commit(self, name: str, data: bytes) -> bool:
        """Write beside, then link to the name, which fails where it is taken."""
        path = self._folder / name
        aside = path.with_name(f".{uuid.uuid4()}.json.tmp")
        aside.write_bytes(data)
        self._synced(aside)
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        self._synced(path.parent)
        return True

    def flush(self, names: Sequence[str]) -> None:
        """The files and the folders above them."""
        paths = [self._folder / name for name in names]
        self._synced(*paths, self._folder / "_delta_log", self._folder, *self._folder.parents[:3])

    def log_names(self, suffix: str) -> list[str]:
        """As the folder has them."""
        return [f"_delta_log/{path.name}" for path in (self._folder / "_delta_log").glob(f"*{suffix}")]

    def _synced(self, *paths: Path) -> None:
        for path in paths if self._flush else ():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class StoredPlace:
    """A table in a storage, below a prefix. What is written there lasts; there is nothing to flush."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix/traffic/fraud/predictions`."""
        return f"{self._storage.address}/{self._prefix}"

    def options(self) -> Mapping[str, str]:
        """The storage's own, keys included, made anew each time."""
        return self._storage.reader_options()

    def exists(self) -> bool:
        """Whether the log has its first commit, or a checkpoint in its place."""
        return next(iter(self._storage.list(f"{self._prefix}/_delta_log/")), None) is not None

    def read(self, name: str) -> bytes | None:
        """The object's bytes."""
        found = self._storage.open(f"{self._prefix}/{name}")
        if found is None:
            return None
        with found as stream:
            return stream.read()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put the object."""
        self._storage.write(f"{self._prefix}/{name}", bytes(data))

    def remove(self, name: str) -> None:
        """Remove the object."""
        self._storage.remove(f"{self._prefix}/{name}")

    def commit(self, name: str, data: bytes) -> bool:
        """Put it on the condition that there is none."""
        return self._storage.create(f"{self._prefix}/{name}", data)

    def flush(self, names: Sequence[str]) -> None:
        """Nothing: what was answered is kept."""

    def log_names(self, suffix: str) -> list[str]:
        """As the storage lists them."""
        found = self._storage.list(f"{self._prefix}/_delta_log/")
        return [entry.key.removeprefix(f"{self._prefix}/") for entry in found if entry.key.endswith(suffix)]
