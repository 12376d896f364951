"""Where bundles lie: `ROOT/sha256/ID/`, each written whole or not at all, read only where every sum is right.

sha256/3f…/manifest.json       its sha256 is the id
           graph.onnx …        as the manifest sums them
           evidence/…          what was seen on the way: timings, verdicts, reports; not summed
partial/…                      being written; what a killed process left is removed by a later write

Where artefacts lie elsewhere, this folder is a copy of what was written or needed here. There a bundle is
`bundles/sha256/ID/…` with its manifest put last: what has no manifest is not there.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from everloop.bundle.bundle import Bundle, BundleParts
from everloop.bundle.manifest import Manifest
from everloop.errors import BundleCorrupt, BundleError, NotFound, StorageFull, no_room
from everloop.ids import content_id
from everloop.project import Project
from everloop.storage import Storage, artifacts_of, folder_bytes

__all__ = ["BundleStore"]

_MANIFEST: Final = "manifest.json"
_EVIDENCE: Final = "evidence"
_REMOTE: Final = "bundles/sha256/"
_ID: Final = re.compile(r"[0-9a-f]{64}")
_EVIDENCE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_STALE_S: Final = 3600.0


class BundleStore:
    """The bundles under one folder, and in the storage that it is a copy of. Several processes may use both at once."""

    def __init__(self, root: Path, *, remote: Storage | None = None) -> None:
        self._root = root
        self._remote = remote

    @classmethod
    def of(cls, project: Project) -> BundleStore:
        """The project's bundles."""
        return cls(project.paths.bundles, remote=artifacts_of(project))

    def write(self, parts: BundleParts) -> str:
        """Write a bundle, durably, and give its id. The same parts again are the same bundle.

        Raises StorageFull and leaves nothing; BundleCorrupt where a bundle of this id is there and is damaged.
        """
        files = parts.files()
        manifest = parts.manifest(files)
        bundle_id = manifest.id
        if not self._folder(bundle_id).exists():
            with _storage(self._root):
                self._write_whole(bundle_id, {**files, _MANIFEST: manifest.to_json()})
        self._files(bundle_id)
        self._send(bundle_id, {**files, _MANIFEST: manifest.to_json()})
        return bundle_id

    def load(self, bundle_id: str) -> Bundle:
        """The bundle, every sum compared.

        Raises NotFound, and BundleCorrupt for a changed, missing, additional or unreadable file.
        """
        manifest, files = self._files(bundle_id)
        return Bundle.of(bundle_id, manifest, files)

    def manifest(self, bundle_id: str) -> Manifest:
        """The manifest alone, compared with the id. Raises as `load` does."""
        return Manifest.from_json(self._manifest_bytes(bundle_id))

    def files(self, bundle_id: str) -> dict[str, int]:
        """The bundle's files and their bytes, the manifest among them; evidence is no part of it. Raises NotFound."""
        folder = self.path(bundle_id)
        names = (_MANIFEST, *sorted(self.manifest(bundle_id).files))
        return {name: (folder / name).stat().st_size for name in names}

    def ids(self) -> list[str]:
        """The ids of the bundles that are here or can be fetched, sorted."""
        folder = self._root / "sha256"
        here = {item.name for item in folder.iterdir() if _ID.fullmatch(item.name)} if folder.is_dir() else set()
        there = set() if self._remote is None else {entry.key for entry in self._remote.list(_REMOTE)}
        return sorted(here | {Path(key).parent.name for key in there if key.endswith(f"/{_MANIFEST}")})

    def path(self, bundle_id: str) -> Path:
        """The bundle's folder, fetched where it is not here yet. Raises NotFound."""
        folder = self._folder(bundle_id)
        if not folder.is_dir() and not self._fetch(bundle_id):
            raise NotFound(
                f"there is no bundle {bundle_id} in {self._root}: put its folder back from a copy, "
                "make it again as 'everloop model show' tells"
            )
        return folder

    def holds(self, bundle_id: str) -> bool:
        """Whether the bundle's folder is here or can be fetched; its sums are not compared."""
        return self._folder(bundle_id).is_dir() or self._remote_bytes(f"{bundle_id}/{_MANIFEST}") is not None

    def sizes(self) -> dict[str, int]:
        """Bundle → its bytes with its evidence: of those that are here their files', of others those there."""
        found: dict[str, int] = {}
        for entry in () if self._remote is None else self._remote.list(_REMOTE):
            bundle_id = entry.key.removeprefix(_REMOTE).partition("/")[0]
            found[bundle_id] = found.get(bundle_id, 0) + entry.size
        known = {bundle_id: found.get(bundle_id, 0) for bundle_id in self.ids()}
        here = {bundle_id: self._folder(bundle_id) for bundle_id in known}
        return known | {bundle_id: folder_bytes(folder) for bundle_id, folder in here.items() if folder.is_dir()}

    def remove(self, bundle_id: str) -> None:
        """Take a bundle away with its evidence: out of sight at once, then its files. Nothing where there is none.

        Raises OSError where it cannot be removed.
        """
        folder = self._folder(bundle_id)
        if self._remote is not None:
            self._remote.remove(f"{_REMOTE}{bundle_id}/{_MANIFEST}")
            for entry in list(self._remote.list(f"{_REMOTE}{bundle_id}/")):
                self._remote.remove(entry.key)
        if not folder.is_dir():
            return
        partial = self._root / "partial" / f"{bundle_id}-{secrets.token_hex(4)}"
        partial.parent.mkdir(exist_ok=True)
        folder.rename(partial)
        _sync_folder(folder.parent)
        shutil.rmtree(partial)

    def evidence_path(self, bundle_id: str) -> Path:
        """The folder of the bundle's evidence, made where it is missing. Raises NotFound."""
        folder = self.path(bundle_id) / _EVIDENCE
        with _storage(self._root):
            folder.mkdir(exist_ok=True)
        return folder

    def write_evidence(self, bundle_id: str, name: str, data: bytes) -> Path:
        """Write one file of evidence, whole or not at all; a later one of the same name replaces it."""
        if _EVIDENCE_NAME.fullmatch(name) is None:
            raise BundleError(f"evidence cannot be named {name!r}; letters, digits, '.', '_' and '-' may be in it")
        path = self.evidence_path(bundle_id) / name
        with _storage(self._root):
            partial = path.with_name(f".{name}.{secrets.token_hex(4)}")
            try:
                _write_durably(partial, data)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            _sync_folder(path.parent)
        if self._remote is not None:
            self._remote.write(f"{_REMOTE}{bundle_id}/{_EVIDENCE}/{name}", data)
        return path

    def _send(self, bundle_id: str, files: dict[str, bytes]) -> None:
        """Put the files where all machines find them, the manifest last."""
        if self._remote is None:
            return
        for name, data in sorted(files.items(), key=lambda item: item[0] == _MANIFEST):
            if not self._remote.create(f"{_REMOTE}{bundle_id}/{name}", data):
                raise BundleCorrupt(
                    f"bundle {bundle_id[:12]}: another {name} lies in {self._remote.address} under its name; "
                    "remove that object, and run it again"
                )

    def _fetch(self, bundle_id: str) -> bool:
        """Copy the bundle here from where all machines find it; false where it is not there."""
        if self._remote is None or self._remote_bytes(f"{bundle_id}/{_MANIFEST}") is None:
            return False
        prefix = f"{_REMOTE}{bundle_id}/"
        names = [entry.key.removeprefix(prefix) for entry in self._remote.list(prefix)]
        files = {name: self._remote_bytes(f"{bundle_id}/{name}") for name in names}
        with _storage(self._root):
            self._write_whole(bundle_id, {name: data for name, data in files.items() if data is not None})
        return True

    def _remote_bytes(self, name: str) -> bytes | None:
        found = None if self._remote is None else self._remote.open(_REMOTE + name)
        if found is None:
            return None
        with found as stream:
            return stream.read()

    def _folder(self, bundle_id: str) -> Path:
        if _ID.fullmatch(bundle_id) is None:
            raise NotFound(f"{bundle_id!r} is not a bundle's id: 64 of 0-9 and a-f")
        return self._root / "sha256" / bundle_id

    def _write_whole(self, bundle_id: str, files: dict[str, bytes]) -> None:
        target = self._folder(bundle_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = self._root / "partial" / f"{bundle_id}-{secrets.token_hex(4)}"
        partial.mkdir(parents=True)
        try:
            _remove_stale(partial)
            for name, data in files.items():
                (partial / name).parent.mkdir(exist_ok=True)
                _write_durably(partial / name, data)
            _sync_folder(partial)
            _rename(partial, target)
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _manifest_bytes(self, bundle_id: str) -> bytes:
        data = _read(self.path(bundle_id) / _MANIFEST, bundle_id)
        if content_id(data) != bundle_id:
            raise BundleCorrupt(_sentence(bundle_id, _MANIFEST, "was changed"))
        return data

    def _files(self, bundle_id: str) -> tuple[Manifest, dict[str, bytes]]:
        folder = self.path(bundle_id)
        manifest = Manifest.from_json(self._manifest_bytes(bundle_id))
        try:
            found = {item.name for item in folder.iterdir()} - {_MANIFEST, _EVIDENCE}
        except OSError as error:
            raise BundleCorrupt(_sentence(bundle_id, "its folder", f"cannot be read: {error.strerror}")) from error
        for name in sorted(found - manifest.files.keys()):
            raise BundleCorrupt(_sentence(bundle_id, name, "is not in its manifest"))
        for name in sorted(manifest.files.keys() - found):
            raise BundleCorrupt(_sentence(bundle_id, name, "is missing"))
        files = {name: _read(folder / name, bundle_id) for name in sorted(found)}
        for name, data in files.items():
            if content_id(data) != manifest.files[name]:
                raise BundleCorrupt(_sentence(bundle_id, name, "was changed"))
        return manifest, files


def _sentence(bundle_id: str, name: str, what: str) -> str:
    next_step = "put the bundle's folder back from a copy, or train again"
    return f"bundle {bundle_id[:12]}: {name} {what}, so it is not served; {next_step}"


def _read(path: Path, bundle_id: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleCorrupt(_sentence(bundle_id, path.name, "is missing")) from error
    except OSError as error:
        raise BundleCorrupt(_sentence(bundle_id, path.name, f"cannot be read: {error.strerror}")) from error


@contextmanager
def _storage(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise StorageFull(f"the disk of {root} is full; nothing was written: make room and run it again") from error
        raise BundleError(f"{root} cannot be written: {error.strerror}; nothing was written") from error


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows has no handle of a folder to sync
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(partial: Path, target: Path) -> None:
    """Move the written folder to its place; where another process was faster, its bundle is the same."""
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _remove_stale(newest: Path) -> None:
    """Remove what killed writers left: folders an hour older than `newest`, by the file system's own clock."""
    now_s = newest.stat().st_mtime
    for item in newest.parent.iterdir():
        try:
            stale = now_s - item.stat().st_mtime > _STALE_S
        except FileNotFoundError:
            continue  # its writer has just finished
        if stale:
            shutil.rmtree(item, ignore_errors=True)
