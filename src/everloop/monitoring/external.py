"""Versions that something else made and serves: what their traffic is held against.

Such a version has a contract and a baseline, of rows that were scored before or of its own first window, and no graph.
What its metrics are held against is measured on rows that came with scores and outcomes, else on its first matured
windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.bundle import EXTERNAL, BundleParts
from everloop.data import EVENT_TIME, Baseline, Contract, Decoder, FeatureTree, profiled_frame
from everloop.ledger import DataSpan, Estimate, VersionRegistered
from everloop.monitoring.labelled import Counted
from everloop.monitoring.reading import VersionScores
from everloop.monitoring.reference import Expected
from everloop.project import Model
from everloop.tasks import get_task

__all__ = [
    "decision_share",
    "first_metric",
    "first_windows",
    "of_external",
    "parts_of_external",
    "recorded_rows",
    "told_threshold",
]

Array = np.ndarray[Any, Any]

LEAST_REFERENCE_ROWS: Final = 50
"""Of the rows that a share is taken over, what the first matured windows must hold before others are judged by them."""


def parts_of_external(
    model: Model,
    contract: Contract,
    rows: pl.DataFrame,
    score: Array,
    *,
    threshold: float | None,
    weight: Array | None = None,
    metrics: Mapping[str, float] | None = None,
    error_bound: float | None = None,
) -> BundleParts:
    """What an external version's bundle is made of.

    rows: with the contract's columns and `event_time`. score: shape (rows,), NaN where the version's is not known.
    weight: shape (rows,), where the rows stand for several each.
    """
    tree = FeatureTree.of(contract)
    watched = profiled_frame(rows, contract, tree, np.empty((rows.height, 0), np.float32), score.astype(np.float32))
    decides = get_task(model.task).decides
    return BundleParts(
        graph=None,
        features=tree,
        contract=contract,
        baseline=Baseline.build(watched, window=model.monitor.every, weight=weight),
        threshold=threshold,
        metrics={} if metrics is None else metrics,
        spec_hash=EXTERNAL,
        model=model.name,
        learner=EXTERNAL,
        target=model.data.target,
        positive=model.positive_label if decides else None,
        negative=model.negative_label if decides else None,
        task=model.task,
        error_bound=error_bound,
    )


def of_external(
    model: Model,
    bundle: str,
    rows: pl.DataFrame,
    *,
    source: str,
    trigger: str,
    threshold: float | None,
    metrics: Mapping[str, Estimate],
) -> VersionRegistered:
    """The fact of an external version. rows: of its baseline, in order of `event_time`; source: where they are from."""
    times = rows[EVENT_TIME]
    return VersionRegistered(
        model=model.name,
        bundle=bundle,
        run=EXTERNAL,
        spec=EXTERNAL,
        spec_hash=EXTERNAL,
        metrics=dict(metrics),
        data=DataSpan(rows=rows.height, start=times[0], end=times[-1], source=source),
        trigger=trigger,
        threshold=threshold,
        external=True,
    )


def recorded_rows(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Recorded predictions as rows of the contract, with `event_time`; a column that no row had is missing in all."""
    schema = {name: dtype for name, dtype in Decoder(contract).schema.items() if name != EVENT_TIME}
    columns = [
        pl.col(f"in_{name}").cast(dtype, strict=False).alias(name)
        if f"in_{name}" in frame.columns
        else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
    ]
    return frame.select(pl.col("event_time").alias(EVENT_TIME), *columns)


def told_threshold(frame: pl.DataFrame, version: int) -> float | None:
    """The threshold that the version's answers were decided by, where they tell one and the same."""
    told = frame.filter(pl.col("answered_version") == version)["threshold"].drop_nulls().unique()
    return float(told[0]) if len(told) == 1 else None


def decision_share(scores: VersionScores) -> dict[str, Estimate]:
    """The share of positive decisions among a version's rows."""
    rows = int(scores.known.sum())
    return {"decision_share": Estimate(point=float(scores.decision.sum()) / rows, rows=float(rows))} if rows else {}


def first_windows(seen: Sequence[Counted]) -> tuple[Expected | None, Sequence[Counted]]:
    """What a share was in the first matured windows, and the windows after them; None while there are too few rows."""
    successes = n = 0.0
    for place, one in enumerate(seen, start=1):
        successes, n = successes + one.successes, n + one.n
        if n >= LEAST_REFERENCE_ROWS:
            return Expected(successes=successes, n=n), seen[place:]
    return None, ()


def first_metric(name: str, numbers: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """A metric with its interval as it was in the first matured window that could give it. numbers: of windows."""
    for one in numbers:
        found = one.get("metrics", {}).get(name)
        if found is not None and found[1] > 0:
            point, error = found
            return {"point": point, "low": point - 1.96 * error, "high": point + 1.96 * error}
    return None
