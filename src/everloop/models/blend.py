"""A blend: configurations that are fitted on the same rows, one after another, and answer with their mean.

As a spec says it: `learner: blend`, and of every member, under its number, its learner and what is said of it:
`1.learner: xgboost`, `1.max_depth: 4`, `2.learner: lightgbm`, …
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from everloop.errors import ConfigurationError
from everloop.models.learner import BLEND
from everloop.models.params import resolve_params, told_params
from everloop.models.registry import learner
from everloop.models.space import Value

__all__ = ["LEAST_MEMBERS", "Member", "blend_params", "each_member", "fitted_learners", "settled", "told"]

LEAST_MEMBERS: Final = 2
_LEARNER: Final = "learner"
_HERE: Final = "hyperparameters."

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of a blend's configurations. params: its hyperparameters as they were said, without its number."""

    number: int
    learner: str
    params: Mapping[str, Any]


def blend_params(members: Iterable[tuple[str, Mapping[str, Value]]]) -> dict[str, Value]:
    """The hyperparameters of a blend of these learners with their own."""
    return {
        f"{number}.{name}": value
        for number, (called, params) in enumerate(members, 1)
        for name, value in {_LEARNER: called, **params}.items()
    }


def each_member(params: Mapping[str, object], do: Callable[[Member], Found]) -> list[Found]:
    """What `do` gives for every member of the blend that `params` says, in the order of their numbers.

    Raises ConfigurationError where they say no blend, and with the mistakes of all members, each under its number.
    """
    found: list[Found] = []
    mistakes: list[str] = []
    for member in _members(params):
        try:
            found.append(do(member))
        except ConfigurationError as error:
            mistakes += [_numbered(mistake, member.number) for mistake in error.mistakes]
    if mistakes:
        raise ConfigurationError(mistakes)
    return found


def settled(
    name: str, params: Mapping[str, object], *, task: str = "classification", own: Path | None = None
) -> dict[str, Value]:
    """Every hyperparameter of the learner `name`, of a blend of every member, by canonical name.

    Raises ConfigurationError with every mistake.
    """
    if name != BLEND:
        return resolve_params(learner(name, task=task, own=own), params)
    members = each_member(params, lambda one: (one.learner, settled(one.learner, one.params, task=task, own=own)))
    return blend_params(members)


def told(
    name: str, params: Mapping[str, Value], *, task: str = "classification", own: Path | None = None
) -> dict[str, Value]:
    """`params` as `settled` gives them in the words of leaderboards and specs: see `told_params`."""
    if name != BLEND:
        return told_params(learner(name, task=task, own=own), params)
    members = each_member(params, lambda one: (one.learner, told(one.learner, one.params, task=task, own=own)))
    return blend_params(members)


def fitted_learners(name: str, params: Mapping[str, object]) -> tuple[str, ...]:
    """The learners that a fit of `name` fits, each once: a blend's members', else itself."""
    if name != BLEND:
        return (name,)
    return tuple(dict.fromkeys(each_member(params, lambda one: one.learner)))


def _members(params: Mapping[str, object]) -> list[Member]:
    said: dict[int, dict[str, object]] = {}
    mistakes: list[str] = []
    for name, value in params.items():
        number, _, own_name = name.partition(".")
        if own_name and number.isdecimal():
            said.setdefault(int(number), {})[own_name] = value
        else:
            mistakes.append(
                f"{_HERE}{name}: a blend has its members' and no other, each under a number: 1.learner, 1.max_depth"
            )
    for at, of in sorted(said.items()):
        called = of.get(_LEARNER)
        if not isinstance(called, str) or called == BLEND:
            got = "nothing" if called is None else repr(called)
            mistakes.append(f"{_HERE}{at}.{_LEARNER}: member {at} needs a learner that is no blend, got {got}")
    if not mistakes and len(said) < LEAST_MEMBERS:
        mistakes.append(f"{_HERE[:-1]}: a blend has {LEAST_MEMBERS} members or more, got {len(said)}; name another")
    if mistakes:
        raise ConfigurationError(mistakes)
    return [
        Member(
            number=number,
            learner=str(of[_LEARNER]),
            params={name: value for name, value in of.items() if name != _LEARNER},
        )
        for number, of in sorted(said.items())
    ]


def _numbered(mistake: str, number: int) -> str:
    """A member's mistake, with its number."""
    if mistake.startswith(_HERE):
        return f"{_HERE}{number}.{mistake.removeprefix(_HERE)}"
    if mistake.startswith(f"{_LEARNER}:"):
        return f"{_HERE}{number}.{mistake}"
    return f"member {number}: {mistake}"
