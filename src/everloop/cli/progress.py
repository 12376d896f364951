"""What a person sees while they wait; nothing where stderr is no terminal but a line at the end of each step."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from everloop.cli.output import say
from everloop.clock import SystemClock

if TYPE_CHECKING:
    from everloop.experiment import Trial
    from everloop.ledger import Ledger

__all__ = ["RunProgress", "SearchProgress"]

_POLL_S = 0.2


class SearchProgress:
    """A bar over trials, with the best so far and about how long the rest takes."""

    def __init__(self, minutes: float | None = None) -> None:
        """minutes: after which no trial is begun."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._limit_s = None if minutes is None else 60 * minutes
        self._bar = Progress(
            TextColumn("search"),
            BarColumn(bar_width=18),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._clock = SystemClock()
        self._started_s = self._clock.monotonic_s()

    def told(self, trial: Trial | None, best: Trial | None, ended: int, of: int | None) -> None:
        """The search has begun, or one more trial has ended."""
        said = [] if best is None or best.value is None else [f"best {best.value:.3f} {best.learner}"]
        left_s = self._left_s(ended, of)
        if left_s is not None:
            said.append(f"{_roughly(left_s)} left")
        self._bar.update(self._task, completed=ended, total=of, description=", ".join(said))

    def _left_s(self, ended: int, of: int | None) -> float | None:
        """About how long the rest takes: as the trials so far did, and no longer than the limit."""
        took_s = self._clock.monotonic_s() - self._started_s
        guesses = []
        if self._limit_s is not None:
            guesses.append(max(0.0, self._limit_s - took_s))
        if of is not None and ended > 2:
            guesses.append(took_s / ended * (of - ended))
        return min(guesses, default=None)

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()


def _roughly(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class RunProgress:
    """A line for each step of a run as it ends, read from the ledger."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._told: set[str] = set()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            self._tell()

    def _tell(self) -> None:
        for fact in self._ledger.facts(kind="run.step", subject=self._run_id):
            step = fact.payload["step"]
            if step not in self._told:
                self._told.add(step)
                say(f"{self._run_id}  {step:<10} {fact.payload['seconds']:6.1f} s")

    def __enter__(self) -> RunProgress:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watcher.join()
        self._tell()
