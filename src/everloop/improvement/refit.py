"""The champion's configuration fitted again on rows that were known before others, to see what it says of those."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from everloop.bundle import Graph
from everloop.clock import Clock
from everloop.data import TARGET, WEIGHT, FeatureTree, fit_sample
from everloop.models import FitRequest, Validation, fit, settled, stops_early
from everloop.project import Spec

__all__ = ["refitted"]

_VALIDATION_SHARE: Final = 0.1
_LIMIT_S: Final = 60.0


def refitted(
    train: pl.DataFrame,
    tree: FeatureTree,
    spec: Spec,
    params: Mapping[str, object],
    *,
    most: int,
    clock: Clock,
    own: Path | None = None,
    task: str = "classification",
) -> Graph:
    """The graph of the spec's learner with `params`, fitted on at most `most` of the rows, which are in order of time.

    own: the model's learners.py, where it has one. Where it stops early, the newest tenth of the rows says when:
    held-out rows are for judging it and for nothing else.
    Raises what `models.fit` raises.
    """
    validation = None
    if stops_early(settled(spec.learner, params, task=task, own=own)):
        cut = int(train.height * (1 - _VALIDATION_SHARE))
        newest, train = train[cut:], train[:cut]
        validation = Validation(X=tree.matrix(newest), y=_target(newest), weight=newest[WEIGHT].to_numpy())
    y = _target(train)
    learn = fit_sample(y, train[WEIGHT].to_numpy(), most=most, seed=spec.seed, numeric=task == "regression")
    request = FitRequest(
        learner=spec.learner,
        params=params,
        X=tree.matrix(train[learn.rows]),
        y=y[learn.rows],
        weight=learn.weight,
        validation=validation,
        seed=spec.seed,
        own=own,
        categories=tree.categories(),
        task=task,
    )
    return Graph(fit(request, time_limit_s=_LIMIT_S, clock=clock).graph)


def _target(rows: pl.DataFrame) -> np.ndarray:
    return rows[TARGET].to_numpy()
