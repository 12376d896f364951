"""One fit of numbers: a standardised target in, a graph out that gives its unit back and agrees with its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from everloop.bundle.graph import Graph
from everloop.errors import ConfigurationError, NotEnoughData
from everloop.models.agreement import COMPARED_ROWS, checked_scores, compared_rows, refuse_disagreement
from everloop.models.learner import FittedModel, Learner, Training, Validation
from everloop.models.missing import filled
from everloop.models.regression.graph import numeric_graph
from everloop.models.regression.quantiles import LEAST_ROWS, ResidualBand, shifts
from everloop.models.regression.target_scale import TargetScale

__all__ = ["FittedNumbers", "QuantileLearner", "check_quantiles", "fit_numbers", "refuse_one_outcome"]


@runtime_checkable
class QuantileLearner(Protocol):
    """A learner that can be asked for a quantile itself."""

    def fit_quantile(self, training: Training, level: float, rounds: int | None) -> FittedModel:
        """The model of the quantile at `level`, in (0, 1). rounds: as many as the score's kept, None for all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedNumbers:
    """A fitted model in the target's own unit; the reference that its graph is held against.

    boosters or band, and shift: what quantiles come from; all empty where there are none.
    """

    model: FittedModel
    scale: TargetScale
    boosters: tuple[FittedModel, ...] = ()
    band: ResidualBand | None = None
    shift: np.ndarray | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The score per row, float64, shape (n,)."""
        return self.scale.restored(checked_scores(self.model, X))

    def quantiles(self, X: np.ndarray) -> np.ndarray:
        """The quantiles per row, rising, float64, shape (n, q)."""
        assert self.shift is not None
        raw = _raw(self.model, self.boosters, self.band, X)
        return np.sort(self.scale.restored(raw + self.shift), axis=1)

    def graph(self, *, fill: np.ndarray, row_block: int) -> bytes:
        """The graph that is served."""
        return numeric_graph(
            self.model.onnx(),
            scale=self.scale,
            fill=fill,
            row_block=row_block,
            boosters=[booster.onnx() for booster in self.boosters],
            band=self.band,
            shift=self.shift,
        )

    def largest_difference(
        self, graph: bytes, rows: np.ndarray, *, fill: np.ndarray, seed: int, most: int = COMPARED_ROWS
    ) -> float:
        """The largest difference of graph and model on `rows`, in usual distances of the target.

        rows: float32, shape (n, k), n ≥ 1; `most` of them at most, drawn by `seed`, are compared.
        Raises GraphDisagrees where it is more than `models.AGREEMENT`.
        """
        both = compared_rows(rows, most=most, seed=seed)
        kept = filled(both, fill)
        score, quantiles = Graph(graph).predictions(both)
        gaps = np.abs(score - self.scores(kept))
        if quantiles is not None:
            gaps = np.maximum(gaps, np.abs(quantiles - self.quantiles(kept)).max(axis=1))
        return refuse_disagreement(gaps / self.scale.spread)


def fit_numbers(
    item: Learner,
    training: Training,
    levels: Sequence[float],
    *,
    fit: Callable[[Training], FittedModel] | None = None,
) -> FittedNumbers:
    """The learner's model of the training rows, and the quantiles at `levels`, set on its validation rows.

    training: with y in the target's unit. fit: in place of the learner's own, where what it raises is to be told.
    """
    scale = TargetScale.of(training.y, training.weight)
    inner = _standardised(training, scale)
    model = (item.fit if fit is None else fit)(inner)
    if not levels:
        return FittedNumbers(model=model, scale=scale)
    validation = inner.validation
    assert validation is not None
    if isinstance(item, QuantileLearner):
        rounds = getattr(model, "rounds", None)
        boosters = tuple(item.fit_quantile(inner, level, rounds) for level in levels)
        raw = _raw(model, boosters, None, validation.X)
        shift = shifts(validation.y, raw, validation.weights, levels)
        return FittedNumbers(model=model, scale=scale, boosters=boosters, shift=shift)
    # every other row for the lines, the others for the shift: what was fitted on cannot say how much it covers
    half, rest = slice(0, None, 2), slice(1, None, 2)
    scores, weights = model.scores(validation.X), validation.weights
    band = ResidualBand.of(validation.y[half], scores[half], weights[half], levels)
    shift = shifts(validation.y[rest], band.around(scores[rest]), weights[rest], levels)
    return FittedNumbers(model=model, scale=scale, band=band, shift=shift)


def _raw(model: FittedModel, boosters: Sequence[FittedModel], band: ResidualBand | None, X: np.ndarray) -> np.ndarray:
    """Quantiles before they are moved and sorted, standardised, shape (n, q)."""
    if band is not None:
        return band.around(model.scores(X))
    return np.column_stack([booster.scores(X) for booster in boosters])


def _standardised(training: Training, scale: TargetScale) -> Training:
    validation = training.validation
    if validation is not None:
        validation = replace(validation, y=scale.standardised(validation.y))
    return replace(training, y=scale.standardised(training.y), validation=validation)


def refuse_one_outcome(learner: str, y: np.ndarray) -> None:
    """Raise NotEnoughData where there is nothing to learn: no row, or one outcome only."""
    if len(y) == 0 or y.min() == y.max():
        told = "none" if len(y) == 0 else f"all of them {y[0]:g}"
        raise NotEnoughData(
            f"{learner} has {len(y):,} rows to learn from, {told}; it needs outcomes that differ: "
            "take a longer span, or look at the target"
        )


def check_quantiles(learner: str, levels: Sequence[float], validation: Validation | None, *, task: str) -> None:
    """Raise where quantiles are asked for and cannot be given."""
    if not levels:
        return
    if task != "regression":
        raise ConfigurationError([f"quantiles: a {task} has none; they are for a regression, leave them out"])
    rows = 0 if validation is None else len(validation.y)
    if rows < LEAST_ROWS:
        raise NotEnoughData(
            f"the quantiles of {learner} are set on validation rows, and {rows} are fewer than the {LEAST_ROWS} that "
            "takes; take a longer span, or say quantiles: []"
        )
