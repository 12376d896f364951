"""What a role may do: the table, and who is asked for what."""

from __future__ import annotations

from typing import get_args

import pytest

from everloop.actors import ACTIONS, Action, Actor, authorise
from everloop.actors.actor import check_name
from everloop.errors import Refused
from everloop.project import ROLES

ALICE = Actor(name="alice", proof="key")
NOBODY = Actor.named("alice")
SIGNER = Actor(name="alice", proof="commit")


def allowed(actor: Actor, action: Action, roles: dict[str, tuple[str, ...]]) -> bool:
    try:
        authorise(actor, action, roles)
    except Refused:
        return False
    return True


def test_the_table_knows_every_action_and_only_roles() -> None:
    assert set(ACTIONS) == set(get_args(Action))
    assert {role for roles in ACTIONS.values() for role in roles} == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_the_table_says_and_nothing_else(role: str) -> None:
    roles = {role: ("alice",), "viewer": ("alice",)} if role == "viewer" else {role: ("alice",)}
    may = {action for action in ACTIONS if allowed(ALICE, action, roles)}
    assert may == {action for action in ACTIONS if role in ACTIONS[action]} | {"read"}
    expected = {
        "viewer": {"read"},
        "scientist": {"read", "search", "put", "score", "train", "check", "alert", "import"},
        "approver": {"read", "approve"},
        "operator": set(ACTIONS) - {"search", "put", "approve"},
    }
    assert may == expected[role]


@pytest.mark.parametrize("action", ACTIONS)
def test_without_roles_everyone_may_everything_and_with_them_a_word_proves_nothing(action: Action) -> None:
    assert allowed(NOBODY, action, {})
    everything = dict.fromkeys(ROLES, ("alice",))
    assert not allowed(NOBODY, action, everything)
    assert not allowed(Actor.policy("alice"), action, everything)
    assert allowed(ALICE, action, everything)
    assert allowed(SIGNER, action, everything)


def test_reading_is_open_until_a_viewer_is_named() -> None:
    assert allowed(NOBODY, "read", {"approver": ("bob",)})
    assert allowed(NOBODY, "read", {"approver": ("bob",), "viewer": ("*",)})
    assert not allowed(NOBODY, "read", {"viewer": ("bob",)})
    assert not allowed(ALICE, "read", {"viewer": ("bob",)})
    assert allowed(ALICE, "read", {"viewer": ("bob",), "scientist": ("alice",)})


def test_everyone_is_everyone_who_is_proven() -> None:
    assert allowed(ALICE, "approve", {"approver": ("*",)})
    assert not allowed(NOBODY, "approve", {"approver": ("*",)})


def test_a_refusal_says_who_may_and_what_to_do() -> None:
    with pytest.raises(Refused) as told:
        authorise(ALICE, "approve", {"scientist": ("alice",), "approver": ("bob", "carol")})
    assert str(told.value) == (
        "alice may not approve specs: that is for approver, and alice has scientist. "
        "In everloop.yaml they are bob, carol; ask one of them"
    )
    with pytest.raises(Refused, match=r"has no role\. In everloop\.yaml it is nobody; add one under roles\.operator"):
        authorise(ALICE, "rollback", {"approver": ("bob",)})
    with pytest.raises(Refused, match="nothing shows who you are: to roll back give a key; an operator makes it with"):
        authorise(NOBODY, "rollback", {"approver": ("bob",)})


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "policy:on_alert", "a\n", "é", "x" * 65, "control", "Monitor"])
def test_a_name_that_nobody_may_have(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not a name|is what everloop calls"):
        check_name(name)
    assert check_name("alice@bank.example") == "alice@bank.example"
