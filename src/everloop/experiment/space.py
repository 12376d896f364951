"""Where a search looks: each learner's own space, with what model.yaml says of it, and the grids made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any, Final

from everloop.errors import ConfigurationError
from everloop.models import Choice, Distribution, Float, Hyperparameter, Int, Learner, Value

__all__ = ["LearnerSpace", "grid", "learner_spaces"]

_GRID_PARAMETERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSpace:
    """Where a search looks for one learner's hyperparameters.

    searched: by canonical name; fixed: what has one value in every trial; start: where the search begins.
    ample: where it begins a second time, with room for more; None where the learner has no such start.
    said: those of `searched` that model.yaml names.
    """

    learner: Learner
    searched: Mapping[str, Distribution]
    fixed: Mapping[str, Value]
    start: Mapping[str, Value]
    ample: Mapping[str, Value] | None = None
    said: frozenset[str] = frozenset()

    def holds(self, params: Mapping[str, Value]) -> bool:
        """Whether a search may suggest `params`."""
        return all(name in params and space.holds(params[name]) for name, space in self.searched.items())


def learner_spaces(
    learners: Sequence[Learner], said: Mapping[str, Mapping[str, Any]], *, metric: str = ""
) -> dict[str, LearnerSpace]:
    """The space of every learner, by name.

    said: model.yaml's `search.space`: learner → hyperparameter (by any of its names) → a list of values, one value, or
    {low, high, log}. metric: the objective's, which says where a search begins.
    Raises ConfigurationError with every mistake.
    """
    by_name = {learner.name: learner for learner in learners}
    mistakes = [_unknown_learner(name, by_name) for name in said if name not in by_name]
    spaces = {}
    for name, learner in by_name.items():
        spaces[name], wrong = _space(learner, said.get(name, {}), metric)
        mistakes += wrong
    if mistakes:
        raise ConfigurationError(mistakes)
    return spaces


def _unknown_learner(name: str, known: Mapping[str, Learner]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it tries {', '.join(known)}"
    return f"search.space.{name}: the search does not try {name!r}; {hint}"


def _space(learner: Learner, said: Mapping[str, Any], metric: str) -> tuple[LearnerSpace, list[str]]:
    named = {name: item for item in learner.hyperparameters for name in item.names}
    searched: dict[str, Distribution] = {item.name: item.search for item in learner.hyperparameters if item.searched}
    fixed: dict[str, Value] = {}
    mistakes: list[str] = []
    taken: dict[str, str] = {}
    for name, value in said.items():
        where = f"search.space.{learner.name}.{name}"
        if name not in named:
            near = get_close_matches(name, list(named), n=1, cutoff=0.6)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"it has {', '.join(item.name for item in learner.hyperparameters)}"
            )
            mistakes.append(f"{where}: {learner.name} has no such hyperparameter; {hint}")
            continue
        item = named[name]
        if item.name in taken:
            mistakes.append(f"{where}: means the same as {taken[item.name]!r}; keep one")
            continue
        taken[item.name] = name
        found, wrong = _said(item, name, value)
        if wrong is not None:
            mistakes.append(f"{where}: {wrong}")
        elif isinstance(found, Float | Int | Choice):
            searched[item.name] = found
        else:
            assert found is not None
            searched.pop(item.name, None)
            fixed[item.name] = found
    start = {name: _nearest(named[name], named[name].begins(metric), space) for name, space in searched.items()}
    ample = start | {
        name: _nearest(named[name], value, space)
        for name, space in searched.items()
        if (value := named[name].ample) is not None
    }
    return (
        LearnerSpace(
            learner=learner,
            searched=searched,
            fixed=fixed,
            start=start,
            ample=None if ample == start else ample,
            said=frozenset(taken) - fixed.keys(),
        ),
        mistakes,
    )


def _said(item: Hyperparameter, name: str, value: Any) -> tuple[Distribution | Value | None, str | None]:
    """What model.yaml says of one hyperparameter: a distribution or one value; else what is wrong with it."""
    if isinstance(value, Mapping):
        return _range(item, value)
    if isinstance(value, list | tuple):
        options = []
        for one in value:
            ours, wrong = item.said(name, one)
            if wrong is not None:
                return None, f"{one!r} {wrong}"
            options.append(item.clean(ours))  # type: ignore[arg-type]
        if not options or len(set(options)) < len(options):
            return None, f"{value!r} is no list of different values"
        return (options[0] if len(options) == 1 else Choice(tuple(options))), None
    ours, wrong = item.said(name, value)
    return (None, f"{value!r} {wrong}") if wrong is not None else (item.clean(ours), None)  # type: ignore[arg-type]


def _range(item: Hyperparameter, value: Mapping[str, Any]) -> tuple[Distribution | None, str | None]:
    if isinstance(item.search, Choice):
        return None, f"is one of {', '.join(map(str, item.search.options))}, so a list is asked for, no range"
    unknown = sorted(value.keys() - {"low", "high", "log"})
    low, high, log = value.get("low"), value.get("high"), value.get("log", item.search.log)
    if unknown or low is None or high is None or not isinstance(log, bool):
        return None, f"{dict(value)!r} is no range; a range is {{low: NUMBER, high: NUMBER, log: true or false}}"
    for end in (low, high):
        wrong = "is a word, and the ends of a range are numbers" if end in item.words else item.mistake(end)
        if wrong is not None:
            return None, f"{end!r} {wrong}"
    if not low < high or (log and low <= 0):
        why = "low must be below high" if not low < high else "on a logarithmic scale low must be above 0"
        return None, f"{low} to {high} is no range: {why}"
    if isinstance(item.search, Int):
        return Int(int(low), int(high), log=log), None
    return Float(float(low), float(high), log=log), None


def _nearest(item: Hyperparameter, value: Value, space: Distribution) -> Value:
    """`value`, or what is nearest in the space: a penalty of 0, for one, is on no logarithmic scale."""
    if space.holds(value):
        return value
    if isinstance(space, Choice):
        return space.options[0]
    assert not isinstance(value, str)
    return item.clean(space.low if value < space.low else space.high)


def grid(spaces: Mapping[str, LearnerSpace]) -> Iterator[tuple[str, dict[str, Value]]]:
    """Every point of the grid: a learner's name and its hyperparameters.

    A learner whose lists model.yaml gives has the product of those lists and nothing else moves. Another has three
    points, the ends and the middle, of each of the first three hyperparameters that it is searched in.
    """
    for name, space in spaces.items():
        varied = [key for key in space.searched if key in space.said] or list(space.searched)[:_GRID_PARAMETERS]
        points = [_points(space.searched[key]) for key in varied]
        for values in product(*points):
            yield name, {**space.start, **dict(zip(varied, values, strict=True))}


def _points(space: Distribution) -> tuple[Value, ...]:
    if isinstance(space, Choice):
        return space.options
    middle = math.sqrt(space.low * space.high) if space.log else (space.low + space.high) / 2
    if isinstance(space, Int):
        return tuple(dict.fromkeys((space.low, round(middle), space.high)))
    return (space.low, middle, space.high)
