"""`key`: what shows who somebody is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from everloop.cli.commands import group
from everloop.cli.context import opened
from everloop.cli.daily import AsJson
from everloop.cli.output import lines, say, show, table, when

__all__ = ["keys"]

keys = group("key", "Keys: what shows who somebody is, where everloop.yaml has roles.")


@keys.command("create")
def key_create(
    name: Annotated[str, typer.Argument(help="Whose it is, as everloop.yaml's roles name them: alice, or ci.")],
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once, and kept nowhere."""
    from everloop.actors import create_key

    with opened(may="key") as here:
        made = create_key(here.ledger, name, by=here.actor, roles=here.project.settings.roles)
        held = _roles(here.project.settings.roles, name)
    if as_json:
        show({"key": made.key, "name": made.name, "secret": made.secret, "roles": held, "fact": made.fact.seq})
        return
    lines(made.secret)
    say(f"the key {made.key} of {name}: {_told(held)}. It is shown this once; hand it to nobody else")
    say("it belongs in EVERLOOP_KEY, or in ~/.config/everloop/key with chmod 600")


def _roles(roles: Mapping[str, tuple[str, ...]], name: str) -> list[str]:
    from everloop.project import roles_of

    return list(roles_of(name, roles))


def _told(held: list[str]) -> str:
    return f"by everloop.yaml's roles {', '.join(held)}" if held else "everloop.yaml gives that name no role yet"


@keys.command("list")
def key_list(as_json: AsJson = False) -> None:
    """Every key: whose, since when, until when."""
    from everloop.actors import key_states

    with opened() as here:
        found = key_states(here.ledger)
        roles = here.project.settings.roles
    if as_json:
        names = ("key", "name", "made_at", "made_by", "first", "revoked_at", "revoked_by", "reason")
        show([{name: getattr(one, name) for name in names} | {"roles": _roles(roles, one.name)} for one in found])
        return
    rows = [
        (one.key, one.name, ", ".join(_roles(roles, one.name)) or None, f"{when(one.made_at)} by {one.made_by}",
         None if one.live else f"{when(one.revoked_at)} by {one.revoked_by}")
        for one in found
    ]  # fmt: skip
    table(("key", "name", "roles", "made", "revoked"), rows, empty="no key yet: 'everloop key create NAME' makes one")


@keys.command("revoke")
def key_revoke(
    which: Annotated[str, typer.Argument(metavar="KEY", help="As 'key list' has it; or a name, for all of its keys.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a key show nobody any more, from now on."""
    from everloop.actors import revoke_key

    with opened(may="key") as here:
        gone = revoke_key(here.ledger, which, by=here.actor, roles=here.project.settings.roles, reason=reason)
    if as_json:
        show([{"key": one.key, "name": one.name, "revoked_at": one.revoked_at, "by": one.revoked_by} for one in gone])
        return
    for one in gone:
        lines(f"the key {one.key} of {one.name} is revoked")
