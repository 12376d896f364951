"""The control arms: what would have been without the loop, on the very same traffic, scored in batch.

**never**: the first version, for ever. **weekly**: its spec fitted anew every week on all that is known then, the
threshold chosen on the newest tenth, and deployed without anybody asking whether it is better.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.bundle import Bundle, Graph
from everloop.data import EVENT_TIME, TARGET, WEIGHT, fit_sample, load_rows, read_contract
from everloop.errors import EverloopError, NotEnoughData
from everloop.project import Model, Spec
from everloop.replay.spans import Flags, Times
from everloop.tasks import decided, get_task
from everloop.traffic import TrafficLog

__all__ = ["WEEK", "Answers", "answers_of", "never_retrained", "weekly_retrained"]

WEEK: Final = timedelta(days=7)
_BLOCK_ROWS: Final = 65_536
_VALIDATION_SHARE: Final = 0.1
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """All matured traffic, by time. features: shape (n, k), float32, as the endpoint computed them.

    decision: what customers were answered. truth: what it turned out to be. version: who answered, shape (n,).
    """

    ids: pl.Series
    times: Times
    truth: Flags
    decision: Flags
    version: np.ndarray[Any, np.dtype[np.int32]]
    features: np.ndarray[Any, np.dtype[np.float32]]


def answers_of(log: TrafficLog, model: Model, first: Bundle, *, as_of: datetime) -> Answers:
    """The log's matured rows, with the features that the first version reads.

    Raises EverloopError where a row lacks one of them.
    """
    names = [f"f_{name}" for name in first.features.names]
    labelled = log.labelled(
        as_of=as_of, delay=model.outcome.delay, absent=model.outcome.absent, target=model.data.target
    )
    missing = [name for name in names if name not in labelled.collect_schema()]
    if missing:
        raise EverloopError(f"the traffic log has no {missing[0]}, which the first version reads")
    frame = labelled.select("prediction_id", "event_time", "outcome", "decision", "answered_version", *names).collect()
    return Answers(
        ids=frame["prediction_id"],
        times=_naive(frame["event_time"]),
        truth=frame["outcome"].to_numpy() > 0.5,
        decision=frame["decision"].to_numpy(),
        version=frame["answered_version"].to_numpy(),
        features=frame.select(names).to_numpy(order="c").astype(np.float32, copy=False),
    )


def _naive(times: pl.Series) -> Times:
    found: Times = times.dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    return found


def never_retrained(answers: Answers, first: Bundle) -> Flags:
    """What the first version decides of every row, shape (n,)."""
    return decided(_scored(first.graph, answers.features), first.threshold)


def _scored(graph: Graph, features: np.ndarray) -> np.ndarray:
    blocks = range(0, len(features), _BLOCK_ROWS)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        parts = list(pool.map(lambda at: graph.scores(features[at : at + _BLOCK_ROWS]), blocks))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def weekly_retrained(
    answers: Answers,
    model: Model,
    first: Bundle,
    spec: Spec,
    *,
    opens_at: datetime,
    closes_at: datetime,
    on_week: Callable[[int], None] = lambda week: None,
) -> Flags:
    """What a model retrained every week decides of every row, shape (n,); in its first week it is the first version."""
    known = _all_rows(answers, model, first)
    decision = never_retrained(answers, first)
    weeks = range(1, -(-int((closes_at - opens_at) / timedelta(hours=1)) // (7 * 24)))

    def one_week(week: int) -> tuple[int, Flags]:
        start = opens_at + week * WEEK
        mine = _between(answers.times, start, start + WEEK)
        found = _retrained(known, model, spec, as_of=start)
        on_week(week)
        return week, decision[mine] if found is None else decided(_scored(found[0], answers.features[mine]), found[1])

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for week, decided_then in pool.map(one_week, weeks):
            start = opens_at + week * WEEK
            decision[_between(answers.times, start, start + WEEK)] = decided_then
    return decision


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Source and traffic together, by time."""

    times: Times
    y: np.ndarray
    weight: np.ndarray
    features: np.ndarray


def _all_rows(answers: Answers, model: Model, first: Bundle) -> _Rows:
    source = load_rows(model, read_contract(model)).frame
    source = source.filter(pl.col(EVENT_TIME).dt.replace_time_zone(None) < pl.lit(answers.times[0].astype(object)))
    return _Rows(
        times=np.concatenate([_naive(source[EVENT_TIME]), answers.times]),
        y=np.concatenate([source[TARGET].to_numpy(), answers.truth.astype(np.float64)]),
        weight=np.concatenate([source[WEIGHT].to_numpy(), np.ones(len(answers.times))]),
        features=np.concatenate([first.features.matrix(source), answers.features]),
    )


def _between(times: Times, start: datetime, end: datetime) -> np.ndarray:
    low, high = (np.datetime64(at.replace(tzinfo=None), "us") for at in (start, end))
    return np.arange(np.searchsorted(times, low), np.searchsorted(times, high))


def _retrained(known: _Rows, model: Model, spec: Spec, *, as_of: datetime) -> tuple[Graph, float] | None:
    """The spec fitted on what is known, and its threshold; None where that lacks a class, so the last one stays."""
    from everloop.models import FitRequest, fit_here

    newest = as_of - model.outcome.delay
    window = timedelta(days=3650) if model.train.window is None else model.train.window
    rows = _between(known.times, newest - window, newest)
    cut = int(len(rows) * (1 - _VALIDATION_SHARE))
    train, validation = rows[:cut], rows[cut:]
    y, weight = known.y[train], known.weight[train]
    sample = fit_sample(y, weight, most=len(y) if model.train.rows is None else model.train.rows, seed=spec.seed)
    request = FitRequest(
        learner=spec.learner,
        params=spec.hyperparameters,
        X=known.features[train[sample.rows]],
        y=y[sample.rows],
        weight=sample.weight,
        compare=known.features[validation[:2_000]],
        seed=spec.seed,
    )
    try:
        graph = Graph(fit_here(request).graph)
        scores = graph.scores(known.features[validation])
        task = get_task(model.task)
        threshold = task.choose_threshold(model.objective, known.y[validation], scores, known.weight[validation])
    except NotEnoughData:
        return None
    return graph, threshold
