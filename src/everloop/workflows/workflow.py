"""What a run executes: named steps in order, each a function from the state so far to what it adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from everloop.workflows.context import RunContext
from everloop.workflows.result import RunResult

__all__ = ["JSON", "ReadState", "State", "Step", "Workflow"]

JSON: TypeAlias = Any
State: TypeAlias = Mapping[str, JSON]


class ReadState(Mapping[str, JSON]):
    """A state that remembers what was read of it: a step's inputs."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.read: dict[str, JSON] = {}

    def __getitem__(self, name: str) -> JSON:
        value = self.read[name] = self._state[name]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One durable step.

    run: gets the state (the inputs, merged with every earlier step's output) and returns what it adds, as JSON.
    It may be run again after a crash, so running it twice must end like running it once. attempts: how often an
    error is tried in all; a `Refused` never is. first_pause_s: waited after the first failure, twice as long after
    each further one, up to longest_pause_s. timeout_s: after it the step is stopped and the run fails with StepTimeout;
    a step asks `RunContext.should_stop`, and work that cannot ask belongs into a child process.
    """

    name: str
    run: Callable[[RunContext, State], State]
    attempts: int = 1
    first_pause_s: float = 0.2
    longest_pause_s: float = 60.0
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.name in ("", "run", "keep"):
            raise ValueError(f"a step cannot be called {self.name!r}: 'run' and 'keep' are the engine's own names")
        if self.attempts < 1:
            raise ValueError(f"step {self.name} has attempts={self.attempts}; 1 or more are possible")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"step {self.name} has timeout_s={self.timeout_s}; more than 0 is possible, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """Steps in order. `on_failure` is called once a step refused or failed, before the run's end is recorded.

    lane: from a run's inputs, what it must be alone in, such as a model: runs of one lane follow each other; empty for
    none. fold: what makes two requests of a lane the same, as long as the first one waits; empty for nothing.
    """

    name: str
    steps: Sequence[Step]
    lane: Callable[[State], str] = lambda _inputs: ""
    fold: Callable[[State], str] = lambda _inputs: ""
    on_failure: Callable[[RunContext, RunResult], None] | None = None

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError(f"workflow {self.name} has two steps of one name: {', '.join(names)}")

    def named(self, step: str) -> Step:
        """The step of this name. Raises ValueError that names them all."""
        found = next((one for one in self.steps if one.name == step), None)
        if found is None:
            raise ValueError(f"{self.name} has no step {step!r}; it has {', '.join(one.name for one in self.steps)}")
        return found
