"""The tasks there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from everloop.errors import NotFound
from everloop.tasks.classification import Classification
from everloop.tasks.regression import Regression
from everloop.tasks.task import Task

__all__ = ["TASKS", "get_task"]

TASKS: Final[Mapping[str, Task]] = MappingProxyType({"classification": Classification(), "regression": Regression()})


def get_task(name: str) -> Task:
    """The task called `name` in model.yaml. Raises NotFound that names those there are."""
    if name not in TASKS:
        raise NotFound(f"there is no task {name!r}; there are {', '.join(TASKS)}: set 'task:' in model.yaml to it")
    return TASKS[name]
