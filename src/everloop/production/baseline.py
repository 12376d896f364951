"""A run's baseline: its columns are summed up as soon as the rows are there, and the score once they are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

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
from everloop.memory import give_back
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
_AT_ONCE = 2
"""Columns that a thread reads before it sums them up: of all of them the memory is not there."""


def begin_baseline(context: RunContext, state: State, rows: pl.DataFrame) -> None:
    """Sum up all but the score, on all cores but one, beside what the run does until it asks for the baseline.

    rows: those of the run. Each column is let go once it is summed up.
    """
    contract, tree = _watched(context, state)
    begun = _Columns(context, state, contract, tree, rows=rows, threads=max(1, usable_cores() - 1))
    context.at_hand.keep(_BEGUN, begun)


def baseline_of(context: RunContext, state: State) -> Baseline:
    """The reference: columns over all rows of the run; the score is missing on the rows that were fitted on."""
    contract, tree = _watched(context, state)
    columns: _Columns | None = context.at_hand.look(_BEGUN)
    if columns is None or (columns.contract, columns.tree) != (contract, tree):
        columns = _Columns(context, state, contract, tree, threads=usable_cores())
        context.at_hand.keep(_BEGUN, columns)
    held_out = _held_out_scores(context, state, tree)
    score = np.full(state["data"]["rows"], np.nan, dtype=np.float32)
    score[-len(held_out) :] = held_out
    sums = columns.sums()
    sums.add(pl.DataFrame({SCORE: score}), threads=1)
    context.at_hand.drop(_BEGUN)
    return sums.baseline()


def _watched(context: RunContext, state: State) -> tuple[Contract, FeatureTree]:
    """What decides which columns are watched."""
    model = model_of(context, state)
    return read_contract(model), features_of(model, spec_of(context, state))


class _Columns:
    """The columns of a baseline without its score, being summed up."""

    def __init__(
        self,
        context: RunContext,
        state: State,
        contract: Contract,
        tree: FeatureTree,
        *,
        threads: int,
        rows: pl.DataFrame | None = None,
    ) -> None:
        """rows: those of the run; None reads them again, a few columns at a time."""
        self.contract, self.tree = contract, tree
        model, (raw, derived) = model_of(context, state), watched_columns(contract, tree)
        weighted = model.data.weight is not None
        read = partial(_reader, context, rows)
        times = read([EVENT_TIME, *([WEIGHT] if weighted else [])])()
        self._sums = BaselineSums(
            times[EVENT_TIME],
            window=model.monitor.every,
            weight=times[WEIGHT].to_numpy() if weighted else None,
            names=[*raw, *derived, SCORE],
        )
        self._pool = ThreadPoolExecutor(threads)
        groups = (raw[at : at + _AT_ONCE] for at in range(0, len(raw), _AT_ONCE))
        self._added = [self._pool.submit(self._add_raw, read(names)) for names in groups]
        trees = (tree.only([name]) for name in derived)
        self._added += [self._pool.submit(self._add_derived, one, read(one.columns)) for one in trees]
        self._pool.submit(give_back)

    def sums(self) -> BaselineSums:
        """Once they are summed up. Raises what that came upon."""
        for one in self._added:
            one.result()
        return self._sums

    def close(self) -> None:
        """End with what is being done now."""
        self._pool.shutdown(cancel_futures=True)

    def _add_raw(self, read: Callable[[], pl.DataFrame]) -> None:
        self._sums.add(read(), threads=1)

    def _add_derived(self, tree: FeatureTree, read: Callable[[], pl.DataFrame]) -> None:
        self._sums.add(tree.frame(read()), threads=1)


def _reader(context: RunContext, rows: pl.DataFrame | None, names: Sequence[str]) -> Callable[[], pl.DataFrame]:
    """What gives these columns of the run's rows: those that are here, of which it holds no others, or the file's."""
    if rows is None:
        return partial(run_rows, context, names)
    columns = rows.select(names)
    return lambda: columns


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
