"""Baselines and profiles: exact within a bin, mergeable, stable bytes, windows that calibrate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import EVENT_TIME, SCORE, Baseline, Column, Contract, FeatureTree, Profile, profiled_frame
from everloop.errors import DataError, NotEnoughData


def watched(count: int = 20_000, *, days: int = 28, seed: int = 2) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, days * 86_400_000_000, count)) + 1_704_067_200_000_000  # 2024-01-01, a Monday
    holes = random.random(count) < 0.05
    return pl.DataFrame(
        [
            pl.Series(EVENT_TIME, at).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            pl.Series("amount", np.where(holes, np.nan, random.lognormal(3, 1, count))),
            pl.Series("flag", random.random(count) < 0.3),
            pl.Series("country", random.choice(["AT", "DE", None, "FR"], count).tolist()),
            pl.Series(SCORE, random.beta(1, 9, count).astype(np.float32)),
        ]
    )


def built(frame: pl.DataFrame) -> Baseline:
    return Baseline.build(frame, window=timedelta(days=1))


def test_counts_are_those_of_the_values() -> None:
    frame = watched()
    baseline = built(frame)
    amount = baseline.column("amount")
    values = frame["amount"].to_numpy()
    known = values[~np.isnan(values)]
    assert amount.edges is not None
    plain, _ = np.histogram(known, bins=[-np.inf, *amount.edges, np.inf])
    np.testing.assert_array_equal(plain, amount.counts)
    assert amount.nulls == np.isnan(values).sum()
    assert max(amount.counts) / known.size < 3 / 1024
    country = baseline.column("country")
    assert country.categories == ("AT", "DE", "FR")
    assert country.counts[-1] == 0
    assert country.nulls == frame["country"].null_count()
    assert baseline.column("flag").edges == (0.0, 1.0)


def test_profiles_merge_over_any_cut() -> None:
    frame = watched()
    baseline, live = built(frame), watched(seed=9)
    whole = baseline.profile(live)
    parts = baseline.profile(live[:77]) + baseline.profile(live[77:9000]) + baseline.profile(live[9000:])
    assert parts.to_json() == whole.to_json()
    assert Profile.from_json(whole.to_json()).to_json() == whole.to_json()
    same = baseline.profile(frame)
    for name in baseline.names:
        np.testing.assert_array_equal(same.counts[name], baseline.reference(name))
        assert same.null_share(name) == pytest.approx(baseline.column(name).null_share)


def test_unseen_texts_missing_columns_and_empty_windows_are_counted() -> None:
    baseline = built(watched())
    live = watched(100, seed=5).drop("amount").with_columns(country=pl.lit("XX"))
    profile = baseline.profile(live)
    assert profile.counts["country"][-1] == 100
    assert profile.nulls["amount"] == 100
    assert baseline.profile(watched()[:0]).rows == 0


def test_rows_that_weigh_one_are_counted_as_weighted_ones_are() -> None:
    """The quick way, by sorting, against the plain one, row by row."""
    frame = watched().with_columns(
        amount=pl.when(pl.int_range(pl.len()) % 997 == 0).then(pl.lit(np.inf)).otherwise("amount"),
        whole=pl.int_range(pl.len()) % 50,
    )
    plain = Baseline.build(frame, window=timedelta(days=1), weight=np.ones(frame.height))
    assert built(frame).columns == plain.columns
    assert built(frame).windows == plain.windows


def test_windows_are_whole_days_by_weekday() -> None:
    frame = watched()
    baseline = built(frame)
    assert len(baseline.windows) == 28
    assert [window.weekday for window in baseline.windows[:7]] == list(range(7))
    assert sum(window.rows for window in baseline.windows) == frame.height
    for name in baseline.names:
        column = baseline.column(name)
        summed = baseline.window_counts(name).sum(axis=0)
        assert summed[:-1].tolist() == column.coarsened(baseline.reference(name)).tolist()
        assert summed[-1] == column.nulls
        assert len(summed) <= 33
    cut = built(frame.filter(pl.col(EVENT_TIME) >= datetime(2024, 1, 1, 9, tzinfo=UTC)))
    assert cut.windows[0].start == datetime(2024, 1, 2, tzinfo=UTC)


def test_the_same_rows_give_the_same_bytes_and_they_come_back() -> None:
    data = built(watched()).to_json()
    assert built(watched()).to_json() == data
    assert Baseline.from_json(data).to_json() == data
    with pytest.raises(DataError):
        Baseline.from_json(b"{}")
    with pytest.raises(NotEnoughData):
        built(watched()[:0])


def test_a_wide_model_stays_small() -> None:
    random, base = np.random.default_rng(1), watched(30_000, days=90)
    wide = base.with_columns(pl.Series(f"V{i}", random.normal(size=30_000)) for i in range(60))
    assert len(built(wide).to_json()) < 2_000_000


def test_weights_make_a_sample_look_like_its_population() -> None:
    frame = watched()
    kept = frame.filter((pl.int_range(pl.len()) % 10 == 0) | (pl.col("amount") > 100))
    weight = np.where(kept["amount"].to_numpy() > 100, 1.0, 10.0)
    sampled = Baseline.build(kept, window=timedelta(days=1), weight=weight)
    live = sampled.profile(frame).counts["amount"]
    reference = sampled.reference("amount")
    distance = np.abs(np.cumsum(live) / live.sum() - np.cumsum(reference) / reference.sum()).max()
    assert distance < 0.03
    assert sampled.effective_rows < kept.height


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.floats(-10, 10, width=32), min_size=1, max_size=60), st.integers(1, 20))
def test_any_values_are_counted_once(values: list[float | None], most_edges: int) -> None:
    times = pl.Series(EVENT_TIME, range(len(values))).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = pl.DataFrame([times, pl.Series("x", values, dtype=pl.Float32)])
    baseline = Baseline.build(frame, window=timedelta(days=1), most_edges=most_edges)
    column = baseline.column("x")
    assert sum(column.counts) + column.nulls == len(values)
    assert len(column.edges or ()) <= most_edges
    profile = Baseline.from_json(baseline.to_json()).profile(frame)
    assert tuple(profile.counts["x"].tolist()) == column.counts


def test_what_is_watched_leaves_out_columns_with_a_role() -> None:
    contract = Contract(
        columns=(
            Column(name="paid_at", type="datetime", role="time"),
            Column(name="card", type="string", role="entity"),
            Column(name="amount", type="float", role="feature"),
            Column(name="country", type="string", role="input"),
        )
    )
    frame = watched(50).with_columns(card=pl.lit("c"))
    tree = FeatureTree.of(contract)
    found = profiled_frame(frame, contract, tree, tree.matrix(frame), np.zeros(50, np.float32))
    assert found.columns == [EVENT_TIME, "amount", "country", SCORE]
