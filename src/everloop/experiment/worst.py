"""Where a trial fails: parts of the rows ranked by how much more it loses there than elsewhere.

The rows are newer than all that the trial's graph was fitted on. Many parts are asked at once, so what may be called
surely worse is corrected for all of them (Holm): under no difference at all, one is named wrongly in a run of twenty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.errors import NotEnoughData
from everloop.experiment.value_names import value_names
from everloop.project import Objective
from everloop.stats import Interval, excess_p, holm, loss_difference
from everloop.tasks import Evaluated, get_task
from everloop.tasks.numeric_loss import error_bound

__all__ = ["ALPHA", "Segment", "Worst", "cut", "worst_segments"]

Array = np.ndarray[Any, np.dtype[Any]]

ALPHA: Final = 0.05
"""The chance to call any part surely worse where none is."""

MOST_VALUES: Final = 30
"""Values of a column that are parts of their own; the rarer ones are one part together."""

_BINS: Final = 5
_FEW: Final = 10
_MISSING, _OTHERS = "missing", "all others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The rows of one value, or one range of values, of a column.

    loss: the mean there, in [0, 1], of the losses that the objective counts; more: than in all other rows, with its
    95 % interval. metric: the objective's there, None where the rows have none. p: adjusted for all parts asked.
    """

    column: str
    value: str
    rows: int
    positives: int
    loss: float
    more: Interval
    metric: Interval | None
    p: float

    @property
    def surely(self) -> bool:
        """Whether it surely is worse there than elsewhere."""
        return self.p <= ALPHA

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "column": self.column,
            "value": self.value,
            "rows": self.rows,
            "positives": self.positives,
            "loss": self.loss,
            "more": self.more.to_dict(),
            "metric": None if self.metric is None else self.metric.to_dict(),
            "p": self.p,
            "surely": self.surely,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """Where it fails. segments: those that are surely worse first, then by how much more is surely lost there.

    trial: its name; metric: the objective's, and `overall` its value on all rows. asked: how many parts there were.
    """

    model: str
    trial: str
    learner: str
    objective: str
    metric: str
    rows: int
    positives: int
    overall: Interval
    segments: tuple[Segment, ...]
    asked: int
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        sure = [one for one in self.segments if one.surely]
        if not sure:
            return f"of {self.asked} parts of {self.rows:,} rows none is surely worse than the rest"
        named = ", ".join(f"{one.column} = {one.value}" for one in sure[:5])
        more = f" and {len(sure) - 5} more" if len(sure) > 5 else ""
        return f"surely worse than elsewhere, of {self.asked} parts of {self.rows:,} rows: {named}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "model": self.model,
            "trial": self.trial,
            "learner": self.learner,
            "objective": self.objective,
            "metric": self.metric,
            "rows": self.rows,
            "positives": self.positives,
            "overall": self.overall.to_dict(),
            "asked": self.asked,
            "sentence": self.sentence,
            "segments": [one.to_dict() for one in self.segments],
            "notes": list(self.notes),
        }

    def frame(self) -> pl.DataFrame:
        """A row per segment."""
        numbers = dict.fromkeys(("loss", "more", "more_low", "more_high", "metric", "low", "high", "p"), pl.Float64)
        schema = {"column": pl.String, "value": pl.String, "rows": pl.Int64, "positives": pl.Int64}
        records = [
            {
                **{name: getattr(one, name) for name in (*schema, "loss", "p", "surely")},
                "more": one.more.point,
                "more_low": one.more.low,
                "more_high": one.more.high,
                "metric": None if one.metric is None else one.metric.point,
                "low": None if one.metric is None else one.metric.low,
                "high": None if one.metric is None else one.metric.high,
            }
            for one in self.segments
        ]
        return pl.DataFrame(records, schema={**schema, **numbers, "surely": pl.Boolean})

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from everloop.experiment.mine_page import worst_fragment

        return worst_fragment(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cut:
    """A column cut into parts. codes: shape (n,), the part of each row; names: of the parts."""

    codes: Array
    names: tuple[str, ...]


def worst_segments(
    evaluation: Evaluated,
    columns: Mapping[str, pl.Series],
    objective: Objective,
    *,
    task: str,
    most: int,
    seed: int,
) -> tuple[tuple[Segment, ...], int]:
    """The `most` worst parts of the evaluated rows, and how many there were.

    columns: by name, n values each, in the order of the evaluation's rows. Raises NotEnoughData where no row says
    anything about the objective.
    """
    kind = get_task(task)
    losses = kind.losses(
        evaluation.y,
        evaluation.score,
        kind.decide(evaluation.score, evaluation.threshold),
        objective=objective,
        bound=None if kind.decides else error_bound(evaluation.y),
    )
    tells = np.isfinite(losses)
    if not tells.any():
        raise NotEnoughData(f"no row says anything about '{objective}'; take a longer span")
    cuts = {name: cut(values) for name, values in columns.items()}
    found = [
        (name, at, p)
        for name, parts in cuts.items()
        for at, p in enumerate(
            excess_p(losses[tells], evaluation.weights[tells], parts.codes[tells], len(parts.names), seed=seed)
        )
        if not math.isnan(p)
    ]
    if not found:
        return (), 0
    adjusted = holm(np.array([p for _, _, p in found]))
    segments = [
        _segment(evaluation, losses, tells, name, cuts[name], at, float(p), objective, seed=seed, task=task)
        for (name, at, _), p in zip(found, adjusted, strict=True)
    ]
    ranked = sorted(segments, key=lambda one: (not one.surely, -one.more.low, -one.more.point))
    return tuple(ranked[:most]), len(segments)


def _segment(
    evaluation: Evaluated,
    losses: Array,
    tells: Array,
    column: str,
    parts: _Cut,
    at: int,
    p: float,
    objective: Objective,
    *,
    seed: int,
    task: str,
) -> Segment:
    here = parts.codes == at
    own = evaluation.of_rows(here)
    counted, weights = losses[tells], evaluation.weights[tells]
    return Segment(
        column=column,
        value=parts.names[at],
        rows=own.rows,
        positives=get_task(task).positives(own.y),
        loss=float(np.average(counted[here[tells]], weights=weights[here[tells]])),
        more=loss_difference(counted, weights, here[tells]),
        metric=_metric(own, objective.metric, seed=seed),
        p=p,
    )


def _metric(evaluation: Evaluated, metric: str, *, seed: int) -> Interval | None:
    try:
        return evaluation.interval(metric, seed=seed)
    except (NotEnoughData, ValueError):  # one class only, or no replicate with a value
        return None


def cut(values: pl.Series) -> _Cut:
    """A column cut into parts: its values where they are few or texts, else ranges that hold as many rows each."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if (values.dtype.is_numeric() or values.dtype.is_temporal()) and values.n_unique() > _FEW:
        return _ranges(values)
    return _values(values)


def _values(values: pl.Series) -> _Cut:
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    counts = values.alias("value").drop_nulls().value_counts(name="rows")
    # equal counts by value, so that the same rows give the same parts
    found = counts.sort(["rows", "value"], descending=[True, False])["value"].to_list()
    kept = found[:MOST_VALUES]
    place = {value: at for at, value in enumerate(kept)}
    others = len(kept)
    codes = np.array([place.get(value, others) for value in values.to_list()], dtype=np.int64)
    parts = [*value_names(kept), *([_OTHERS] if len(found) > others else [])]
    return _with_missing(codes, parts, values.is_null().to_numpy())


def _ranges(values: pl.Series) -> _Cut:
    missing = values.is_null().to_numpy()
    numbers = values.to_physical().cast(pl.Float64).fill_null(0.0).to_numpy()
    edges = np.unique(np.quantile(numbers[~missing], np.arange(1, _BINS) / _BINS))
    if not values.dtype.is_float():
        edges = np.unique(np.ceil(edges))  # what lies between two days, or two whole numbers, has no name
    codes = np.searchsorted(edges, numbers, side="right").astype(np.int64)
    texts = value_names([_back(edge, values) for edge in edges])
    inner = [f"{low} … {high}" for low, high in pairwise(texts)]
    return _with_missing(codes, [f"below {texts[0]}", *inner, f"from {texts[-1]}"], missing)


def _back(edge: float, values: pl.Series) -> object:
    if not values.dtype.is_temporal():
        return edge
    return pl.Series([int(edge)]).cast(values.dtype)[0]


def _with_missing(codes: Array, names: Sequence[str], missing: Array) -> _Cut:
    if not missing.any():
        return _Cut(codes=codes, names=tuple(names))
    return _Cut(codes=np.where(missing, len(names), codes), names=(*names, _MISSING))
