"""Which files a source's rows came from, each with a fingerprint: what a version is asked for years later.

A file's fingerprint is the sha256 of its bytes; above 256 MB, of its size and of 64 blocks spread over it, which costs
a fraction of a second and misses a change between the blocks (the sha256 of the rows, kept besides, does not). A Delta
table is its version. Of an object in S3 it is the ETag, which a listing gives without reading anything.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.data import local_files
from everloop.ledger import DataFile, Sources

__all__ = ["as_json", "fingerprint", "source_files", "sources_of", "table_version"]

LARGE_BYTES: Final = 256 << 20
SHOWN: Final = 50
"""As many files as a version's fact names; the whole list is beside its bundle."""
_BLOCKS: Final = 64
_BLOCK_BYTES: Final = 1 << 20
_REMOTE: Final = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<bucket>[^/]+)/?(?P<key>.*)")
_WILD: Final = re.compile(r"[*?\[]")


def source_files(source: str, *, root: Path) -> list[DataFile]:
    """The files, objects or table of a source as they are now, by path; never raises for what cannot be asked.

    root: what a relative path starts from, and what the paths are relative to.
    """
    remote = _REMOTE.fullmatch(source)
    if remote is not None:
        return _remote(source, remote)
    folder = root / source
    if (folder / "_delta_log").is_dir():
        return [table_version(folder, root=root)]
    found = (fingerprint(file, root=root) for file in local_files(source, root=root))
    return sorted(found, key=lambda file: file.path)


def fingerprint(file: Path, *, root: Path, large_bytes: int = LARGE_BYTES) -> DataFile:
    """One file of this machine. Above `large_bytes` it is sampled; one that cannot be read says why."""
    shown = _shown(file, root)
    try:
        size = file.stat().st_size
        digest = hashlib.sha256()
        if size <= large_bytes:
            with file.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256")
        else:
            digest.update(f"{size}\n".encode())
            for block in _sampled(file, size):
                digest.update(block)
    except OSError as error:
        return DataFile(path=shown, method="none", note=f"it could not be read: {error.strerror}")
    method: Any = "sha256" if size <= large_bytes else "sampled"
    return DataFile(path=shown, bytes=size, fingerprint=digest.hexdigest(), method=method)


def _sampled(file: Path, size: int) -> Iterator[bytes]:
    last = max(0, size - _BLOCK_BYTES)
    with file.open("rb") as handle:
        for at in range(_BLOCKS):
            handle.seek(last * at // (_BLOCKS - 1))
            yield handle.read(_BLOCK_BYTES)


def sources_of(files: Iterable[DataFile], *, changed: bool = False) -> Sources:
    """All of them as a version's fact keeps them. changed: one of them changed while it was read."""
    found = sorted(files, key=lambda file: file.path)
    digest = hashlib.sha256()
    for file in found:
        digest.update(f"{file.method} {file.fingerprint} {file.bytes} {file.path}\n".encode())
    size = sum(file.bytes or 0 for file in found)
    return Sources(count=len(found), bytes=size, hash=digest.hexdigest(), files=found[:SHOWN], changed=changed)


def _shown(path: Path, root: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def table_version(folder: Path, *, root: Path) -> DataFile:
    """A Delta table of this machine at its newest version."""
    return _delta(str(folder), shown=_shown(folder, root))


def _delta(address: str, *, shown: str) -> DataFile:
    """A Delta table: its version says which rows it had."""
    import deltalake

    try:
        table = deltalake.DeltaTable(address)
        # Arrow's columns by the protocol that every reader of it takes: no other library is needed
        sizes = table.get_add_actions(flatten=True).column("size_bytes").to_pylist()
        return DataFile(
            path=shown,
            bytes=sum(sizes),
            fingerprint=str(table.version()),
            method="delta",
            note=f"{len(sizes)} files",
        )
    except Exception as error:  # the reader's, the store's, the system's: of every kind
        return DataFile(path=shown, method="none", note=_first_line(error))


def _remote(source: str, address: re.Match[str]) -> list[DataFile]:
    key = address["key"]
    if not _WILD.search(key) and (key.endswith("/") or "." not in key.rpartition("/")[2]):
        table = _delta(source, shown=source)
        if table.method == "delta":
            return [table]
    if address["scheme"] not in ("s3", "s3a"):
        note = f"objects of {address['scheme']}:// are not asked for their tags; the sha256 of the rows holds"
        return [DataFile(path=source, method="none", note=note)]
    try:
        return sorted(_objects(address["bucket"], key, scheme=address["scheme"]), key=lambda file: file.path)
    except ModuleNotFoundError:
        note = "its ETags are known with pip install 'everloop[aws]'; the sha256 of the rows holds"
    except Exception as error:  # the client's errors have no class of their own for keys, names, networks
        note = _first_line(error)
    return [DataFile(path=source, method="none", note=note)]


def _objects(bucket: str, key: str, *, scheme: str) -> Iterator[DataFile]:
    """Every object that the key, which may be a pattern or a folder, stands for; by a listing alone."""
    client = importlib.import_module("boto3").client("s3")
    wild = _WILD.search(key)
    prefix = key if wild is None else key[: wild.start()]
    matches = _pattern(key) if wild else None
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            name = str(item["Key"])
            inside = name == key or key == "" or name.startswith(f"{key.rstrip('/')}/")
            if inside if matches is None else matches.fullmatch(name):
                yield DataFile(
                    path=f"{scheme}://{bucket}/{name}",
                    bytes=int(item["Size"]),
                    fingerprint=str(item["ETag"]).strip('"'),
                    method="etag",
                )


def _pattern(key: str) -> re.Pattern[str]:
    """A glob as readers take it: `*` and `?` stay in a folder, `**` does not."""
    said = re.escape(key).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.compile(said.replace(r"\?", "[^/]").replace(r"\[", "[").replace(r"\]", "]").replace(r"\-", "-"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def as_json(files: Iterable[DataFile]) -> list[dict[str, Any]]:
    """The whole list, for the evidence beside a bundle."""
    found: list[dict[str, Any]] = msgspec.to_builtins(list(files))
    return found
