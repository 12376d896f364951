"""The rows of a search: features, target and weights of the three parts, in order of time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from everloop.clock import Clock
from everloop.data import (
    TARGET,
    WEIGHT,
    FeatureTree,
    load_features,
    load_rows,
    read_contract,
    time_split,
)
from everloop.errors import NotEnoughData
from everloop.experiment.leaderboard import DataUsed
from everloop.project import Model, Project
from everloop.tasks import Task, get_task

__all__ = ["Part", "SearchRows", "load_search_rows"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """X: Float32, shape (n, k); y: shape (n,), 0 or 1, or numbers; weight: shape (n,), > 0.

    positives: how many rows are; all of them in a regression.
    """

    X: Array
    y: Array
    weight: Array
    positives: int

    @property
    def counts(self) -> tuple[int, int]:
        """Rows and positives."""
        return len(self.y), self.positives


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchRows:
    """Train is the oldest part, test the newest. content: the rows' content hash; hash: that of rows and features."""

    train: Part
    validation: Part
    test: Part
    features: tuple[str, ...]
    source: str
    content: str
    hash: str
    start: datetime
    end: datetime
    left_out: Mapping[str, int]

    def used(self) -> DataUsed:
        """What the leaderboard and the spec say of the rows."""
        return DataUsed(
            source=self.source,
            hash=self.content,
            start=self.start,
            end=self.end,
            features=self.features,
            train=self.train.counts,
            validation=self.validation.counts,
            test=self.test.counts,
            fit_rows=len(self.train.y),
            left_out=dict(self.left_out),
        )


def load_search_rows(project: Project, model: Model, *, clock: Clock) -> SearchRows:
    """What is known now of the model's source, as features, split 70/15/15 by time.

    Raises what loading rows and features raises, and NotEnoughData where a part lacks a class, or a second outcome.
    """
    contract = read_contract(model)
    tree = load_features(model.features_path, contract).tree()
    rows = load_rows(model, contract, as_of=clock.now())
    split, task = time_split(rows.frame), get_task(model.task)
    parts = {
        name: _part(frame, tree, task)
        for name, frame in (("training", split.train), ("validation", split.validation), ("test", split.test))
    }
    for name, part in parts.items():
        _refuse_nothing_to_learn(name, part, model, task)
    start, end = rows.span
    content = rows.content
    return SearchRows(
        train=parts["training"],
        validation=parts["validation"],
        test=parts["test"],
        features=tree.names,
        source=rows.source,
        content=content,
        hash=hashlib.sha256(content.encode() + tree.to_json()).hexdigest(),
        start=start,
        end=end,
        left_out=rows.left_out,
    )


def _part(frame: pl.DataFrame, tree: FeatureTree, task: Task) -> Part:
    y = frame[TARGET].to_numpy()
    return Part(X=tree.matrix(frame), y=y, weight=frame[WEIGHT].to_numpy(), positives=task.positives(y))


def _refuse_nothing_to_learn(name: str, part: Part, model: Model, task: Task) -> None:
    lacking = task.lacks(part.y)
    if lacking is not None:
        needed = "both classes in each part" if task.decides else "outcomes that differ in each part"
        raise NotEnoughData(
            f"the {name} part of {model.name} ({len(part.y):,} rows, split by time) has {lacking}; "
            f"a search needs {needed}: take a longer span"
        )
