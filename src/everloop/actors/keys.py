"""Keys: made, listed, revoked, and taken as proof. They are facts; no table beside the chain knows them.

A key shows who someone is, or, where it has scopes, lets a program ask the endpoint, and is never both: an endpoint's
key lies on machines that nobody should be able to operate the project from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from everloop.actors.actor import Actor, check_name
from everloop.actors.authority import authorise
from everloop.actors.secret import Secret, key_hash, new_secret, same
from everloop.errors import Conflict, NotFound, Refused, UsageError
from everloop.ledger import Fact, KeyCreated, KeyRevoked, Ledger, Transaction, holds_key
from everloop.project import SCOPES, Rate, Scope, named_in

__all__ = [
    "KEY_KINDS",
    "KeyState",
    "MadeKey",
    "create_key",
    "key_states",
    "nobody_has_a_key",
    "proven_by",
    "revoke_key",
]

Roles = Mapping[str, tuple[str, ...]]

KEY_KINDS: Final = ("key.created", "key.revoked")
"""The facts that keys are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """A key as the ledger has it: whose, made and revoked when and by whom.

    sha256: of its text, as `key_hash` gives it. scopes: what it may ask of the endpoint; none for a key that shows who
    someone is. rate: of its requests.
    """

    key: str
    name: str
    sha256: str = field(repr=False)
    scopes: tuple[Scope, ...] = ()
    rate: Rate | None = None
    made_at: datetime
    made_by: str
    first: bool
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    reason: str = ""

    @property
    def live(self) -> bool:
        """Whether it still proves something."""
        return self.revoked_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """A new key. secret: its text, shown this once and kept nowhere; fact: what the ledger keeps."""

    secret: str = field(repr=False)
    key: str
    name: str
    fact: Fact


def create_key(
    ledger: Ledger,
    name: str,
    *,
    by: Actor,
    roles: Roles,
    scopes: Iterable[Scope] = (),
    rate: Rate | None = None,
) -> MadeKey:
    """A key for `name`: one that shows who they are, or where it has scopes, one for the endpoint.

    The first of those that show who someone is asks in a project with roles for no key, and is an operator's: there is
    nobody yet who could prove anything, so whoever can write the ledger may begin, once, and the fact says that it was
    so. Raises Refused where `by` is no operator otherwise, UsageError for a name that is none, and for a rate of what
    never asks the endpoint.
    """
    may = [scope for scope in SCOPES if scope in set(scopes)]
    if rate is not None and not may:
        raise UsageError("a rate is of requests to the endpoint, and this key makes none; say --scope too")
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    secret = new_secret(name)
    with ledger.transaction() as transaction:
        first = not may and nobody_has_a_key(transaction)
        if not first:
            authorise(by, "key", roles)
        elif roles and not named_in(name, roles.get("operator", ())):
            raise Refused(_first_sentence(name, roles))
        told = None if rate is None else str(rate)
        payload = KeyCreated(name=name, key=secret.key, sha256=key_hash(secret), first=first, scopes=may, rate=told)
        if transaction.facts(kind="key.created", subject=secret.key, limit=1):
            raise Conflict(f"another key was given the id {secret.key} at the same time; make it again")
        fact = transaction.append("key.created", secret.key, payload, actor=by.name)
    return MadeKey(secret=secret.text, key=secret.key, name=name, fact=fact)


def nobody_has_a_key(ledger: Ledger | Transaction) -> bool:
    """Whether no key was ever made that shows who someone is; those for the endpoint show nobody."""
    return all(fact.payload.get("scopes") for fact in ledger.facts(kind="key.created"))


def _first_sentence(name: str, roles: Roles) -> str:
    operators = roles.get("operator", ())
    if not operators:
        return "roles in everloop.yaml name no operator, so nobody could make another key; add operator: [NAME] first"
    return f"the first key is an operator's, and {name} is none; make one for {' or '.join(operators)} first"


def revoke_key(ledger: Ledger, which: str, *, by: Actor, roles: Roles, reason: str = "") -> tuple[KeyState, ...]:
    """The key with this id, or every live key of this name, proves nothing from now on.

    Raises Refused where `by` is no operator, or where no operator would have a key left; NotFound where there is none.
    """
    if holds_key(which):
        raise UsageError("that is the secret; a key is revoked by its id or its name, as 'everloop key list' has them")
    with ledger.transaction() as transaction:
        authorise(by, "key", roles)
        states = key_states(transaction)
        named = [state for state in states if which in (state.key, state.name)]
        live = [state for state in named if state.live]
        if not live:
            raise NotFound(_none_to_revoke(which, named))
        left = [state for state in states if state.live and state not in live]
        if roles and _operators(live, roles) and not _operators(left, roles):
            raise Refused(
                f"{which} is the last key of an operator, and then nobody could make another; create one before"
            )
        for state in live:
            payload = KeyRevoked(name=state.name, key=state.key, reason=reason)
            transaction.append("key.revoked", state.key, payload, actor=by.name)
        revoked = {state.key for state in live}
        return tuple(state for state in key_states(transaction) if state.key in revoked)


def _operators(states: Iterable[KeyState], roles: Roles) -> bool:
    return any(not state.scopes and named_in(state.name, roles.get("operator", ())) for state in states)


def _none_to_revoke(which: str, named: list[KeyState]) -> str:
    if named:
        return f"{which} was revoked before, at {named[-1].revoked_at:%Y-%m-%d %H:%M} by {named[-1].revoked_by}"
    return f"there is no key {which}; 'everloop key list' shows them"


def key_states(ledger: Ledger | Transaction) -> tuple[KeyState, ...]:
    """Every key, oldest first."""
    found: dict[str, dict[str, Any]] = {}
    for fact in ledger.facts(kind=KEY_KINDS):
        payload = fact.payload
        if fact.kind == "key.created":
            rate = payload.get("rate")  # facts of earlier versions have neither this nor scopes
            found[payload["key"]] = {name: payload[name] for name in ("key", "name", "sha256", "first")} | {
                "made_at": fact.at,
                "made_by": fact.actor,
                "scopes": tuple(payload.get("scopes", ())),
                "rate": None if rate is None else Rate.parse(rate),
            }
        elif payload["key"] in found:
            ended = {"revoked_at": fact.at, "revoked_by": fact.actor, "reason": payload["reason"]}
            found[payload["key"]] |= ended
    return tuple(KeyState(**fields) for fields in found.values())


def proven_by(ledger: Ledger | Transaction, secrets: Iterable[Secret]) -> Actor | None:
    """The actor whose key this is; None where no key was given.

    secrets: the keys at hand; the first that this ledger knows counts. Raises Refused for keys that it does not know,
    that were revoked, or whose secret is another.
    """
    unknown = []
    for secret in secrets:
        facts = ledger.facts(kind=KEY_KINDS, subject=secret.key)
        if not facts:
            unknown.append(secret.key)
            continue
        made = facts[0].payload
        if not same(secret, made["sha256"]):
            raise Refused(f"the key {secret.key} has another secret than this; copy it again, or ask for a new one")
        if len(facts) > 1:
            gone = facts[1]
            raise Refused(
                f"the key {secret.key} of {made['name']} was revoked at {gone.at:%Y-%m-%d %H:%M} by {gone.actor}; "
                "ask an operator for a new one"
            )
        if made.get("scopes"):
            raise Refused(
                f"the key {secret.key} of {made['name']} is for the endpoint ({', '.join(made['scopes'])}) and shows "
                "nobody here; 'everloop key create NAME' without --scope makes one that does"
            )
        return Actor(name=made["name"], proof="key", evidence={"proof": "key", "key": secret.key})
    if unknown:
        raise Refused(
            f"this project does not know the key {' or '.join(unknown)}: it is another project's, or was never made; "
            "'everloop key list' shows its own"
        )
    return None
