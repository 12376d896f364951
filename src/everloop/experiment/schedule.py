"""Which trial may begin when, and how far it must come to be worth its further folds. It fits nothing itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from everloop.experiment.suggest import LAG, Suggester, Suggestion
from everloop.experiment.trials import Trial, combined

__all__ = ["LEAST_KNOWN", "Planned", "Schedule"]

LEAST_KNOWN: Final = 5
"""Trials whose folds must be known before one is given up for being behind their median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A trial to be fitted. bounds: for each fold, what the folds up to it must reach together; None asks nothing."""

    kind: Literal["trial", "yardstick"]
    number: int
    suggestion: Suggestion
    bounds: tuple[float | None, ...] = ()


class Schedule:
    """The order of one search: yardsticks, then trials, each knowing the results of those `LAG` before it and earlier.

    So the plan is the same however many trials run at once and in whatever order they end.
    """

    def __init__(
        self, suggester: Suggester, *, yardsticks: Sequence[Suggestion], count: int | None, go_on: Callable[[], bool]
    ) -> None:
        """count: how many trials, None until the suggester has no more. go_on: asked before each but the first."""
        self._suggester, self._go_on = suggester, go_on
        self._yardsticks = deque(enumerate(yardsticks, 1))
        self._of_yardsticks = len(yardsticks)
        self._last = suggester.size if count is None else min(count, suggester.size or count)
        self._next = 1
        self._ended: dict[int, Trial] = {}
        self._known: list[Trial] = []

    @property
    def total(self) -> int | None:
        """How many there will be with the yardsticks."""
        return None if self._last is None else self._last + self._of_yardsticks

    def next(self) -> Planned | None:
        """What may begin now; None while it has to wait for one that runs, and at the end."""
        if self._yardsticks:
            number, suggestion = self._yardsticks.popleft()
            return Planned(kind="yardstick", number=number, suggestion=suggestion)
        number = self._next
        if (self._last is not None and number > self._last) or not self._learned(number - LAG):
            return None
        found = self._suggester.ask() if number == 1 or self._go_on() else None
        if found is None:
            self._last = number - 1
            return None
        self._next += 1
        return Planned(kind="trial", number=number, suggestion=found, bounds=self._bounds())

    def ended(self, trial: Trial) -> None:
        """A planned trial has its result."""
        if trial.kind == "trial":
            self._ended[trial.number] = trial

    def _learned(self, last: int) -> bool:
        """Tell the results of the trials up to `last`, in order; whether all of them are there."""
        while len(self._known) < last:
            trial = self._ended.get(len(self._known) + 1)
            if trial is None:
                return False
            given_up_after = len(trial.folds) if trial.status == "pruned" else None
            self._suggester.tell(trial.number, trial.value, given_up_after=given_up_after)
            self._known.append(trial)
        return True

    def _bounds(self) -> tuple[float | None, ...]:
        """The median of what the known trials had reached together after each fold."""
        folds = max((len(trial.folds) for trial in self._known), default=0)
        reached = [
            [combined(trial.folds[: at + 1])[0] for trial in self._known if len(trial.folds) > at]
            for at in range(folds)
        ]
        return tuple(median(values) if len(values) >= LEAST_KNOWN else None for values in reached)
