"""The rows of a search as its workers read them: one matrix, and for each fold which rows of it are for what.

No test row is among them, so no value and no threshold can come from one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from everloop.data import fit_sample
from everloop.experiment.folds import Fold
from everloop.models import Validation

__all__ = ["FoldRows", "TrialRows", "read_trial_rows", "trial_rows", "write_trial_rows"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldRows:
    """Places of rows, ascending. fitted: shape (m,), with `weight`, shape (m,), what each stands for; judged: (n,).

    worth: what the fold counts in a trial's value.
    """

    fitted: Array
    weight: Array
    judged: Array
    worth: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialRows:
    """X: Float32, shape (n, k); y: shape (n,); weight: shape (n,), > 0; folds: the newest first.

    categories: place of a column that holds categories → how many.
    """

    X: Array
    y: Array
    weight: Array
    folds: tuple[FoldRows, ...]
    categories: Mapping[int, int] = field(default_factory=dict)

    def held(self, fold: FoldRows) -> Validation:
        """The rows that `fold` is judged by."""
        places = np.asarray(fold.judged)
        X, y, weight = (np.asarray(array[places]) for array in (self.X, self.y, self.weight))
        return Validation(X=X, y=y, weight=weight)


def trial_rows(
    X: Array,
    y: Array,
    weight: Array,
    folds: Sequence[Fold],
    *,
    fit_rows: int,
    numeric: bool,
    seed: int,
    categories: Mapping[int, int] | None = None,
) -> TrialRows:
    """The rows with, in each fold, at most `fit_rows` to fit on: a seeded sample that is weighted up."""
    parts = []
    for fold in folds:
        sample = fit_sample(y[fold.fitted], weight[fold.fitted], most=fit_rows, seed=seed, numeric=numeric)
        fitted = fold.fitted[sample.rows]
        parts.append(FoldRows(fitted=fitted, weight=sample.weight, judged=fold.judged, worth=fold.worth))
    return TrialRows(X=X, y=y, weight=weight, folds=tuple(parts), categories=dict(categories or {}))


def write_trial_rows(folder: Path, rows: TrialRows) -> None:
    """Lay the rows where workers of this machine map them."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"X": rows.X, "y": rows.y, "weight": rows.weight}
    for at, fold in enumerate(rows.folds):
        arrays |= {f"fitted-{at}": fold.fitted, f"weight-{at}": fold.weight, f"judged-{at}": fold.judged}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    said = {"worth": [fold.worth for fold in rows.folds], "categories": dict(rows.categories)}
    (folder / "folds.json").write_text(json.dumps(said))


@lru_cache(maxsize=2)
def read_trial_rows(folder: Path, laid: int) -> TrialRows:
    """The rows of `write_trial_rows`, mapped. laid: when, so that a worker that lives on reads newer rows anew."""

    def read(name: str) -> Any:
        return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    said = json.loads((folder / "folds.json").read_text())
    folds = tuple(
        FoldRows(fitted=read(f"fitted-{at}"), weight=read(f"weight-{at}"), judged=read(f"judged-{at}"), worth=worth)
        for at, worth in enumerate(said["worth"])
    )
    categories = {int(place): count for place, count in said["categories"].items()}
    return TrialRows(X=read("X"), y=read("y"), weight=read("weight"), folds=folds, categories=categories)
