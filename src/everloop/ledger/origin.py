"""What a version was made from, as its fact keeps it: files, code, environment, approval, and how it does per segment.

All of it is evidence beside the bundle and none of it is in the bundle's id. An older fact has none, and decodes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = ["ApprovedBy", "CodeState", "DataFile", "Environment", "Origin", "Sources"]

FingerprintMethod = Literal["sha256", "sampled", "delta", "etag", "none"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a payload."""


class DataFile(_Part, frozen=True, kw_only=True):
    """A file, object or table that rows came from.

    path: relative to the project's root where it lies in it. bytes: its size, None where that is not known.
    fingerprint, by `method`. sha256: of all its bytes. sampled: of its size and blocks spread over it, for a large one.
    delta: the table's version. etag: as the object store has it. none: nothing could be asked, and `note` says why.
    """

    path: str
    bytes: int | None = None
    fingerprint: str = ""
    method: FingerprintMethod = "sha256"
    note: str = ""


class Sources(_Part, frozen=True, kw_only=True):
    """All files of a run's rows. `files` are the first of them by name; `hash` is of the whole list.

    changed: one of them changed while it was read, so that its fingerprint may not be that of the rows.
    """

    count: int
    bytes: int
    hash: str
    files: list[DataFile] = msgspec.field(default_factory=list)
    changed: bool = False


class CodeState(_Part, frozen=True, kw_only=True):
    """The code at the run's start.

    commit: of the git repository that the project lies in, None where there is none. dirty: something in the project
    differs from that commit; `changed` names some of it. files: name → sha256 of the model's own files.
    """

    everloop: str
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    changed: list[str] = msgspec.field(default_factory=list)
    files: dict[str, str] = msgspec.field(default_factory=dict)


class Environment(_Part, frozen=True, kw_only=True):
    """Where the run began. lock: sha256 over `name==version` of all `packages` installed, sorted, a line each.

    lock_file: the project's own lock, with its sha256, where it has one.
    """

    python: str
    platform: str
    lock: str
    packages: int = 0
    lock_file: str | None = None
    lock_file_hash: str | None = None


class ApprovedBy(_Part, frozen=True, kw_only=True):
    """Who answered for the spec, when, and the fact that says so."""

    by: str
    at: datetime
    note: str = ""
    seq: int | None = None


class Origin(_Part, frozen=True, kw_only=True):
    """What a version knows of where it came from: one optional part of its fact.

    parent: the spec that its spec was made from; reason and diff as the spec has them. configuration: what of the spec
    decides the fit, whole, so that it can be told once the file is gone. champion: the version it was held against.
    about: what the model is for, as model.yaml said then. window: `train.window` then, in seconds.
    """

    parent: str | None = None
    reason: str = ""
    diff: dict[str, Any] = msgspec.field(default_factory=dict)
    configuration: dict[str, Any] = msgspec.field(default_factory=dict)
    champion: int | None = None
    about: dict[str, Any] = msgspec.field(default_factory=dict)
    window_s: float | None = None
    approved: ApprovedBy | None = None
    sources: Sources | None = None
    code: CodeState | None = None
    environment: Environment | None = None
