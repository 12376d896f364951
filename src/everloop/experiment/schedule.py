"""Which trial may begin when, and how far it must come to be worth its further folds. It fits nothing itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from everloop.experiment.leaderboard import ranked
from everloop.experiment.suggest import LAG, Suggester, Suggestion
from everloop.experiment.trials import Bound, FoldScore, Trial, combined

__all__ = ["LEAST_KNOWN", "Planned", "Schedule"]

LEAST_KNOWN: Final = 5
"""Trials whose folds must be known before one is given up for being behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A trial to be fitted. bounds: for each fold, what makes the next worth a fit; None asks nothing."""

    kind: Literal["trial", "yardstick"]
    number: int
    suggestion: Suggestion
    bounds: tuple[Bound | None, ...] = ()


class Schedule:
    """The order of one search: yardsticks, then trials, each knowing the results of those `LAG` before it and earlier.

    So the plan is the same however many trials run at once and in whatever order they end.
    """

    def __init__(
        self,
        suggester: Suggester,
        *,
        yardsticks: Sequence[Suggestion],
        count: int | None,
        go_on: Callable[[], bool],
        maximise: bool,
    ) -> None:
        """count: how many trials, None until the suggester has no more. go_on: asked before each but the first."""
        self._suggester, self._go_on = suggester, go_on
        self._maximise, self._best = maximise, max if maximise else min
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

    def _bounds(self) -> tuple[Bound | None, ...]:
        """For each fold but the last the harder of two: the median, and what leaves hope of the best."""
        folds = max((len(trial.folds) for trial in self._known), default=0)
        whole = ranked([trial for trial in self._known if trial.status == "done"], maximise=self._maximise)
        found: list[Bound | None] = []
        for at in range(folds - 1):
            asked = [bound for bound in (self._median(at), self._hope(at, whole)) if bound is not None]
            found.append(self._best(asked, key=lambda bound: bound.value) if asked else None)
        return tuple(found)

    def _median(self, at: int) -> Bound | None:
        """The median of what the known trials had reached together after fold `at`."""
        reached = [combined(trial.folds[: at + 1])[0] for trial in self._known if len(trial.folds) > at]
        if len(reached) < LEAST_KNOWN:
            return None
        middle = median(reached)
        return Bound(value=middle, why=f"half of those before it did better than {middle:.4g}")

    def _hope(self, at: int, whole: Sequence[Trial]) -> Bound | None:
        """What, with as much on the folds after `at` as the best of each had, reaches the best trial's interval.

        whole: the known trials that went through all folds, the best first.
        Behind it a trial would neither win nor be tied, unless it were good where it was not judged as none before it.
        """
        if len(whole) < LEAST_KNOWN:
            return None
        best = whole[0]
        assert best.range is not None
        near = best.range.low if self._maximise else best.range.high
        sofar, after = best.folds[: at + 1], best.folds[at + 1 :]
        tops = [self._best(trial.folds[place].value for trial in whole) for place in range(at + 1, len(best.folds))]
        rest = sum(fold.worth * top for fold, top in zip(after, tops, strict=True))
        value = (_worth(best.folds) * near - rest) / _worth(sofar)
        return Bound(value=value, why=f"from where the folds left would not bring it near trial {best.number}")


def _worth(folds: Sequence[FoldScore]) -> float:
    return sum(fold.worth for fold in folds)
