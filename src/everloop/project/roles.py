"""Roles: what everloop.yaml's `roles` may say, and whom a role names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from everloop.project.metrics import did_you_mean

__all__ = ["EVERYONE", "ROLES", "RoleName", "check_roles", "named_in", "roles_of"]

RoleName: TypeAlias = Literal["viewer", "scientist", "approver", "operator"]
ROLES: Final[tuple[RoleName, ...]] = get_args(RoleName)
EVERYONE: Final = "*"
"""Stands for anyone who is proven; under `viewer`, for anyone at all."""


def check_roles(value: object) -> object:
    """The mapping with every value a list. Raises ValueError for a role that there is not, or an empty name."""
    if not isinstance(value, dict):
        return value
    for role in value:
        if role not in ROLES:
            # closer to the word than to any role's spelling, and what older projects wrote
            hint = "; did you mean 'approver'?" if role == "approve" else did_you_mean(str(role), ROLES)
            raise ValueError(f"there is no role {role!r}{hint or ''} (the roles are {', '.join(ROLES)})")
    given = {role: [names] if isinstance(names, str) else names for role, names in value.items()}
    for role, names in given.items():
        if isinstance(names, list | tuple) and not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError(f"{role} names {names!r}: every name is a text that is not empty")
    return given


def roles_of(name: str, roles: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The roles that a proven name has, in the order of `ROLES`."""
    return tuple(role for role in ROLES if named_in(name, roles.get(role, ())))


def named_in(name: str, names: tuple[str, ...]) -> bool:
    """Whether a list of names has this one, or everyone."""
    return name in names or EVERYONE in names
