"""The hand-over, read from production's side: a spec that was approved, under the hash it was approved with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from everloop.errors import NotFound, Refused
from everloop.ledger import Approval, Ledger
from everloop.project import Model, Spec

__all__ = ["ApprovedSpec", "FileSpecs", "SpecStore", "approved_spec"]


class SpecStore(Protocol):
    """Where specs are kept. `FileSpecs` is the project's own folder."""

    def get(self, name: str) -> Spec:
        """The spec called `fraud-s2`. Raises NotFound."""
        ...

    def history(self) -> list[Spec]:
        """Every spec, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpecs:
    """The specs of a model's folder, reviewed in version control."""

    model: Model

    def get(self, name: str) -> Spec:
        """The spec called `fraud-s2`. Raises NotFound."""
        return self.model.spec(name)

    def history(self) -> list[Spec]:
        """Every spec of the folder, by number."""
        return self.model.specs()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedSpec:
    """A spec and the fact that lets production use it."""

    spec: Spec
    approval: Approval


def approved_spec(store: SpecStore, ledger: Ledger, *, model: str, name: str | None) -> ApprovedSpec:
    """The named spec, or the newest approved one. Raises Refused for one that nobody approved as it now stands."""
    if name is not None:
        spec = store.get(name)
        approval = ledger.approval(model, spec.hash)
        if approval is None:
            raise Refused(_not_approved(ledger, spec))
        return ApprovedSpec(spec=spec, approval=approval)
    specs = store.history()
    if not specs:
        raise NotFound(f"{model} has no spec yet; 'everloop search' finds one")
    for spec in reversed(specs):
        approval = ledger.approval(model, spec.hash)
        if approval is not None:
            return ApprovedSpec(spec=spec, approval=approval)
    raise Refused(_not_approved(ledger, specs[-1]))


def _not_approved(ledger: Ledger, spec: Spec) -> str:
    if ledger.last("spec.approved", spec.name) is not None:
        return (
            f"{spec.name} was changed after its approval, and what was approved is not what the file now says; "
            f"review it and run 'everloop approve {spec.name} --by NAME'"
        )
    return f"{spec.name} is not approved; review it and run 'everloop approve {spec.name} --by NAME'"
