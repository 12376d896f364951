"""What a person sees while they wait; nothing where stderr is no terminal but a line at the end of each step."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from everloop.cli.output import say

if TYPE_CHECKING:
    from everloop.experiment import Trial
    from everloop.ledger import Ledger

__all__ = ["RunProgress", "SearchProgress"]

_POLL_S = 0.2


class SearchProgress:
    """A bar over trials, with the one that ended last."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("search"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def trial_ended(self, trial: Trial, ended: int, total: int) -> None:
        """One more trial has ended."""
        description = f"{trial.learner} failed" if trial.value is None else f"{trial.learner} {trial.value:.3f}"
        self._bar.update(self._task, completed=ended, total=total, description=description)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
