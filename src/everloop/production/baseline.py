"""A run's baseline: its columns are summed up by what the fit leaves of the cores, and the score last."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np
import polars as pl

from everloop.bundle import Graph
from everloop.cores import usable_cores
from everloop.data import (
    EVENT_TIME,
    SCORE,
    WEIGHT,
    Baseline,
    BaselineSums,
    Contract,
    FeatureTree,
    read_contract,
    watched_columns,
)
from everloop.production.run_state import (
    CANDIDATE,
    JUDGED,
    JUDGED_VALIDATION,
    features_of,
    graph_of,
    model_of,
    run_rows,
    spec_of,
    split_of,
)
from everloop.project import Model
from everloop.workflows import RunContext, State

__all__ = ["baseline_of", "begin_baseline", "hasten_baseline"]

_BEGUN = "baseline"
_AT_ONCE = 2
"""Columns that a thread reads and sums up before it looks for further ones: of all of them the memory is not there."""
_FIRST_S = 2.0
"""How long a fit is left alone at first, while it makes its rows over and takes most memory."""


def begin_baseline(context: RunContext, state: State) -> None:
    """Sum up all but the score by a thread that takes only what nobody else wants of the cores."""
    columns = _columns(context, state)
    context.at_hand.keep(_BEGUN, columns)
    if hasattr(os, "SCHED_IDLE"):
        columns.work(last=True)


def hasten_baseline(context: RunContext) -> None:
    """Go on with what was begun by a thread like any other: there are cores to spare now."""
    begun: _Columns | None = context.at_hand.look(_BEGUN)
    if begun is not None:
        begun.work()


def baseline_of(context: RunContext, state: State) -> Baseline:
    """The reference: columns over all rows of the run; the score is missing on the rows that were fitted on."""
    begun: _Columns | None = context.at_hand.take(_BEGUN)
    columns = _columns(context, state)
    if begun is not None and (begun.contract, begun.tree) == (columns.contract, columns.tree):
        columns = begun
    elif begun is not None:
        begun.close()
    held_out = _held_out_scores(context, state, columns.tree)
    score = np.full(state["data"]["rows"], np.nan, dtype=np.float32)
    score[-len(held_out) :] = held_out
    sums = columns.all_summed()
    sums.add(pl.DataFrame({SCORE: score}), threads=1)
    return sums.baseline()


def _columns(context: RunContext, state: State) -> _Columns:
    model = model_of(context, state)
    return _Columns(context, model, read_contract(model), features_of(model, spec_of(context, state)))


class _Columns:
    """The columns of a baseline without its score. contract, tree: what decides which they are."""

    def __init__(self, context: RunContext, model: Model, contract: Contract, tree: FeatureTree) -> None:
        self._context, self._model, self.contract, self.tree = context, model, contract, tree
        self._raw, self._derived = watched_columns(contract, tree)
        self._left = deque(self._raw[at : at + _AT_ONCE] for at in range(0, len(self._raw), _AT_ONCE))
        self._left += [[name] for name in self._derived]
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._pools: list[ThreadPoolExecutor] = []
        self._at_work: list[Future[None]] = []

    def work(self, *, last: bool = False) -> None:
        """Let one more thread work at them. last: after a while, and only where a core is idle."""
        pool = ThreadPoolExecutor(1, initializer=self._come_last if last else self._hurry.set)
        self._pools.append(pool)
        self._at_work.append(pool.submit(self._sum_up))

    def _come_last(self) -> None:
        self._hurry.wait(_FIRST_S)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    def all_summed(self) -> BaselineSums:
        """Once they are, with all cores. Raises what any thread came upon."""
        for _ in range(usable_cores()):
            self.work()
        try:
            for one in self._at_work:
                one.result()
        finally:
            self.close()
        return self._sums

    def close(self) -> None:
        """End with what is being done now."""
        self._left.clear()
        self._hurry.set()
        for pool in self._pools:
            pool.shutdown()

    def _sum_up(self) -> None:
        while names := self._next():
            self._add(names)

    def _next(self) -> list[str]:
        """Columns that are nobody's work yet; none where none are left."""
        with contextlib.suppress(IndexError):
            return self._left.popleft()
        return []

    def _add(self, names: list[str]) -> None:
        with self._lock:
            sums = self._sums
        if names[0] in self._derived:
            made = self.tree.only(names)
            sums.add(made.frame(run_rows(self._context, made.columns)), threads=1)
        else:
            sums.add(run_rows(self._context, names), threads=1)

    @cached_property
    def _sums(self) -> BaselineSums:
        weighted = self._model.data.weight is not None
        rows = run_rows(self._context, [EVENT_TIME, *([WEIGHT] if weighted else [])])
        return BaselineSums(
            rows[EVENT_TIME],
            window=self._model.monitor.every,
            weight=rows[WEIGHT].to_numpy() if weighted else None,
            names=[*self._raw, *self._derived, SCORE],
        )


def _held_out_scores(context: RunContext, state: State, tree: FeatureTree) -> np.ndarray:
    """The candidate's scores on validation and test rows, as `evaluate` found them; float32, shape (v + t,)."""
    test = pl.read_parquet(context.workdir / JUDGED, columns=[CANDIDATE])[CANDIDATE].to_numpy()
    known = context.workdir / JUDGED_VALIDATION
    if known.exists():
        validation = pl.read_parquet(known)[CANDIDATE].to_numpy()
    else:  # no threshold was chosen on them
        rows = split_of(context, state, columns=tree.columns, held_out=True).validation
        validation = Graph(graph_of(context, CANDIDATE)).scores(tree.matrix(rows))
    return np.concatenate([validation, test])
