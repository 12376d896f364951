"""What a step is given."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everloop.clock import Clock
from everloop.ledger import Fact, Key, Ledger, Payload
from everloop.workflows.at_hand import AtHand
from everloop.workflows.run_files import RunFiles

__all__ = ["RunContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """A step's surroundings.

    workdir: the run's own folder, kept. cause: the seq of the fact `run.started`. resources: what the engine's
    owner passed in. attempt: 1 for the first. deadline_s: on the clock's monotonic time, where there is one.
    told: set once `should_stop` said yes; what the step gives after that does not count. at_hand: what earlier steps of
    the run left in this process. files: where runs' folders are kept for machines that share no disk, else None.
    """

    run_id: str
    workflow: str
    step: str
    attempt: int
    workdir: Path
    clock: Clock
    ledger: Ledger
    actor: str
    cause: int
    resources: Any
    deadline_s: float | None
    stopping: Callable[[], bool]
    crash: Callable[[str], None]
    told: threading.Event = field(default_factory=threading.Event)
    at_hand: AtHand = field(default_factory=AtHand)
    files: RunFiles | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def key(self, n: int) -> Key:
        """The key of the step's n-th fact, n ≥ 1: written under it, a repeated step writes once."""
        if n < 1:
            raise ValueError(f"a step's facts are numbered from 1, got {n}")
        return (self.run_id, self.step, n)

    def append(
        self, kind: str, subject: str, payload: Payload | Mapping[str, Any], *, cause: int | None = None
    ) -> Fact:
        """Write the step's next fact, once also when the step is repeated. `cause` defaults to the run's start."""
        cause = self.cause if cause is None else cause
        return self.ledger.append(
            kind, subject, payload, actor=self.actor, cause=cause, key=self.key(next(self._numbers))
        )

    def should_stop(self) -> bool:
        """Whether the run was cancelled, the time is up, or the process wants to end; ask it in long steps."""
        late = self.deadline_s is not None and self.clock.monotonic_s() >= self.deadline_s
        if late or self.stopping():
            self.told.set()
        return self.told.is_set()

    def remaining_s(self) -> float | None:
        """Seconds until the step's time is up, or None where it has no limit."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - self.clock.monotonic_s())

    def crash_point(self, name: str) -> None:
        """A named place where a test may kill the process (`crash_at="at:NAME"`); nothing happens otherwise."""
        self.crash(f"at:{name}")
