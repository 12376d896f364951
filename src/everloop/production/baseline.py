"""A run's baseline: its columns are summed up while the fit makes its graph on one core, and the score last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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
from everloop.workflows import RunContext, State

__all__ = ["baseline_of", "begin_baseline"]

_BEGUN = "baseline"
_AT_ONCE = 6


def begin_baseline(context: RunContext, state: State) -> None:
    """Sum up all but the score, beside what the run does until it asks for the baseline."""
    model = model_of(context, state)
    contract, tree = read_contract(model), features_of(model, spec_of(context, state))
    context.at_hand.keep(_BEGUN, _Begun(context, state, contract, tree))


def baseline_of(context: RunContext, state: State) -> Baseline:
    """The reference: columns over all rows of the run; the score is missing on the rows that were fitted on."""
    model = model_of(context, state)
    contract, tree = read_contract(model), features_of(model, spec_of(context, state))
    begun: _Begun | None = context.at_hand.take(_BEGUN)
    if begun is not None and (begun.contract, begun.tree) == (contract, tree):
        sums = begun.sums()
    else:
        sums = _summed_columns(context, state, contract, tree, threads=usable_cores())
    held_out = _held_out_scores(context, state, tree)
    score = np.full(state["data"]["rows"], np.nan, dtype=np.float32)
    score[-len(held_out) :] = held_out
    sums.add(pl.DataFrame({SCORE: score}))
    return sums.baseline()


class _Begun:
    """The columns that one core sums up meanwhile. contract, tree: what decides which they are."""

    def __init__(self, context: RunContext, state: State, contract: Contract, tree: FeatureTree) -> None:
        self.contract, self.tree = contract, tree
        self._pool = ThreadPoolExecutor(1)
        threads = max(1, usable_cores() - 1)
        self._summed = self._pool.submit(_summed_columns, context, state, contract, tree, threads=threads)

    def sums(self) -> BaselineSums:
        """Once they are summed up. Raises what that came upon."""
        with self._pool:
            return self._summed.result()

    def close(self) -> None:
        """End with what is being done now."""
        self._pool.shutdown(cancel_futures=True)


def _summed_columns(
    context: RunContext, state: State, contract: Contract, tree: FeatureTree, *, threads: int
) -> BaselineSums:
    """All columns but the score; some are read at a time, so that not all rows are in memory."""
    model = model_of(context, state)
    raw, derived = watched_columns(contract, tree)
    weight = None if model.data.weight is None else run_rows(context, [WEIGHT])[WEIGHT].to_numpy()
    times = run_rows(context, [EVENT_TIME])[EVENT_TIME]
    columns = len(raw) + len(derived) + 1
    sums = BaselineSums(times, window=model.monitor.every, weight=weight, columns=columns)
    for start in range(0, len(raw), _AT_ONCE):
        sums.add(run_rows(context, raw[start : start + _AT_ONCE]), threads=threads)
    if derived:
        made = tree.only(derived)
        sums.add(made.frame(run_rows(context, made.columns)), threads=threads)
    return sums


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
