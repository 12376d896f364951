"""A regression's alert: which rows it is far off on, what that costs, what a retrain would repair.

A row is counted as an error where the champion is farther off than on nine tenths of the rows before the change; from
there on the pattern of such rows is found as that of missed positives is.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock
from everloop.data import EVENT_TIME, MIN_POSITIVES, TARGET, WEIGHT, fit_sample
from everloop.errors import EverloopError, NotEnoughData
from everloop.improvement.compared import Compared
from everloop.improvement.cost import Cost, per_day
from everloop.improvement.refit import refitted
from everloop.improvement.retrain import FIT_ROWS, Repair
from everloop.project import Objective, Spec
from everloop.stats import Interval
from everloop.tasks import get_task

__all__ = ["error_limit", "numeric_cost", "numeric_repair"]

_USUAL: Final = 0.9
_HELD_ROWS: Final = 60_000
_TASK: Final = get_task("regression")


def error_limit(known: pl.DataFrame, bundle: Bundle, *, fresh_from: datetime, begin: datetime, most: int) -> float:
    """How far off the champion is on nine of ten rows before the change, in the target's unit.

    known: matured rows in order of time. fresh_from: rows before it may have been fitted on. begin: about when the
    change began. most: how many rows are asked at most, the newest; all of `known` where there are none in between.
    """
    at = pl.col(EVENT_TIME)
    before = known.filter((at >= fresh_from) & (at < begin)).tail(most)
    rows = before if before.height else known.tail(most)
    away = np.abs(rows[TARGET].to_numpy() - bundle.score_frame(rows).score)
    return float(np.quantile(away, _USUAL))


def numeric_cost(
    compared: Compared, *, objective: Objective, since: datetime, expected: float | None, limit: float
) -> Cost:
    """The objective since the change against what was promised, and how many rows a day are farther off than usual."""
    after = compared.since(since)
    now = _interval(compared, after, objective)
    if expected is None and (before := _interval(compared, ~after, objective)) is not None:
        expected = before.point
    many, many_before = (per_day(compared, compared.positive * compared.weight, part) for part in (after, ~after))
    total = int((compared.positive & after).sum())
    told = f"{many:.1f} rows a day are off by more than {limit:.4g}, {many_before:.1f} before"
    if now is not None and expected is not None:
        told = f"{objective.metric} is {now:.3g}, {expected:.3g} was expected; {told}"
    return Cost(
        sentence=told,
        metric=objective.metric,
        now=now,
        expected=expected,
        missed=many,
        missed_before=many_before,
        missed_total=total,
    )


def _interval(compared: Compared, part: np.ndarray, objective: Objective) -> Interval | None:
    if not part.any():
        return None
    outcome, score = compared.outcome[part], compared.score[part]
    try:
        return _TASK.evaluate(outcome, score, weight=compared.weight[part]).interval(objective.metric)
    except NotEnoughData:
        return None


def numeric_repair(
    known: pl.DataFrame,
    bundle: Bundle,
    spec: Spec,
    *,
    since: datetime,
    clock: Clock,
    own: Path | None = None,
) -> Repair:
    """Fit the champion's spec on all known rows but the newer half of those since the change, and judge it on these.

    known: matured rows in order of time. own: the model's learners.py, where it has one.
    """
    new, needed = np.flatnonzero((known[EVENT_TIME] >= since).to_numpy()), 2 * MIN_POSITIVES
    if len(new) < needed:
        return Repair(
            sentence=f"not enough rows of the change are known yet to estimate a retrain: {len(new)} of {needed}",
            known_positives=len(new),
            needed=needed,
        )
    cut, objective = int(new[len(new) // 2]), Objective.parse(spec.objective)
    train, held = known[:cut], known[cut:]
    judge = fit_sample(held[TARGET].to_numpy(), held[WEIGHT].to_numpy(), most=_HELD_ROWS, seed=spec.seed, numeric=True)
    matrix, y = bundle.features.matrix(held[judge.rows]), held[TARGET].to_numpy()[judge.rows]
    try:
        graph = refitted(
            train, bundle.features, spec, spec.hyperparameters, most=FIT_ROWS, clock=clock, own=own, task="regression"
        )
        retrained, champion = (
            _TASK.evaluate(y, score, weight=judge.weight).interval(objective.metric)
            for score in (graph.scores(matrix), bundle.score_matrix(matrix).score)
        )
    except EverloopError as error:
        return Repair(sentence=f"a retrain could not be estimated: {error}", known_positives=len(new), needed=needed)
    return Repair(
        sentence=f"a retrain on what is known by now has {objective.metric} {retrained:.3g} on the {held.height:,} "
        f"newest rows held out from it, the champion {champion:.3g}",
        known_positives=len(new),
        needed=needed,
        positives=held.height,
        retrained=retrained,
        champion=champion,
    )
