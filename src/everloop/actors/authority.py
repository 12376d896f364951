"""What a role may do: one table, one function."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from everloop.actors.actor import Actor
from everloop.errors import Refused
from everloop.project import EVERYONE, RoleName, roles_of

__all__ = ["ACTIONS", "Action", "authorise"]

Action: TypeAlias = Literal[
    "alert", "approve", "check", "forget", "import", "key", "operate", "prune", "put", "read", "rollback", "rollout",
    "run", "schedule", "score", "search", "train",
]  # fmt: skip

ACTIONS: Final[Mapping[Action, tuple[RoleName, ...]]] = MappingProxyType(
    {
        "alert": ("scientist", "operator"),
        "approve": ("approver",),
        "check": ("scientist", "operator"),
        "forget": ("operator",),
        "import": ("scientist", "operator"),
        "key": ("operator",),
        "operate": ("operator",),
        "prune": ("operator",),
        "put": ("scientist",),
        "read": ("viewer", "scientist", "approver", "operator"),
        "rollback": ("operator",),
        "rollout": ("operator",),
        "run": ("operator",),
        "schedule": ("operator",),
        "score": ("scientist", "operator"),
        "search": ("scientist",),
        "train": ("scientist", "operator"),
    }
)
"""Which roles may do it. Reading asks nobody until `roles` names a viewer."""

_TOLD: Final[Mapping[Action, str]] = MappingProxyType(
    {
        "alert": "close alerts",
        "approve": "approve specs",
        "check": "judge windows",
        "forget": "forget people",
        "import": "import traffic",
        "key": "make or revoke keys",
        "operate": "run the project's processes",
        "prune": "prune",
        "put": "write specs",
        "read": "read this project",
        "rollback": "roll back",
        "rollout": "move rollouts",
        "run": "cancel, resume or retry runs",
        "schedule": "pause or resume schedules",
        "score": "score new rows",
        "search": "search",
        "train": "train",
    }
)
_HOW: Final = (
    "an operator makes it with 'everloop key create NAME', and it stands in EVERLOOP_KEY or ~/.config/everloop/key"
)


def authorise(actor: Actor, action: Action, roles: Mapping[str, tuple[str, ...]]) -> None:
    """Raise Refused unless the actor may do it. Without roles everyone may everything.

    roles: everloop.yaml's, role -> names. Who changes something is proven, by a key or a signed commit; reading is
    open until `roles` names viewers, and then to every role.
    """
    if not roles or (action == "read" and _all_may_read(roles)):
        return
    if not actor.proven:
        raise Refused(f"this project has roles, and nothing shows who you are: to {_TOLD[action]} give a key; {_HOW}")
    held = roles_of(actor.name, roles)
    if not set(held) & set(ACTIONS[action]):
        allowed = " or ".join(ACTIONS[action])
        has = " and ".join(held) if held else "no role"
        raise Refused(
            f"{actor.name} may not {_TOLD[action]}: that is for {allowed}, and {actor.name} has {has}. "
            f"{_who(action, roles)}"
        )


def _all_may_read(roles: Mapping[str, tuple[str, ...]]) -> bool:
    return "viewer" not in roles or EVERYONE in roles["viewer"]


def _who(action: Action, roles: Mapping[str, tuple[str, ...]]) -> str:
    names = [name for role in ACTIONS[action] for name in roles.get(role, ())]
    if not names:
        return f"In everloop.yaml it is nobody; add one under roles.{ACTIONS[action][0]}"
    return f"In everloop.yaml they are {', '.join(dict.fromkeys(names))}; ask one of them"
