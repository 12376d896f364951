"""Who may approve a spec: the roles of the project, and what the model's `approval:` asks besides."""

from __future__ import annotations

from everloop.actors.actor import Actor
from everloop.actors.authority import authorise
from everloop.actors.authors import authors_of, is_author
from everloop.errors import Refused
from everloop.ledger import Ledger
from everloop.project import Model, Project, Spec

__all__ = ["policy_may_approve", "refuse_unfit_approver"]


def refuse_unfit_approver(
    actor: Actor, spec: Spec, *, project: Project, model: Model, ledger: Ledger, login: str | None = None
) -> None:
    """Raise Refused where the actor may not approve this spec.

    login: who runs the command, where that is known besides the name they gave: neither may be the author.
    """
    roles, rule = project.settings.roles, model.approval
    if actor.proof == "policy":
        if not policy_may_approve(project, model, actor.name):
            raise Refused(
                f"{model.name}/model.yaml lets an approver approve (approval.by), and {actor.name} is none; "
                f"everloop.yaml may name it under roles.approver"
            )
        return
    if rule.by is not None and not roles:
        raise Refused(
            f"{model.name}/model.yaml lets an {rule.by} approve, and everloop.yaml names none: "
            f"add roles: {{{rule.by}: [NAME], operator: [NAME]}}, and 'everloop key create NAME' makes their keys"
        )
    authorise(actor, "approve", roles)
    if not rule.not_author:
        return
    authors = authors_of(project, model, spec, ledger)
    for name in (actor.name, login):
        if name is not None and is_author(name, authors):
            raise Refused(
                f"{name} wrote {spec.name}, and {model.name}/model.yaml lets nobody approve their own "
                "(approval.not_author); let someone else review it"
            )


def policy_may_approve(project: Project, model: Model, policy: str) -> bool:
    """Whether a policy approves by itself: where `approval.by` asks for nobody, or the roles name it as one."""
    rule = model.approval
    return rule.by is None or policy in project.settings.roles.get(rule.by, ())
