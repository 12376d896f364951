"""Hyperparameters as people write them → the learner's own, every one, by canonical name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from everloop.errors import ConfigurationError
from everloop.models.learner import Learner, defaults
from everloop.models.space import Hyperparameter, Value

__all__ = ["NOT_HERE", "resolve_params", "told_params"]

_SEED: Final = "a spec says it for everything that is drawn, beside its hyperparameters: `seed: 7`"
_THREADS: Final = "how many threads a fit takes is decided where it runs, and never changes what comes out; remove it"
_TALK: Final = "a fit says nothing on its way; remove it"
_METRIC: Final = "what stops a fit early is the log-loss on validation rows, and nothing else is measured; remove it"
NOT_HERE: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("seed", "random_seed", "random_state"), _SEED)
    | dict.fromkeys(("n_jobs", "nthread", "nthreads", "num_thread", "num_threads"), _THREADS)
    | dict.fromkeys(("verbosity", "verbose", "silent"), _TALK)
    | dict.fromkeys(("eval_metric", "metric", "metrics", "metric_types"), _METRIC)
)
"""What libraries take beside hyperparameters, and where it is said here."""


def resolve_params(learner: Learner, params: Mapping[str, object]) -> dict[str, Value]:
    """Every hyperparameter of `learner`: what `params` says, by canonical or native name, and defaults for the rest.

    Raises ConfigurationError with every mistake: an unknown name (naming the likely one), one thing said under two
    names, a value that is not allowed.
    """
    known = {name: item for item in learner.hyperparameters for name in item.names}
    mistakes: list[str] = []
    said: dict[str, tuple[str, Value]] = {}
    for name, value in params.items():
        if name in learner.fixed:
            mistakes += _fixed_mistake(learner, name, value)
        elif name not in known and name in NOT_HERE:
            mistakes.append(f"hyperparameters.{name}: {NOT_HERE[name]}")
        elif name not in known:
            mistakes.append(_unknown(learner, name, tuple(known)))
        else:
            mistakes += _take(learner, known[name], name, value, said)
    if mistakes:
        raise ConfigurationError(mistakes)
    return defaults(learner) | {name: value for name, (_, value) in said.items()}


def told_params(learner: Learner, params: Mapping[str, Value]) -> dict[str, Value]:
    """`params` as leaderboards and specs name them: what no search tries only where it is not its default.

    So a hyperparameter that is added some day leaves the specs alone that were written before it.
    """
    fixed = {item.name: item.clean(item.default) for item in learner.hyperparameters if not item.searched}
    return {name: value for name, value in params.items() if name not in fixed or value != fixed[name]}


def _take(
    learner: Learner, item: Hyperparameter, name: str, value: object, said: dict[str, tuple[str, Value]]
) -> list[str]:
    if item.name in said:
        other, _ = said[item.name]
        return [f"hyperparameters.{name}: {learner.name} has it already as {other!r}, which means the same; keep one"]
    ours, wrong = item.said(name, value)
    if wrong is not None or not isinstance(ours, float | int | str | bool):
        return [f"hyperparameters.{name}: {value!r} {wrong}; the default of {learner.name} is {item.default}"]
    said[item.name] = (name, item.clean(ours))
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
