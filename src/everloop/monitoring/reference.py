"""What a version's traffic is held against: its baseline, and how far quiet windows lie from it by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.bundle import Bundle
from everloop.data import EVENT_TIME, SCORE, Baseline, BaselineColumn
from everloop.ledger import Version
from everloop.stats import Calibration, calibrate

__all__ = ["ColumnReference", "Expected", "Reference", "distance", "reference_of"]

Array = np.ndarray[Any, Any]

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# Below this many quiet windows nothing is calibrated on them; a shift must then be a gross one.
FEW_WINDOWS: Final = 5
# From this many on their own spread says what is unusual, too.
MANY_WINDOWS: Final = 14
# How far from the baseline a window may lie where no or few windows show what is usual.
UNKNOWN_ALLOWANCE: Final = 0.25
# A window's rows come in bursts (one customer, one attack): they count for half as many.
BURST: Final = 2.0


def distance(reference: Array, live: Array, *, ordered: bool) -> Array:
    """Kolmogorov-Smirnov distance of ordered bins, total variation of others; live: shape (..., bins), counts.

    NaN where a side has no rows. As `stats.ks` and `stats.total_variation`, of many windows at once.
    """
    total = live.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = live / total - reference / reference.sum()
    found = np.abs(np.cumsum(gap, axis=-1)).max(axis=-1) if ordered else np.abs(gap).sum(axis=-1) / 2
    return np.asarray(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnReference:
    """One column's reference.

    counts: shape (coarse bins,), the baseline's; rows: how many rows they stand for.
    usual: the largest distance of a quiet window, 0 without windows; windows: how many there were.
    calibration: of quiet windows' distances, None with too few. null_share, most_nulls: the baseline's, and the most
    that a quiet window had. of_time: whether it is made of the row's time, so that half a day looks unlike a day.
    """

    column: BaselineColumn
    counts: Array
    rows: float
    usual: float
    windows: int
    calibration: Calibration | None
    null_share: float
    most_nulls: float
    of_time: bool

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    def allowance(self, *, whole: bool) -> float:
        """How far a quiet window may truly lie from the baseline, sampling aside.

        whole: whether the window is covered by traffic as the baseline's were.
        """
        if self.windows < FEW_WINDOWS:
            usual = UNKNOWN_ALLOWANCE
        else:
            usual = (2.0 if self.windows >= MANY_WINDOWS else 3.0) * self.usual
        return usual if whole else max(usual, UNKNOWN_ALLOWANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A share that was measured on held-out rows: `successes` of `n`, in whole rows; `point` as it was registered."""

    successes: float
    n: float

    @property
    def point(self) -> float:
        """The share."""
        return self.successes / self.n if self.n else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """All that one version's windows are judged by.

    columns: of inputs and features. score: of the score on held-out rows, None where there were too few.
    expected: recall, precision, accuracy and the share of decisions, where registered. metrics: as registered.
    weighted: whether the baseline's rows stood for several each: shares of decisions cannot be compared then.
    threshold: None where the version decides nothing, or by what is not known. usual_rows: of a quiet window.
    decides: whether a score becomes a decision. external: something else serves it, and nothing may be registered.
    positive: the target's value that is the positive class; None for 1 or true.
    """

    version: int
    bundle: str
    baseline: Baseline
    columns: tuple[ColumnReference, ...]
    score: ColumnReference | None
    expected: Mapping[str, Expected]
    metrics: Mapping[str, Mapping[str, Any]]
    threshold: float | None
    weighted: bool
    usual_rows: float
    positive: bool | int | float | str | None
    decides: bool
    external: bool = False


def reference_of(bundle: Bundle, version: Version, *, weighted: bool) -> Reference:
    """The reference of a registered version."""
    baseline = bundle.baseline
    of_time = {name for name in bundle.features.names if EVENT_TIME in bundle.features.only((name,)).columns}
    columns = [
        column_reference(baseline, column, of_time=column.name in of_time)
        for column in baseline.columns
        if column.name != SCORE
    ]
    scored = [column for column in baseline.columns if column.name == SCORE and sum(column.counts) > 0]
    return Reference(
        version=version.number,
        bundle=bundle.id,
        baseline=baseline,
        columns=tuple(columns),
        score=column_reference(baseline, scored[0], of_time=False) if scored else None,
        expected=expected_shares(version.metrics, weighted=weighted),
        metrics=version.metrics,
        threshold=bundle.threshold,
        weighted=weighted,
        usual_rows=float(np.median([window.rows for window in baseline.windows])) if baseline.windows else 0.0,
        positive=bundle.contract.positive,
        decides=bundle.manifest.positive is not None,
        external=version.external,
    )


def column_reference(baseline: Baseline, column: BaselineColumn, *, of_time: bool) -> ColumnReference:
    """A column's counts, and the distances of the baseline's own windows from them.

    Of the score, windows that are mostly rows it was fitted on (and so have no score) say nothing.
    """
    counts = column.coarsened(np.asarray(column.counts, dtype=np.float64))
    cells = baseline.window_counts(column.name) if baseline.windows else np.zeros((0, counts.size + 1))
    values, nulls = cells[:, :-1], cells[:, -1]
    totals = values.sum(axis=1) + nulls
    kept = values.sum(axis=1) >= (0.5 * totals if column.name == SCORE else 1.0)
    names = [WEEKDAYS[window.weekday] for window in baseline.windows]
    groups = [name for name, keep in zip(names, kept, strict=True) if keep]
    distances = distance(counts, values[kept], ordered=column.is_number) if kept.any() else np.zeros(0)
    calibration = None
    if distances.size >= MANY_WINDOWS:
        calibration = calibrate(distances, groups=groups, resolution=1e-3)
    share = np.divide(nulls, totals, out=np.zeros_like(nulls), where=totals > 0)
    known = float(counts.sum())
    return ColumnReference(
        column=column,
        counts=counts,
        rows=known * min(1.0, baseline.effective_rows / max(1.0, known + column.nulls)),
        usual=float(distances.max()) if distances.size else 0.0,
        windows=int(distances.size),
        calibration=calibration,
        null_share=column.null_share,
        most_nulls=float(share.max()) if share.size else column.null_share,
        of_time=of_time,
    )


def expected_shares(metrics: Mapping[str, Mapping[str, Any]], *, weighted: bool) -> dict[str, Expected]:
    """Recall, precision, accuracy and decisions as counts of whole rows, from a version's registered metrics."""
    recall, precision, accuracy = (_point(metrics, name) for name in ("recall", "precision", "accuracy"))
    record = metrics.get("recall") or metrics.get("accuracy") or {}
    positives, rows = float(record.get("positives") or 0), float(record.get("rows") or 0)
    found: dict[str, Expected] = {}
    if recall is not None and positives > 0:
        found["recall"] = Expected(successes=recall * positives, n=positives)
    if accuracy is not None and rows > 0:
        found["accuracy"] = Expected(successes=accuracy * rows, n=rows)
    if recall and precision and positives > 0:
        flagged = max(recall * positives, recall * positives / precision)
        found["precision"] = Expected(successes=min(precision * flagged, flagged), n=flagged)
        if not weighted and 0 < flagged < rows:
            found["decisions"] = Expected(successes=flagged, n=rows)
    share, of = _point(metrics, "decision_share"), float((metrics.get("decision_share") or {}).get("rows") or 0)
    if share is not None and of > 0 and not weighted and "decisions" not in found:
        found["decisions"] = Expected(successes=share * of, n=of)
    return found


def _point(metrics: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    point = metrics.get(name, {}).get("point")
    return None if point is None else float(point)
