"""The one door: who wants to do what is found out and held against the roles before anything is done."""

from __future__ import annotations

from collections.abc import Mapping

from everloop.actors.actor import Actor
from everloop.actors.authority import Action, authorise
from everloop.actors.credential import given_key
from everloop.actors.keys import nobody_has_a_key, proven_by
from everloop.errors import Refused
from everloop.ledger import Ledger, RolesChanged
from everloop.project import Project

__all__ = ["admit", "is_open", "note_roles"]


def admit(
    project: Project,
    ledger: Ledger,
    action: Action,
    *,
    login: str,
    environment: Mapping[str, str] | None = None,
) -> Actor:
    """The actor who may do this. Without roles it is the login name, as on a laptop.

    login: who the operating system says it is. environment: what EVERLOOP_KEY is read from; None is the process's own.
    Raises Refused. What the roles are is a fact before something is changed under them.
    """
    roles = project.settings.roles
    if is_open(project, action):
        actor = Actor.named(login)
    elif action == "key" and nobody_has_a_key(ledger):
        return Actor.named(login)  # nobody can prove anything yet: the first key
    else:
        proven = proven_by(ledger, given_key(environment))
        actor = Actor.named(login) if proven is None else proven
        authorise(actor, action, roles)
    if action != "read":
        note_roles(ledger, roles, actor)
    return actor


def is_open(project: Project, action: Action) -> bool:
    """Whether the roles ask nobody who they are for this."""
    try:
        authorise(Actor.named("anyone"), action, project.settings.roles)
    except Refused:
        return False
    return True


def note_roles(ledger: Ledger, roles: Mapping[str, tuple[str, ...]], actor: Actor) -> None:
    """Write down that everloop.yaml names others than the ledger has: before somebody acts by it, under their name."""
    now = {role: list(names) for role, names in roles.items()}
    if _kept(ledger) == now:
        return
    with ledger.transaction() as transaction:
        last = transaction.last("roles.changed")
        before = {} if last is None else last.payload["roles"]
        if before != now:
            transaction.append(
                "roles.changed", "everloop.yaml", RolesChanged(roles=now, before=before), actor=actor.name
            )


def _kept(ledger: Ledger) -> Mapping[str, list[str]]:
    last = ledger.last("roles.changed")
    return {} if last is None else last.payload["roles"]
