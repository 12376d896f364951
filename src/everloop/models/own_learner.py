"""What people write in learners.py: small classes marked `@own_learner`, and how they are read and checked.

    @own_learner
    class ExtraTrees:
        name = "extra_trees"
        hyperparameters = (Hyperparameter(name="n_estimators", search=Int(50, 300), default=100, minimum=1),)

        def fit(self, training: Training) -> FittedPipeline:
            ...

Everything else that a `Learner` has, the mark gives it: no way of its own with missing values, nothing fixed, sixteen
rows at a time, and classification; one of numbers says `task = "regression"`. The file runs in processes that search
and fit; the endpoint has the graph and never reads it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from everloop.errors import ConfigurationError, FitFailed
from everloop.ids import content_id
from everloop.models.learner import Learner
from everloop.models.params import NOT_HERE
from everloop.models.space import Hyperparameter

__all__ = ["OwnLearners", "fit_mistake", "learner_mistakes", "own_learner", "read_learners"]

Kind = TypeVar("Kind", bound=type)

_MARK: Final = "__everloop_learner__"
_TASKS: Final = ("classification", "regression")
_WIDEST_ROW_BLOCK: Final = 1024
_GIVEN: Final[Mapping[str, object]] = MappingProxyType(
    {
        "task": "classification",
        "hyperparameters": (),
        "yardstick": False,
        "reads_missing": False,
        "fixed": MappingProxyType({}),
        # of a matrix product a single row has another kernel; whose model is made of trees may say 1
        "row_block": 16,
        "one_hot": False,
    }
)


def own_learner(kind: Kind) -> Kind:
    """Marks a class in learners.py as a learner of this project, and gives it what it does not say itself.

    name: what specs and model.yaml call it. hyperparameters: a tuple of `Hyperparameter`.
    fit(training): the model, with `scores(X)` and `onnx()`, such as a `FittedPipeline`, or of numbers a
    `FittedRegressor`; a function of `training` alone, whatever the number of threads.
    """
    if not isinstance(kind, type):
        raise ConfigurationError([f"@own_learner marks a class, and {getattr(kind, '__name__', kind)!r} is none"])
    for name, value in _GIVEN.items():
        if not hasattr(kind, name):
            setattr(kind, name, value)
    setattr(kind, _MARK, True)
    return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLearners:
    """The learners of one learners.py.

    shown: how the file is called. lines: where each is defined. content: the file's sha256.
    """

    shown: str
    learners: Mapping[str, Learner]
    lines: Mapping[str, int]
    content: str

    def of(self, task: str) -> dict[str, Learner]:
        """Those for a kind of problem, by name."""
        return {name: item for name, item in self.learners.items() if getattr(item, "task", task) == task}

    def where(self, name: str) -> str:
        """`fraud/learners.py:7`."""
        return f"{self.shown}:{self.lines[name]}"


def read_learners(path: Path) -> OwnLearners:
    """The learners of a file, run once for each content it has. Raises ConfigurationError with every mistake."""
    shown = f"{path.parent.name}/{path.name}"
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigurationError([f"{shown}:1: the file cannot be read: {error.strerror}"]) from error
    return _read(path, shown, content_id(source))


@cache
def _read(path: Path, shown: str, content: str) -> OwnLearners:
    from everloop.data.python_file import run_file

    module = run_file(path, shown=shown, refused=lambda sentence: ConfigurationError([sentence]))
    lines = _class_lines(path)
    learners: dict[str, Learner] = {}
    found: dict[str, int] = {}
    mistakes: list[str] = []
    for kind in vars(module).values():
        if not isinstance(kind, type) or _MARK not in vars(kind):
            continue
        line = lines.get(kind.__name__, 1)
        item, wrong = _made(kind)
        if item is not None and item.name in learners:
            wrong = [f"{kind.__name__} is called {item.name!r}, as another one in line {found[item.name]} is"]
        mistakes += [f"{shown}:{line}: {sentence}" for sentence in wrong]
        if item is not None and not wrong:
            learners[item.name], found[item.name] = item, line
    if mistakes:
        raise ConfigurationError(mistakes)
    return OwnLearners(shown=shown, learners=MappingProxyType(learners), lines=found, content=content)


def _class_lines(path: Path) -> dict[str, int]:
    tree = ast.parse(path.read_bytes())
    return {node.name: node.lineno for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _made(kind: Any) -> tuple[Learner | None, list[str]]:
    try:
        item = kind()
    except Exception as error:  # anything may be raised by a person's own class
        return None, [f"{kind.__name__}() cannot be made without arguments: {error}"]
    wrong = list(learner_mistakes(item))
    return (None if wrong else item), wrong


def learner_mistakes(item: Any) -> Iterator[str]:
    """What keeps an object from being a `Learner`, a sentence each."""
    kind = type(item).__name__
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        yield f'{kind} has the name {name!r}; give it one of letters, digits and underscores: name = "extra_trees"'
    if not callable(getattr(item, "fit", None)):
        yield f"{kind} has no fit(training); it is what makes a model, such as FittedPipeline(estimator)"
    if (missing := [attribute for attribute in _GIVEN if not hasattr(item, attribute) and attribute != "task"]) != []:
        yield f"{kind} has no {', no '.join(missing)}; mark it @own_learner, which gives it what it does not say"
        return
    if getattr(item, "task", "classification") not in _TASKS:
        yield f"{kind} is for the task {item.task!r}; there are {', '.join(_TASKS)}"
    yield from _table_mistakes(kind, item)
    block = item.row_block
    if not isinstance(block, int) or not 1 <= block <= _WIDEST_ROW_BLOCK or block & (block - 1):
        yield f"{kind} has the row_block {block!r}; it is a power of two from 1, for trees, to {_WIDEST_ROW_BLOCK:,}"


def _table_mistakes(kind: str, item: Any) -> Iterator[str]:
    table = item.hyperparameters
    if not isinstance(table, tuple) or not all(isinstance(each, Hyperparameter) for each in table):
        yield f"{kind} has the hyperparameters {table!r:.60}; they are a tuple of Hyperparameter"
        return
    seen = dict.fromkeys(item.fixed, "fixed")
    for each in table:
        for name in each.names:
            if name in NOT_HERE:
                yield f"{kind} has a hyperparameter {name!r}; training.seed and training.threads say such things"
            elif name in seen:
                yield f"{kind} has two meanings for {name!r}: of {each.name} and of {seen[name]}"
            seen.setdefault(name, each.name)


def fit_mistake(path: Path, learner: str, error: Exception) -> FitFailed:
    """What a fit of the file's own raised, as one sentence with its line."""
    from everloop.data.python_file import mistake_in

    said = mistake_in(path, error, shown=f"{path.parent.name}/{path.name}")
    return FitFailed(f"fitting {learner} failed: {said}")
