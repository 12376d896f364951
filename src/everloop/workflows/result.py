"""How a run ended."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from everloop import errors
from everloop.errors import EverloopError, Refused, WorkflowError

__all__ = ["RunResult"]


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run's end.

    state: the inputs merged with the outputs of the steps that ended well. sentence: why it did not finish.
    error: the name of the error's class, where it failed. step: the one that refused or failed.
    """

    run_id: str
    status: Literal["finished", "refused", "failed", "cancelled"]
    state: dict[str, Any] = msgspec.field(default_factory=dict)
    sentence: str = ""
    error: str = ""
    step: str | None = None
    evidence_path: str | None = None
    verdicts: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def raise_for_status(self) -> None:
        """Raise what the run ended with: Refused, or the error's own class with its exit code."""
        if self.status == "finished":
            return
        if self.status == "refused":
            raise Refused(self.sentence, evidence_path=self.evidence_path, verdicts=self.verdicts)
        kind = getattr(errors, self.error, WorkflowError)
        if self.error == "ConfigurationError" or not issubclass(kind, EverloopError):
            kind = WorkflowError
        raise kind(self.sentence)
