"""The rows of a search: features, target and weights in order of time, and which of them are for what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from everloop.data import EVENT_TIME, FeatureTree, Rows, load_features, load_rows, read_contract, rows_of
from everloop.errors import NotEnoughData
from everloop.experiment.folds import Folds, plan_folds
from everloop.experiment.leaderboard import DataUsed
from everloop.experiment.trial_rows import TrialRows, trial_rows
from everloop.project import FoldsPlan, Model, format_duration
from everloop.tasks import Task, get_task

__all__ = ["Part", "SearchRows", "load_search_rows", "split_rows"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """X: Float32, shape (n, k); y: shape (n,), 0 or 1, or numbers; weight: shape (n,), > 0."""

    X: Array
    y: Array
    weight: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchRows:
    """All rows that are known, X: Float32, shape (n, k); y, weight: shape (n,); times_us: shape (n,), ascending, UTC.

    categories: place of a feature that is the place of a category → how many there are.
    folds: which of them a trial is fitted and judged on, and which are the test's. content: the rows' content hash;
    hash: that of rows, features and folds.
    """

    X: Array
    y: Array
    weight: Array
    times_us: Array
    folds: Folds
    task: Task
    features: tuple[str, ...]
    source: str
    content: str
    hash: str
    start: datetime
    end: datetime
    left_out: Mapping[str, int]
    categories: Mapping[int, int]

    @property
    def test(self) -> Part:
        """What the winner is judged by, and no trial ever sees."""
        return self.part(self.folds.test)

    def part(self, places: Array) -> Part:
        """The rows at `places`."""
        return Part(X=self.X[places], y=self.y[places], weight=self.weight[places])

    def for_trials(self, *, fit_rows: int, seed: int) -> TrialRows:
        """What workers get: no test row is among them."""
        seen = np.setdiff1d(np.arange(len(self.y)), self.folds.test)
        place = np.full(len(self.y), -1)
        place[seen] = np.arange(seen.size)
        folds = [replace(fold, fitted=place[fold.fitted], judged=place[fold.judged]) for fold in self.folds.folds]
        return trial_rows(
            self.X[seen],
            self.y[seen],
            self.weight[seen],
            folds,
            fit_rows=fit_rows,
            numeric=not self.task.decides,
            seed=seed,
            categories=self.categories,
        )

    def used(self, *, fit_rows: int) -> DataUsed:
        """What the leaderboard and the spec say of the rows."""
        newest = self.folds.newest
        return DataUsed(
            source=self.source,
            hash=self.content,
            start=self.start,
            end=self.end,
            features=self.features,
            rows=len(self.y),
            positives=self.task.positives(self.y),
            train=self._counts(newest.fitted),
            validation=self._counts(np.concatenate([fold.judged for fold in self.folds.folds])),
            test=self._counts(self.folds.test),
            folds=len(self.folds.folds),
            by_time=self.folds.by_time,
            gap=format_duration(self.folds.gap) if self.folds.gap else None,
            note=self.folds.note,
            fit_rows=min(fit_rows, newest.fitted.size),
            left_out=dict(self.left_out),
        )

    def _counts(self, places: Array) -> tuple[int, int]:
        return int(places.size), self.task.positives(self.y[places])


def load_search_rows(
    model: Model,
    *,
    as_of: datetime,
    folds: FoldsPlan | None = None,
    seed: int = 0,
    frame: pl.DataFrame | None = None,
) -> SearchRows:
    """What was known of the model's source at `as_of`, as features, and split into folds and a test part.

    frame: rows to take instead of the source's.
    Raises what loading rows and features raises, and what `split_rows` does.
    """
    contract = read_contract(model)
    tree = load_features(model.features_path, contract).tree()
    if frame is None:
        rows = load_rows(model, contract, as_of=as_of)
    else:
        rows = rows_of(frame, model, contract, source="the frame given", as_of=as_of)
    return split_rows(rows, tree, model, folds=folds, seed=seed)


def split_rows(
    rows: Rows, tree: FeatureTree, model: Model, *, folds: FoldsPlan | None = None, seed: int = 0
) -> SearchRows:
    """The rows as features, split into folds and a test part.

    folds: model.yaml's where None. seed: of folds that are dealt.
    Raises NotEnoughData where a part lacks a class, or a second outcome.
    """
    task = get_task(model.task)
    times_us = rows.frame[EVENT_TIME].to_physical().to_numpy()
    planned = plan_folds(
        times_us,
        rows.y,
        model.search.folds if folds is None else folds,
        delay=model.outcome.delay,
        numeric=not task.decides,
        seed=seed,
    )
    _refuse_nothing_to_learn(planned, rows.y, model, task)
    start, end = rows.span
    content = rows.content
    return SearchRows(
        X=tree.matrix(rows.frame),
        y=rows.y,
        weight=rows.weight,
        times_us=times_us,
        folds=planned,
        task=task,
        features=tree.names,
        source=rows.source,
        content=content,
        hash=hashlib.sha256(content.encode() + tree.to_json() + _places(planned)).hexdigest(),
        start=start,
        end=end,
        left_out=rows.left_out,
        categories=tree.categories(),
    )


def _places(planned: Folds) -> bytes:
    return b"".join(part.astype(np.int64).tobytes() for fold in planned.folds for part in (fold.fitted, fold.judged))


def _refuse_nothing_to_learn(planned: Folds, y: Array, model: Model, task: Task) -> None:
    parts = [("test part", planned.test)]
    for number, fold in enumerate(planned.folds, 1):
        which = "" if len(planned.folds) == 1 else f" of fold {number}"
        parts += [(f"training part{which}", fold.fitted), (f"validation part{which}", fold.judged)]
    for name, places in parts:
        lacking = task.lacks(y[places])
        if lacking is not None:
            needed = "both classes in each part" if task.decides else "outcomes that differ in each part"
            how = "split by time" if planned.by_time else "dealt at random"
            fewer = "" if len(planned.folds) == 1 else ", or fewer folds"
            raise NotEnoughData(
                f"the {name} of {model.name} ({places.size:,} rows, {how}) has {lacking}; "
                f"a search needs {needed}: take a longer span{fewer}"
            )
