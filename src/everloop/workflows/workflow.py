"""What a run executes: named steps in order, each a function from the state so far to what it adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from everloop.workflows.context import RunContext
from everloop.workflows.result import RunResult

__all__ = ["JSON", "State", "Step", "Workflow"]

JSON: TypeAlias = Any
State: TypeAlias = Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One durable step.

    run: gets the state (the inputs, merged with every earlier step's output) and returns what it adds, as JSON.
    It may be run again after a crash, so running it twice must end like running it once. attempts: how often an
    error is tried in all; a `Refused` never is. timeout_s: after it the run fails with StepTimeout; the function
    is asked to stop by `RunContext.should_stop`, a thread cannot be ended from outside.
    """

    name: str
    run: Callable[[RunContext, State], State]
    attempts: int = 1
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name == "run":
            raise ValueError(f"a step cannot be called {self.name!r}: 'run' names the facts of the run itself")
        if self.attempts < 1:
            raise ValueError(f"step {self.name} has attempts={self.attempts}; 1 or more are possible")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"step {self.name} has timeout_s={self.timeout_s}; more than 0 is possible, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """Steps in order. `on_failure` is called once a step refused or failed, before the run's end is recorded."""

    name: str
    steps: Sequence[Step]
    on_failure: Callable[[RunContext, RunResult], None] | None = None

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError(f"workflow {self.name} has two steps of one name: {', '.join(names)}")
