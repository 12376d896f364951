"""The payloads of specs: found, written, arrived, put, approved, proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from everloop.ledger.payload import JSON, Count, DataSpan, Estimate, Name, Number, Payload, VerdictRecord

if TYPE_CHECKING:
    from everloop.project import Spec

__all__ = [
    "ProposalMade",
    "SearchEnded",
    "SpecApproved",
    "SpecArrived",
    "SpecPut",
    "SpecWritten",
]


class SpecWritten(Payload, frozen=True, kw_only=True):
    """A winning configuration was written to a file; `trigger` says what asked for it: search, alert, schedule."""

    model: Name
    spec: Name
    spec_hash: Name
    number: Number | None = None
    learner: str = ""
    parent: str | None = None
    reason: str = ""
    diff: dict[str, JSON] = msgspec.field(default_factory=dict)
    trigger: str = "search"
    run: str | None = None
    alert: str | None = None
    path: str | None = None
    expected: dict[str, Estimate] = msgspec.field(default_factory=dict)
    data: DataSpan | None = None

    @classmethod
    def of(cls, spec: Spec, *, trigger: str, **rest: Any) -> SpecWritten:
        """What the fact of every spec says; `rest` are the fields that who wrote it knows besides."""
        return cls(
            model=spec.model,
            spec=spec.name,
            spec_hash=spec.hash,
            number=spec.number,
            learner=spec.learner,
            parent=spec.parent,
            reason=spec.reason,
            diff=dict(spec.diff),
            trigger=trigger,
            path=f"{spec.model}/specs/{spec.name}.yaml",
            **rest,
        )


class SpecApproved(Payload, frozen=True, kw_only=True):
    """Someone answers for a spec."""

    model: Name
    spec: Name
    spec_hash: Name
    by: Name
    note: str = ""


class SpecArrived(Payload, frozen=True, kw_only=True):
    """A store's configuration changed by somebody's hand, and asks for a run. `modifier` is who, as the store knows."""

    model: Name
    spec: Name
    spec_hash: Name
    store: Name
    version: Name
    modifier: str = ""
    notes: list[str] = msgspec.field(default_factory=list)


class SpecPut(Payload, frozen=True, kw_only=True):
    """A spec was written into the model's store, where it has the version `version`."""

    model: Name
    spec: Name
    spec_hash: Name
    store: Name
    version: Name
    label: str | None = None


class SearchEnded(Payload, frozen=True, kw_only=True):
    """A search of configurations came to its end; its trials lie in the folder `path`.

    trials: that were asked for, yardsticks aside, so many of them failed or given up. winner: the chosen trial's name;
    verdict: whether it may become a spec. beside: names of what people brought to stand beside it.
    """

    model: Name
    search: Name
    objective: str
    trials: Count
    failed: Count = 0
    pruned: Count = 0
    stopped: bool = False
    method: str = ""
    seed: int = 0
    winner: str | None = None
    learner: str = ""
    expected: Estimate | None = None
    verdict: VerdictRecord | None = None
    beside: list[str] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    path: str | None = None
    data: DataSpan | None = None


class ProposalMade(Payload, frozen=True, kw_only=True):
    """A new configuration with its parent, its diff and its reason."""

    model: Name
    spec: Name
    reason: Name
    spec_hash: str = ""
    parent: str | None = None
    diff: dict[str, JSON] = msgspec.field(default_factory=dict)
    investigation: int | None = None
    alert: str | None = None
