"""The one error tree of everloop.

EverloopError                     exit 1
├── UsageError                    exit 2   the command line was wrong
├── ProjectError
│   ├── ProjectNotFound
│   ├── ConfigurationError        every mistake of the files at once, with path and line
│   └── AlreadyRunning            a second `up` on one project, a port in use
├── NotFound                      a model, version, run, alert or spec that does not exist
├── DataError
│   ├── SourceError               the source cannot be read
│   ├── ContractViolation         rows that break the contract
│   ├── FeatureRefused            a feature that cannot be served, by name and node
│   ├── NotEnoughData             too few rows or positives to say anything
│   └── TooMuchData               more rows, columns or text than is taken at once
├── LedgerError
│   ├── LedgerUnreadable
│   ├── ChainBroken               the audit chain does not verify
│   └── Conflict                  someone else changed the same thing first
├── BundleError
│   ├── BundleCorrupt             sums do not match the manifest
│   └── GraphDisagrees            the ONNX graph and its model give different scores
├── FitFailed                     the child process that fits did not give a graph
├── TrafficError
│   ├── StorageFull
│   └── IdConflict                the same prediction id with another row
├── WorkflowError
│   └── StepTimeout
├── IntegrationError              an outside system answered with an error
├── Refused                       exit 3   a gate, a policy or a person said no
└── Undecided                     exit 4   the evidence does not say
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = [
    "AlreadyRunning",
    "BundleCorrupt",
    "BundleError",
    "ChainBroken",
    "ConfigurationError",
    "Conflict",
    "ContractViolation",
    "DataError",
    "EverloopError",
    "FeatureRefused",
    "FitFailed",
    "GraphDisagrees",
    "IdConflict",
    "IntegrationError",
    "LedgerError",
    "LedgerUnreadable",
    "NotEnoughData",
    "NotFound",
    "ProjectError",
    "ProjectNotFound",
    "Refused",
    "SourceError",
    "StepTimeout",
    "StorageFull",
    "TooMuchData",
    "TrafficError",
    "Undecided",
    "UsageError",
    "WorkflowError",
    "no_room",
]


class EverloopError(Exception):
    """Something a person can act on: one sentence that says what, what it got, what is allowed, what to do next."""

    exit_code = 1


class UsageError(EverloopError):
    """The command line was wrong."""

    exit_code = 2


class ProjectError(EverloopError):
    """The project's folder, files or state do not allow what was asked."""


class ProjectNotFound(ProjectError):
    """No everloop.yaml here or above."""


class ConfigurationError(ProjectError):
    """All mistakes of the configuration at once, each `path:line: key: sentence`."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class AlreadyRunning(ProjectError):
    """Another process holds the project, or the port."""


class NotFound(EverloopError):
    """A model, version, run, alert or spec that does not exist."""


class DataError(EverloopError):
    """The data cannot be used as it is."""


class SourceError(DataError):
    """The source cannot be read."""


class ContractViolation(DataError):
    """Rows break the contract."""


class FeatureRefused(DataError):
    """A feature cannot be served as it is written."""


class NotEnoughData(DataError):
    """Too few rows or positives for what was asked."""


class TooMuchData(DataError):
    """More rows, columns or text than are taken at once."""


class LedgerError(EverloopError):
    """The ledger refused."""


class LedgerUnreadable(LedgerError):
    """The ledger's database cannot be opened or read."""


class ChainBroken(LedgerError):
    """The audit chain does not verify."""


class Conflict(LedgerError):
    """Someone else changed the same thing first."""


class BundleError(EverloopError):
    """A bundle cannot be written or read."""


class BundleCorrupt(BundleError):
    """A bundle's files do not match the sums in its manifest."""


class GraphDisagrees(BundleError):
    """The ONNX graph and the model it came from give different scores."""


class FitFailed(EverloopError):
    """The child process that fits did not give a graph."""


class TrafficError(EverloopError):
    """The spool or the traffic log refused."""


class StorageFull(TrafficError):
    """The disk has no room for what must be recorded."""


class IdConflict(TrafficError):
    """The same prediction id came with another row."""


class WorkflowError(EverloopError):
    """A run cannot be started, resumed or found."""


class StepTimeout(WorkflowError):
    """A step took longer than it may."""


class IntegrationError(EverloopError):
    """An outside system answered with an error."""


class Refused(EverloopError):
    """A gate, a policy or a person said no.

    evidence_path: where what was judged is kept. verdicts: each with `name`, `outcome`, `sentence`, `evidence`.
    """

    exit_code = 3

    def __init__(
        self, sentence: str, *, evidence_path: str | None = None, verdicts: Sequence[Mapping[str, object]] = ()
    ) -> None:
        super().__init__(sentence)
        self.evidence_path = evidence_path
        self.verdicts = tuple(verdicts)


class Undecided(EverloopError):
    """The evidence does not say; nothing was changed."""

    exit_code = 4


_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SQLITE_NO_ROOM: Final = (13, 778, 4874)  # SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE
_NO_ROOM_WORDS: Final = (
    "disk is full",
    "no space left",
    "file too large",
    "quota exceeded",
    *(f"os error {code})" for code in _NO_ROOM),
)


def no_room(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that the disk is full, a quota used up or a file at its limit.

    Files say it by number, SQLite by numbers of its own, Polars, Delta and SQLAlchemy in the system's words alone.
    """
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.errno in _NO_ROOM:
            return True
        if getattr(at, "sqlite_errorcode", None) in _SQLITE_NO_ROOM:
            return True
        said = str(at).lower()
        if any(words in said for words in _NO_ROOM_WORDS):
            return True
        at = at.__cause__ or at.__context__
    return False
