"""The hand-over to production: a person or a policy answers for a spec."""

from __future__ import annotations

from typing import Any

from everloop.actors import Actor, note_roles, refuse_unfit_approver
from everloop.errors import Refused, UsageError
from everloop.ledger import Approval as Given
from everloop.ledger import Ledger, SpecApproved
from everloop.project import Approval, Model, Project, Spec, write_spec

__all__ = ["approve", "import_approval"]


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
    given = ledger.approval(model.name, spec.hash)
    if given is None:
        if actor.proof != "policy":
            answers = actor if actor.proven or login is None else Actor.named(login)
            note_roles(ledger, project.settings.roles, answers)
        given = _given(model, spec, by=actor.name, actor=actor.name, ledger=ledger, note=note, **actor.evidence)
    block = spec.approval
    if block is not None and (block.by, block.hash) == (given.by, spec.hash):
        return spec
    approved = spec.approved(Approval(by=given.by, at=given.at, hash=spec.hash))
    if actor.proof != "commit":
        write_spec(model.spec_path(spec.number), approved)
    return approved


def import_approval(project: Project, model: Model, spec: Spec, *, ledger: Ledger, actor: str) -> bool:
    """Bring the approval in the spec's file into a ledger that does not know it; whether there was one to bring.

    The fact says who approved and when, as the block does, and that it was `actor` who brought it. The file is left
    alone. Raises Refused where the block was not given to what the file now says, or by who may not approve: in a
    project with roles a name in a file proves nothing, and a signed commit does.
    """
    block = spec.approval
    if block is None or ledger.approval(model.name, spec.hash) is not None:
        return False
    if block.hash is None:
        raise Refused(
            f"{spec.name}: the approval in its file names no hash, so that nobody can tell what {block.by} approved; "
            f"review it and run 'everloop approve {spec.name} --by NAME'"
        )
    if block.hash != spec.hash:
        raise Refused(
            f"{spec.name} was changed after {block.by} approved it: what was approved has the hash {block.hash[:12]}…, "
            f"and the file's is {spec.hash[:12]}…; review it and run 'everloop approve {spec.name} --by NAME'"
        )
    if project.settings.roles:
        raise Refused(
            f"{spec.name}: that {block.by} approved it is a word in a file, which proves nothing in a project with "
            f"roles; 'everloop approve {spec.name} --signed' takes it from the commit that wrote it, if that is signed"
        )
    refuse_unfit_approver(Actor.named(block.by), spec, project=project, model=model, ledger=ledger)
    at = None if block.at is None else block.at.isoformat()
    _given(model, spec, by=block.by, actor=actor, ledger=ledger, note="", imported=True, approved_at=at)
    return True


def _given(model: Model, spec: Spec, *, by: str, actor: str, ledger: Ledger, note: str, **details: Any) -> Given:
    """Write the fact."""
    written = ledger.last("spec.written", spec.name)
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
            details={"edited": edited, "parent": spec.parent, **details},
        ),
        actor=actor,
        cause=None if written is None else written.seq,
    )
    given = ledger.approval(model.name, spec.hash)
    assert given is not None
    return given
