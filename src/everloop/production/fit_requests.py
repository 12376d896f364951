"""What is asked of a fit: the spec's learner, or a yardstick, on a run's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from everloop.cores import usable_cores
from everloop.data import TARGET, WEIGHT, FeatureTree, Split, fit_sample
from everloop.models import FitProcess, FitRequest, Validation, fitted_learners, own_content
from everloop.project import Model, Spec, quantile_level
from everloop.tasks import get_task

__all__ = ["FitRequests", "learners_content"]

# A yardstick is there to be beaten by a wide margin; it learns all it can from this many rows.
YARDSTICK_ROWS = 100_000


class FitRequests:
    """The fits of a run: each is made when it is asked for, on validation rows that are made once."""

    def __init__(self, model: Model, spec: Spec, parts: Split, tree: FeatureTree, process: FitProcess) -> None:
        """process: which will fit them, and where their rows are written."""
        self._model, self._spec, self._train = model, spec, parts.train
        self._tree, self._room = tree, process.room
        self._validation = Validation(
            X=tree.matrix(parts.validation, allocate=self._room),
            y=parts.validation[TARGET].to_numpy(),
            weight=parts.validation[WEIGHT].to_numpy(),
        )

    def candidates(self, seeds: Sequence[int]) -> Iterator[FitRequest]:
        """The fit of the spec with each of these seeds, on all cores; the rows are drawn by the spec's own."""
        model, spec = self._model, self._spec
        first = self._request(spec.learner, spec.hyperparameters, most=model.train.rows)
        yield from (replace(first, own=model.own_learners, seed=seed, threads=usable_cores()) for seed in seeds)

    def yardsticks(self, names: Sequence[str]) -> Iterator[FitRequest]:
        """The fits of the yardsticks beside it, as they are by default, all on the same rows."""
        if names:
            first = self._request(names[0], {}, most=YARDSTICK_ROWS)
            yield from (replace(first, learner=name) for name in names)

    def _request(self, learner: str, params: Mapping[str, Any], *, most: int | None) -> FitRequest:
        spec, train = self._spec, self._train
        y, weight = train[TARGET].to_numpy(), train[WEIGHT].to_numpy()
        numeric = not get_task(self._model.task).decides
        chosen = fit_sample(y, weight, most=len(y) if most is None else most, seed=spec.seed, numeric=numeric)
        rows = train if len(chosen.rows) == train.height else train[chosen.rows]
        return FitRequest(
            learner=learner,
            params=params,
            X=self._tree.matrix(rows, allocate=self._room),
            y=y[chosen.rows],
            weight=chosen.weight,
            validation=self._validation,
            seed=spec.seed,
            task=self._model.task,
            categories=self._tree.categories(),
            quantiles=tuple(quantile_level(name) for name in spec.quantiles),
            calibration=spec.calibration,
        )


def learners_content(model: Model, spec: Spec) -> str | None:
    """The sha256 of the learners.py where what the spec fits is defined there; None where it is everloop's own."""
    return own_content(fitted_learners(spec.learner, spec.hyperparameters), own=model.own_learners)
