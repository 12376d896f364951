"""Hyperparameters as people write them → the learner's own, every one, by canonical name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from everloop.errors import ConfigurationError
from everloop.models.learner import Learner, defaults
from everloop.models.space import Hyperparameter, Value

__all__ = ["resolve_params"]


def resolve_params(learner: Learner, params: Mapping[str, object]) -> dict[str, Value]:
    """Every hyperparameter of `learner`: what `params` says, by canonical or native name, and defaults for the rest.

    Raises ConfigurationError with every mistake: an unknown name (naming the likely one), one thing said under two
    names, a value that is not allowed.
    """
    known = {name: item for item in learner.hyperparameters for name in (item.name, *item.aliases)}
    mistakes: list[str] = []
    said: dict[str, tuple[str, Value]] = {}
    for name, value in params.items():
        if name in learner.fixed:
            mistakes += _fixed_mistake(learner, name, value)
        elif name not in known:
            mistakes.append(_unknown(learner, name, tuple(known)))
        else:
            mistakes += _take(learner, known[name], name, value, said)
    if mistakes:
        raise ConfigurationError(mistakes)
    return defaults(learner) | {name: value for name, (_, value) in said.items()}


def _take(
    learner: Learner, item: Hyperparameter, name: str, value: object, said: dict[str, tuple[str, Value]]
) -> list[str]:
    if item.name in said:
        other, _ = said[item.name]
        return [f"hyperparameters.{name}: {learner.name} has it already as {other!r}, which means the same; keep one"]
    wrong = item.mistake(value)
    if wrong is not None or not isinstance(value, float | int | str | bool):
        return [f"hyperparameters.{name}: {value!r} {wrong}; the default of {learner.name} is {item.default}"]
    said[item.name] = (name, item.clean(value))
    return []


def _fixed_mistake(learner: Learner, name: str, value: object) -> list[str]:
    allowed = learner.fixed[name]
    if value in allowed:
        return []
    return [
        f"hyperparameters.{name}: {value!r} cannot be chosen; {learner.name} is fitted with {allowed[0]!r}, remove it"
    ]


def _unknown(learner: Learner, name: str, known: tuple[str, ...]) -> str:
    likely = get_close_matches(name, known, n=1, cutoff=0.6)
    names = ", ".join(item.name for item in learner.hyperparameters) or "no hyperparameters"
    hint = f"did you mean {likely[0]!r}?" if likely else f"it has {names}"
    return f"hyperparameters.{name}: {learner.name} has no such hyperparameter; {hint}"
