"""The hand-over: someone answers for a spec, and the ledger keeps it. The block in the file is the fact's copy."""

from __future__ import annotations

from everloop.actors import Actor, note_roles, refuse_unfit_approver
from everloop.errors import UsageError
from everloop.ledger import Ledger, SpecApproved
from everloop.project import Approval, Model, Project, Spec, write_spec

__all__ = ["approve"]


def approve(
    project: Project,
    model: Model,
    spec_name: str,
    *,
    by: str | Actor,
    ledger: Ledger,
    note: str = "",
    login: str | None = None,
) -> Spec:
    """The spec with its approval, given to the file as it is now: a later change asks for another.

    by: who approves; a mere name is nobody's proof, and enough where everloop.yaml has no roles. login: who runs it.
    A second approval of the same file by anyone changes nothing: the first stands. Raises NotFound for an unknown spec,
    ConfigurationError for one that cannot be read, UsageError for nobody's name, Refused where `roles` in everloop.yaml
    or `approval` in model.yaml let others approve. What a commit approves stays as it was committed.
    """
    actor = by if isinstance(by, Actor) else Actor.named(by.strip())
    if not actor.name:
        raise UsageError("nobody's name stands under an approval; say who answers for the spec: --by NAME")
    spec = model.spec(spec_name)
    refuse_unfit_approver(actor, spec, project=project, model=model, ledger=ledger, login=login)
    written = ledger.last("spec.written", spec.name)
    given = ledger.approval(model.name, spec.hash)
    if given is None:
        if actor.proof != "policy":
            answers = actor if actor.proven or login is None else Actor.named(login)
            note_roles(ledger, project.settings.roles, answers)
        edited = written is not None and written.payload["spec_hash"] != spec.hash
        ledger.append(
            "spec.approved",
            spec.name,
            SpecApproved(
                model=model.name,
                spec=spec.name,
                spec_hash=spec.hash,
                by=actor.name,
                note=note,
                details={"edited": edited, "parent": spec.parent, **actor.evidence},
            ),
            actor=actor.name,
            cause=None if written is None else written.seq,
        )
        given = ledger.approval(model.name, spec.hash)
        assert given is not None
    approved = spec.approved(Approval(by=given.by, at=given.at))
    if approved.approval != spec.approval and actor.proof != "commit":
        write_spec(model.spec_path(spec.number), approved)
    return approved
