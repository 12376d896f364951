"""The rows that a search fits on, for whoever fits an estimator of their own to hold against it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.clock import from_us
from everloop.experiment import SearchRows, fragment
from everloop.notebook.frame import Kind, as_kind

__all__ = ["Training", "training_of"]

_BODY: Final = """<p>{{ said }}. Fit on <code>.X</code> and <code>.y</code>; later rows judge what comes of it.</p>"""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """Features and target of the rows that the newest fold of a search is fitted on, the oldest first.

    X: a frame with a Float32 column for each feature; matrix: the same, shape (n, k). y: shape (n,), 0 and 1, of a
    regression numbers. weight: shape (n,), how many rows of the world each stands for. until: the time of the last one.
    What is fitted on them has seen no row that judges it: `use(estimator)` needs no more to be said.
    """

    X: Any
    matrix: Array
    y: Array
    weight: Array
    until: datetime

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows, columns = self.matrix.shape
        share = f", {int(self.y.sum()):,} positives" if set(np.unique(self.y)) <= {0.0, 1.0} else ""
        said = f"{rows:,} rows × {columns} features{share}, up to {self.until:%Y-%m-%d %H:%M} UTC"
        return fragment(_BODY, said=said)


def training_of(rows: SearchRows, kind: Kind) -> Training:
    """The training part of a search's rows, as a frame of `kind`."""
    places = rows.folds.newest.fitted
    part = rows.part(places)
    whole = np.issubdtype(part.y.dtype, np.floating) and rows.task.decides
    return Training(
        X=as_kind(pl.DataFrame(np.ascontiguousarray(part.X), schema=list(rows.features)), kind),
        matrix=part.X,
        y=part.y.astype(np.int64) if whole else part.y,
        weight=part.weight,
        until=from_us(int(rows.times_us[places].max())),
    )
