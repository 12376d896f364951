"""Every rule finds what it looks for, and is silent where there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from everloop.experiment.association import Association, Histogram
from everloop.experiment.columns import ColumnSummary, column_summaries
from everloop.experiment.overtime import Span, halves, periods
from everloop.experiment.wrong import Seen, TargetSummary, findings

START = datetime(2024, 1, 1, tzinfo=UTC)
MONTH = Span(start=START, end=START + timedelta(days=30))
NOTHING = Histogram(edges=(), negatives=(0.0,), positives=(0.0,))


def column(name: str = "x", **changes: object) -> ColumnSummary:
    fields: dict[str, object] = {
        "name": name,
        "type": "float64",
        "role": "feature",
        "rows": 1000,
        "missing": 0,
        "infinite": 0,
        "distinct": 900,
        "minimum": None,
        "median": None,
        "maximum": None,
    }
    return ColumnSummary(**{**fields, **changes})  # type: ignore[arg-type]


def target(**changes: object) -> TargetSummary:
    fields: dict[str, object] = {"column": "fraud", "rows": 1000, "missing": 0, "positives": 300, "rate": 0.3}
    return TargetSummary(**{**fields, **changes})  # type: ignore[arg-type]


def seen(**changes: object) -> Seen:
    fields: dict[str, object] = {"rows": 1000, "columns": (column(),), "target": target(), "span": MONTH}
    return Seen(**{**fields, **changes})  # type: ignore[arg-type]


def kinds(**changes: object) -> set[str]:
    return {finding.kind for finding in findings(seen(**changes))}


def association(auc: float = 0.6, psi: float | None = 0.01) -> tuple[Association, ...]:
    return (Association(feature="x", auc=auc, psi=psi, histogram=NOTHING),)


def test_clean_data_has_no_finding() -> None:
    assert findings(seen(associations=association())) == ()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("constant", {"columns": (column(distinct=1),)}),
        ("id as feature", {"columns": (column(type="int64", distinct=1000),)}),
        ("many categories", {"columns": (column(type="string", distinct=600),)}),
        ("gives the target away", {"associations": association(auc=0.995)}),
        ("clock as feature", {"columns": (column(type="int64", distinct=1000),), "clocks": ("x",)}),
        ("moved", {"associations": association(psi=0.4)}),
        ("missing", {"columns": (column(missing=10),)}),
        ("infinite", {"columns": (column(infinite=1),)}),
        ("duplicates", {"duplicates": 3}),
        ("repeated ids", {"repeated_ids": 3}),
        ("time backwards", {"backward": 1}),
        ("time missing", {"time_missing": 1}),
        ("short span", {"span": Span(start=START, end=START + timedelta(days=2))}),
        ("few positives", {"target": target(positives=100)}),
        ("one class", {"target": target(positives=0)}),
        ("target missing", {"target": target(missing=5)}),
        ("target values", {"target": target(other_values=("7",))}),
        ("weights", {"weights": (1.0, 59.2), "weight_column": "weight"}),
        ("blocked", {"blocked": 10}),
        ("unusable", {"problems": ("fraud/features.py:3: no",)}),
        ("unmatured", {"unmatured": 10}),
        ("empty", {"rows": 0}),
    ],
)
def test_what_is_wrong_is_found_alone(kind: str, changes: dict[str, object]) -> None:
    assert kinds(**changes) == {kind}


def test_what_is_gravest_comes_first() -> None:
    found = findings(seen(duplicates=3, target=target(positives=0), weights=(1.0, 2.0)))
    assert [finding.weight for finding in found] == ["stop", "warn", "note"]


def test_an_id_that_is_no_feature_is_fine() -> None:
    assert kinds(columns=(column(type="int64", distinct=1000, role="id"),)) == set()


def hourly(rate_later: float, *, n: int = 20_000, weight: float = 1.0) -> set[str]:
    rng = np.random.default_rng(5)
    times = pl.Series([START + timedelta(minutes=at) for at in range(n)])
    y = (rng.random(n) < np.where(np.arange(n) < n // 2, 0.05, rate_later)).astype(float)
    return kinds(halves=halves(times, y, weight=np.full(n, weight)))


def test_a_rate_that_jumps_between_the_halves_is_told_and_one_that_stays_is_not() -> None:
    assert "rate jump" in hourly(0.08)
    assert "rate jump" not in hourly(0.05)


def test_weights_do_not_make_few_rows_many() -> None:
    # 40 rows that stand for a thousand each say no more than 40 rows
    assert "rate jump" not in hourly(0.06, n=400, weight=1000.0)


def test_every_period_is_counted_once_and_rates_are_weighted() -> None:
    times = pl.Series([START + timedelta(hours=at) for at in range(48)])
    y = np.tile([1.0, 0.0, 0.0, np.nan], 12)
    found = periods(times, y, weight=np.tile([1.0, 2.0, 2.0, 9.0], 12))
    assert sum(period.rows for period in found) == 48
    assert sum(period.positives for period in found) == 12
    known = [period.rate for period in found if period.rate is not None]
    assert found[0].start == START
    assert 0 < np.mean(known) < 1


def test_columns_are_summed_up_as_they_are() -> None:
    frame = pl.DataFrame(
        {"x": [1.0, None, float("nan"), float("inf")], "word": ["a", "a", None, "b"], "on": [True, False, True, None]}
    )
    x, word, on = column_summaries(frame, roles={"x": "feature"})
    assert (x.missing, x.infinite, x.role, x.type) == (2, 1, "feature", "float64")
    assert (word.missing, word.distinct, word.role, word.minimum) == (1, 2, "ignored", None)
    assert (on.missing, on.distinct) == (1, 2)
