"""From an address to the storage it names, found by entry point."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import entry_points
from typing import Final, Protocol

from everloop.errors import IntegrationError
from everloop.project import Project
from everloop.storage.storage import Storage

__all__ = ["GROUP", "StorageKind", "artifacts_of", "is_address", "open_storage"]

GROUP: Final = "everloop.storage"
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://.+")


class StorageKind(Protocol):
    """What an entry point of the group `everloop.storage` names, under its scheme: `s3 = "…:open_s3"`."""

    def __call__(self, address: str) -> Storage:
        """The storage of an address. Raises IntegrationError where the address says nothing, or a library lacks."""
        ...


def is_address(text: str) -> bool:
    """Whether it names a place by its scheme, and not a folder."""
    return _SCHEME.fullmatch(text) is not None


def artifacts_of(project: Project) -> Storage | None:
    """Where the project keeps bundles, runs and traffic for all machines; None where that is a folder."""
    address = project.remote_artifacts
    return None if address is None else open_storage(address)


@cache
def open_storage(address: str) -> Storage:
    """The storage of `s3://bucket/prefix` or alike, opened once in a process. Raises IntegrationError."""
    match = _SCHEME.fullmatch(address)
    kinds = {point.name: point for point in entry_points(group=GROUP)}
    if match is None or match[1] not in kinds:
        known = ", ".join(f"{name}://…" for name in sorted(kinds)) or "none is installed"
        raise IntegrationError(f"nothing here can keep artefacts in {address}; what can be reached: {known}, a folder")
    kind: StorageKind = kinds[match[1]].load()
    return kind(address)
