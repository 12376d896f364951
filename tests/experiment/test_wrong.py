"""Every rule finds what it looks for, and is silent where there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from everloop.experiment.association import Association, Histogram
from everloop.experiment.columns import ColumnSummary, column_summaries
from everloop.experiment.correlated import Correlated
from everloop.experiment.late import CopiedRows, LateCategory, LateLabels
from everloop.experiment.leaks import Leak
from everloop.experiment.overtime import Buckets, Span, halves, periods, seasons
from everloop.experiment.target import TargetSummary
from everloop.experiment.wrong import Seen, findings

START = datetime(2024, 1, 1, tzinfo=UTC)
MONTH = Span(start=START, end=START + timedelta(days=30))
NOTHING = Histogram(edges=(), names=("missing",), values=True, negatives=(0.0,), positives=(0.0,))


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
    return (Association(feature="x", auc=auc, information=0.0, psi=psi, histogram=NOTHING),)


def test_clean_data_has_no_finding() -> None:
    assert findings(seen(associations=association())) == ()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("constant", {"columns": (column(distinct=1),)}),
        ("almost numbers", {"columns": (column(type="string", role="ignored", marks=("n/a",)),)}),
        ("short span", {"span": Span(start=START, end=START + timedelta(seconds=6))}),
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
        ("far times", {"far": 1}),
        ("short span", {"span": Span(start=START, end=START + timedelta(days=2))}),
        ("few positives", {"target": target(positives=100)}),
        ("one class", {"target": target(positives=0, rate=0.0, alike=True)}),
        ("one value", {"target": target(positives=0, numeric=True, alike=True, median=4.0)}),
        ("target missing", {"target": target(missing=5)}),
        ("target values", {"target": target(other_values=("7",))}),
        ("target values", {"target": target(positives=0, rate=0.0, alike=True, other_values=("no", "yes"))}),
        ("weights", {"weights": (1.0, 59.2), "weight_column": "weight"}),
        ("blocked", {"blocked": 10}),
        ("unusable", {"problems": ("fraud/features.py:3: no",)}),
        ("unmatured", {"unmatured": 10}),
        ("empty", {"rows": 0}),
        ("late category", {"late_categories": (LateCategory(column="x", categories=("new",), rows=20, share=0.1),)}),
        ("duplicates across the split", {"copied": CopiedRows(rows=5, share=0.01)}),
        ("label matures late", {"late_labels": LateLabels(what="rate", since=START, late=0.0, before=0.1)}),
        ("label matures late", {"late_labels": LateLabels(what="missing", since=START, late=0.9, before=0.1)}),
        ("unknown at prediction", {"leaks": (Leak(column="x", how="after", value=0.9),)}),
        ("unknown at prediction", {"leaks": (Leak(column="x", how="missing tells", value=0.95),)}),
        ("unknown at prediction", {"leaks": (Leak(column="x", how="empty when new", value=0.9),)}),
        ("correlated", {"groups": (Correlated(features=("x", "y"), least=0.95, most=0.95),)}),
    ],
)
def test_what_is_wrong_is_found_alone(kind: str, changes: dict[str, object]) -> None:
    assert kinds(**changes) == {kind}


def test_what_is_gravest_comes_first() -> None:
    found = findings(seen(duplicates=3, target=target(positives=0, rate=0.0, alike=True), weights=(1.0, 2.0)))
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
    found = periods(Buckets.of(times, y, weight=np.tile([1.0, 2.0, 2.0, 9.0], 12)))
    assert sum(period.rows for period in found) == 48
    assert sum(period.positives for period in found) == 12
    known = [period.rate for period in found if period.rate is not None]
    assert found[0].start == START
    assert 0 < np.mean(known) < 1


def test_misdated_rows_are_far_and_those_of_an_even_or_a_growing_volume_are_not() -> None:
    even = [START + timedelta(hours=at) for at in range(5_000)]
    growing = [START + timedelta(hours=float(at) ** 0.5 * 70) for at in range(5_000)]
    wrong = [START.replace(year=2009), START.replace(year=2041)]
    for times, kept in ((even, 5_000), (growing, 5_000), ([*wrong, *even], 5_000), (even[:1] * 9, 9)):
        found = Buckets.of(pl.Series(sorted(times)), np.ones(len(times)), weight=np.ones(len(times))).near()
        assert found.rows == kept


def test_columns_are_summed_up_as_they_are() -> None:
    frame = pl.DataFrame(
        {"x": [1.0, None, float("nan"), float("inf")], "word": ["a", "a", None, "b"], "on": [True, False, True, None]}
    )
    x, word, on = column_summaries(frame.lazy(), rows=4, roles={"x": "feature"})
    assert (x.missing, x.infinite, x.role, x.type) == (2, 1, "feature", "float64")
    assert (word.missing, word.distinct, word.role, word.minimum) == (1, 2, "ignored", None)
    assert (on.missing, on.distinct) == (1, 2)


def test_buckets_of_parts_add_up_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    times = pl.Series([START + timedelta(minutes=int(at)) for at in np.sort(rng.integers(0, 90_000, 2_000))])
    y, weight = (rng.random(2_000) < 0.2).astype(float), rng.random(2_000)
    whole = Buckets.of(times, y, weight=weight)
    cuts = [0, 13, 700, 2_000]
    parts = Buckets.none()
    for start, end in pairwise(cuts):
        parts = parts + Buckets.of(times[start:end], y[start:end], weight=weight[start:end])
    assert [p.start for p in periods(parts)] == [p.start for p in periods(whole)]
    assert [p.rows for p in periods(parts)] == [p.rows for p in periods(whole)]
    np.testing.assert_allclose([p.rate for p in periods(parts)], [p.rate for p in periods(whole)])
    assert parts.rate == pytest.approx(np.average(y, weights=weight))


def test_seasons_are_told_in_the_models_time_zone_and_only_where_the_span_is_long_enough() -> None:
    hours = 24 * 28
    times = pl.Series([START + timedelta(hours=at) for at in range(hours)])
    local = times.dt.convert_time_zone("America/New_York")
    y = (local.dt.hour() < 6).to_numpy().astype(float)
    found = seasons(Buckets.of(times, y, weight=np.ones(hours)), timezone="America/New_York")
    by_hour = {one.value: one.rate for one in found if one.part == "hour"}
    assert by_hour == {hour: float(hour < 6) for hour in range(24)}
    assert [one.value for one in found if one.part == "weekday"] == list(range(1, 8))
    assert [one for one in found if one.part == "month"] == []
    assert sum(one.share for one in found if one.part == "hour") == pytest.approx(1)
    assert seasons(Buckets.of(times[:20], y[:20], weight=np.ones(20)), timezone="UTC") == ()


def test_a_numeric_target_has_halves_that_differ_by_more_than_their_spread_allows() -> None:
    rng = np.random.default_rng(1)
    n = 4_000
    times = pl.Series([START + timedelta(minutes=at) for at in range(n)])
    about = target(positives=0, rate=10.0, tenth=5.0, median=10.0, nine_tenths=15.0)

    def told(shift: float) -> set[str]:
        y = 10 + 3 * rng.standard_normal(n) + shift * (np.arange(n) >= n // 2)
        return kinds(target=about, halves=halves(times, y, weight=np.ones(n), numeric=True))

    assert told(1.0) == {"rate jump"}
    assert told(0.0) == set()
