"""What is asked of a fit: the spec's learner, or a yardstick, on a run's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from everloop.cores import usable_cores
from everloop.data import TARGET, WEIGHT, FeatureTree, Split, fit_sample
from everloop.models import FitRequest, Validation, fitted_learners, own_content
from everloop.project import Model, Spec, quantile_level
from everloop.tasks import get_task

__all__ = ["candidate_request", "learners_content", "yardstick_request"]

# A yardstick is there to be beaten by a wide margin; it learns all it can from this many rows.
YARDSTICK_ROWS = 100_000


def candidate_request(
    model: Model, spec: Spec, parts: Split, tree: FeatureTree, *, seed: int | None = None
) -> FitRequest:
    """The fit of the spec, on all cores. seed: of the fit alone, None is the spec's own; the rows are drawn by it."""
    request = _request(model, spec, parts, tree, spec.learner, spec.hyperparameters, most=model.train.rows)
    seed = spec.seed if seed is None else seed
    return replace(request, own=model.own_learners, seed=seed, threads=usable_cores())


def yardstick_request(model: Model, spec: Spec, parts: Split, tree: FeatureTree, learner: str) -> FitRequest:
    """The fit of a yardstick beside it, as it is by default."""
    return _request(model, spec, parts, tree, learner, {}, most=YARDSTICK_ROWS)


def learners_content(model: Model, spec: Spec) -> str | None:
    """The sha256 of the learners.py where what the spec fits is defined there; None where it is everloop's own."""
    return own_content(fitted_learners(spec.learner, spec.hyperparameters), own=model.own_learners)


def _request(
    model: Model,
    spec: Spec,
    parts: Split,
    tree: FeatureTree,
    learner: str,
    params: Mapping[str, Any],
    *,
    most: int | None,
) -> FitRequest:
    y, weight = parts.train[TARGET].to_numpy(), parts.train[WEIGHT].to_numpy()
    numeric = not get_task(model.task).decides
    chosen = fit_sample(y, weight, most=len(y) if most is None else most, seed=spec.seed, numeric=numeric)
    rows = parts.train if len(chosen.rows) == parts.train.height else parts.train[chosen.rows]
    return FitRequest(
        learner=learner,
        params=params,
        X=tree.matrix(rows),
        y=y[chosen.rows],
        weight=chosen.weight,
        validation=Validation(
            X=tree.matrix(parts.validation),
            y=parts.validation[TARGET].to_numpy(),
            weight=parts.validation[WEIGHT].to_numpy(),
        ),
        seed=spec.seed,
        task=model.task,
        categories=tree.categories(),
        quantiles=tuple(quantile_level(name) for name in spec.quantiles),
        calibration=spec.calibration,
    )
