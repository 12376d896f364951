"""A trial is given up where it can no longer win: behind half of the others, or out of reach of the best."""

from __future__ import annotations

import pytest

from everloop.experiment.schedule import LEAST_KNOWN, Schedule
from everloop.experiment.space import learner_spaces
from everloop.experiment.suggest import LAG, Suggester
from everloop.experiment.trials import Bound, FoldScore, Trial, combined
from everloop.models import learner


def trial(number: int, newest: float, older: float, *, width: float = 0.01, worth: float = 9.0) -> Trial:
    folds = tuple(
        FoldScore(
            value=value,
            interval={"low": value - width, "point": value, "high": value + width, "level": 0.95},
            worth=share,
            threshold=0.5,
            metrics={},
            fit_s=0.1,
            rows=100,
        )
        for value, share in ((newest, worth), (older, 1.0))
    )
    value, interval = combined(folds)
    return Trial(
        number=number,
        kind="trial",
        learner="lightgbm",
        hyperparameters={},
        status="done",
        value=value,
        interval=interval.to_dict(),
        folds=folds,
    )


def bound_after(trials: list[Trial], *, maximise: bool = True) -> Bound | None:
    """What the first trial that knows all of `trials` must reach on its newest fold."""
    suggester = Suggester(learner_spaces([learner("lightgbm")], {}), method="random", seed=0, maximise=maximise)
    schedule = Schedule(suggester, yardsticks=[], count=None, go_on=lambda: True, maximise=maximise)
    for number in range(1, LAG + len(trials) + 1):
        planned = schedule.next()
        assert planned is not None
        assert planned.number == number
        if number <= len(trials):
            schedule.ended(trials[number - 1])
    return planned.bounds[0] if planned.bounds else None


@pytest.mark.parametrize("maximise", [True, False])
def test_where_the_folds_left_count_little_only_what_is_near_the_best_goes_on(maximise: bool) -> None:
    sign = 1 if maximise else -1
    trials = [trial(number, sign * 0.5 + sign * 0.01 * number, sign * 0.6) for number in range(1, 9)]
    bound = bound_after(trials, maximise=maximise)
    assert bound is not None
    assert bound.why == "from where the folds left would not bring it near trial 8"
    best = trials[-1]
    assert best.range is not None
    near = best.range.low if maximise else best.range.high
    assert bound.value * 0.9 + sign * 0.6 * 0.1 == pytest.approx(near)


def test_where_much_is_left_to_judge_half_of_the_others_is_what_is_asked() -> None:
    trials = [trial(number, 0.5 + 0.01 * number, 0.6 + 0.03 * number, width=0.2, worth=1.0) for number in range(1, 10)]
    bound = bound_after(trials)
    assert bound is not None
    assert bound.value == pytest.approx(0.55)
    assert bound.why == "half of those before it did better than 0.55"


def test_nothing_is_asked_while_few_are_known() -> None:
    assert bound_after([trial(number, 0.5, 0.6) for number in range(1, LEAST_KNOWN)]) is None
