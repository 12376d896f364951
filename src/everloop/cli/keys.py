"""`key`: what shows who somebody is, and what lets programs ask the endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.commands import group
from everloop.cli.context import opened
from everloop.cli.daily import AsJson
from everloop.cli.output import lines, say, show, table, when

if TYPE_CHECKING:
    from everloop.actors import KeyState
    from everloop.project import Rate, Scope

__all__ = ["keys"]

keys = group("key", "Keys: who people are, and which programs may ask.")


@keys.command("create")
def key_create(
    name: Annotated[
        str | None,
        typer.Argument(help="Whose it is, as everloop.yaml's roles name them: alice, or ci. Of a service: checkout."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="For the endpoint: predict, outcomes, operate; several by commas or repeated."),
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Of its requests to the endpoint, such as 100/s.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once, and kept nowhere.

    Without --scope it shows who someone is, where everloop.yaml has roles. With it a program may ask the endpoint.
    """
    from everloop.actors import create_key

    scopes, limit = _scopes(scope), _rate(rate)
    if name is None and not scopes:
        raise typer.BadParameter("say whose key it is, NAME, or what it may ask of the endpoint, --scope predict")
    name = "+".join(scopes) if name is None else name
    with opened(may="key") as here:
        roles = here.project.settings.roles
        made = create_key(here.ledger, name, by=here.actor, roles=roles, scopes=scopes, rate=limit)
        held = [] if scopes else _roles(roles, name)
    if as_json:
        record = {"key": made.key, "name": made.name, "secret": made.secret, "roles": held, "scopes": scopes}
        show(record | {"rate": rate, "fact": made.fact.seq})
        return
    lines(made.secret)
    told = f"for the {_endpoint(scopes, limit)}" if scopes else _told(held)
    say(f"the key {made.key} of {name}: {told}. It is shown this once; hand it to nobody else")
    if scopes:
        say("callers send it as 'Authorization: Bearer evl_…'; running endpoints know it within 2 s")
    else:
        say("it belongs in EVERLOOP_KEY, or in ~/.config/everloop/key with chmod 600")


def _scopes(texts: list[str] | None) -> tuple[Scope, ...]:
    from everloop.project import parse_scopes

    try:
        return parse_scopes(texts or ())
    except ValueError as error:
        raise typer.BadParameter(f"--scope: {error}") from None


def _rate(text: str | None) -> Rate | None:
    from everloop.project import Rate

    try:
        return None if text is None else Rate.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"--rate: {error}") from None


def _endpoint(scopes: tuple[Scope, ...], rate: Rate | None) -> str:
    return f"endpoint: {', '.join(scopes)}" + ("" if rate is None else f", at most {rate}")


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
        names = ("key", "name", "made_at", "made_by", "first", "scopes", "revoked_at", "revoked_by", "reason")
        show([
            {name: getattr(one, name) for name in names}
            | {"roles": _held(one, roles), "rate": None if one.rate is None else str(one.rate)}
            for one in found
        ])  # fmt: skip
        return
    rows = [
        (one.key, one.name, _endpoint(one.scopes, one.rate) if one.scopes else ", ".join(_held(one, roles)) or None,
         f"{when(one.made_at)} by {one.made_by}", None if one.live else f"{when(one.revoked_at)} by {one.revoked_by}")
        for one in found
    ]  # fmt: skip
    table(("key", "name", "for", "made", "revoked"), rows, empty="no key yet: 'everloop key create NAME' makes one")


def _held(one: KeyState, roles: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The roles that a key shows; one for the endpoint shows nobody."""
    return [] if one.scopes else _roles(roles, one.name)


@keys.command("revoke")
def key_revoke(
    which: Annotated[str, typer.Argument(metavar="KEY", help="As 'key list' has it; or a name, for all of its keys.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a key show nobody and ask nothing any more, from now on."""
    from everloop.actors import revoke_key

    with opened(may="key") as here:
        gone = revoke_key(here.ledger, which, by=here.actor, roles=here.project.settings.roles, reason=reason)
    if as_json:
        show([{"key": one.key, "name": one.name, "revoked_at": one.revoked_at, "by": one.revoked_by} for one in gone])
        return
    for one in gone:
        lines(f"the key {one.key} of {one.name} is revoked")
