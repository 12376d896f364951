"""The hand-over: someone answers for a spec, and the ledger keeps it. The block in the file is the fact's copy."""

from __future__ import annotations

from everloop.errors import Refused, UsageError
from everloop.ledger import Ledger, SpecApproved
from everloop.project import Approval, Model, Project, Spec, write_spec

__all__ = ["approve"]


def approve(project: Project, model: Model, spec_name: str, *, by: str, ledger: Ledger, note: str = "") -> Spec:
    """The spec with its approval, given to the file as it is now: a later change asks for another.

    A second approval of the same file by anyone changes nothing: the first stands. Raises NotFound for an unknown spec,
    ConfigurationError for one that cannot be read, UsageError for nobody's name, Refused where `roles` in everloop.yaml
    let others approve.
    """
    by = by.strip()
    if not by:
        raise UsageError("nobody's name stands under an approval; say who answers for the spec: --by NAME")
    spec = model.spec(spec_name)
    _refuse_stranger(project, by)
    written = ledger.last("spec.written", spec.name)
    given = ledger.approval(model.name, spec.hash)
    if given is None:
        edited = written is not None and written.payload["spec_hash"] != spec.hash
        ledger.append(
            "spec.approved",
            spec.name,
            SpecApproved(
                model=model.name,
                spec=spec.name,
                spec_hash=spec.hash,
                by=by,
                note=note,
                details={"edited": edited, "parent": spec.parent},
            ),
            actor=by,
            cause=None if written is None else written.seq,
        )
        given = ledger.approval(model.name, spec.hash)
        assert given is not None
    approved = spec.approved(Approval(by=given.by, at=given.at))
    if approved.approval != spec.approval:
        write_spec(model.spec_path(spec.number), approved)
    return approved


def _refuse_stranger(project: Project, by: str) -> None:
    allowed = project.settings.roles.get("approve")
    if allowed is not None and by not in allowed:
        named = ", ".join(allowed) or "nobody"
        raise Refused(f"{by} may not approve specs; roles.approve in everloop.yaml names {named}: ask one of them")
