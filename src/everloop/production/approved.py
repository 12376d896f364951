"""The hand-over, read from production's side: a spec that was approved, under the hash it was approved with."""

from __future__ import annotations

from dataclasses import dataclass

from everloop.errors import NotFound, Refused
from everloop.ledger import Approval, Ledger
from everloop.project import Model, Spec

__all__ = ["ApprovedSpec", "approval_of", "approved_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedSpec:
    """A spec and the fact that lets production use it."""

    spec: Spec
    approval: Approval


def approved_spec(model: Model, ledger: Ledger, *, name: str | None) -> ApprovedSpec:
    """The named spec of the model's folder, or the newest approved one. Raises NotFound, Refused."""
    if name is not None:
        spec = model.spec(name)
        return ApprovedSpec(spec=spec, approval=approval_of(ledger, spec))
    specs = model.specs()
    if not specs:
        raise NotFound(f"{model.name} has no spec yet; 'everloop search' finds one")
    for spec in reversed(specs):
        approval = ledger.approval(model.name, spec.hash)
        if approval is not None:
            return ApprovedSpec(spec=spec, approval=approval)
    raise Refused(_not_approved(ledger, specs[-1]))


def approval_of(ledger: Ledger, spec: Spec) -> Approval:
    """Who approved the spec as it now stands. Raises Refused where nobody did."""
    approval = ledger.approval(spec.model, spec.hash)
    if approval is None:
        raise Refused(_not_approved(ledger, spec))
    return approval


def _not_approved(ledger: Ledger, spec: Spec) -> str:
    if ledger.last("spec.approved", spec.name) is not None:
        return (
            f"{spec.name} was changed after its approval, and what was approved is not what the file now says; "
            f"review it and run 'everloop approve {spec.name} --by NAME'"
        )
    return f"{spec.name} is not approved; review it and run 'everloop approve {spec.name} --by NAME'"
