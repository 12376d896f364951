"""What one feature alone says about the target."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.experiment.association import associations, bin_codes, ranked_auc


def seen(columns: dict[str, np.ndarray], y: np.ndarray, **options: object) -> dict[str, float]:
    matrix = np.stack([column.astype(np.float32) for column in columns.values()], axis=1)
    weight = options.pop("weight", np.ones(len(y)))
    found = associations(matrix, tuple(columns), y.astype(float), weight=weight, later=None, **options)
    return {association.feature: association.auc for association in found}


def test_a_feature_that_knows_nothing_gets_a_half_even_where_positives_are_rare() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(20_000) < 0.003
    found = seen({f"noise{i}": rng.standard_normal(20_000) for i in range(20)}, y)
    assert abs(np.mean(list(found.values())) - 0.5) < 0.03


def test_a_relation_that_is_not_monotone_is_found() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(10_000)
    assert seen({"both_ends": x}, np.abs(x) > 2)["both_ends"] > 0.95


def test_that_a_value_is_missing_may_be_what_tells() -> None:
    rng = np.random.default_rng(2)
    y = rng.random(5_000) < 0.1
    x = np.where(y, np.nan, rng.standard_normal(5_000))
    assert seen({"x": x}, y)["x"] > 0.99


def test_a_category_is_a_name_and_not_a_number() -> None:
    rng = np.random.default_rng(3)
    code = rng.integers(0, 6, 6_000)
    y = np.isin(code, (1, 4))
    assert seen({"code": code}, y, categories={"code": "abcdef"})["code"] > 0.99


def test_bins_are_called_by_what_they_hold() -> None:
    rng = np.random.default_rng(6)
    few = rng.choice([0.5, 3.0, np.nan], 4_000)
    columns = {"city": rng.choice([0, 2], 4_000), "few": few, "many": rng.random(4_000), "none": np.full(4_000, np.nan)}
    matrix = np.stack([column.astype(np.float32) for column in columns.values()], axis=1)
    y = (rng.random(4_000) < 0.3).astype(float)
    found = associations(
        matrix, tuple(columns), y, weight=np.ones(4_000), later=None, categories={"city": ("bern", "rome", "wien")}
    )
    called = {one.feature: one.histogram for one in found}
    assert (called["city"].names, called["city"].values) == (("bern", "wien", "missing"), True)
    assert (called["few"].names, called["few"].values) == (("0.5", "3", "missing"), True)
    assert called["none"].names == ("none", "missing")
    many = called["many"]
    assert (many.names[0], many.names[-2], many.values) == (
        f"below {many.edges[0]:.4g}", f"from {many.edges[-1]:.4g}", False,
    )  # fmt: skip
    assert all(len(one.names) == len(one.negatives) for one in called.values())


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(7)
    y = rng.random(3_000) < 0.3
    columns = {f"x{at}": rng.standard_normal(3_000) + at * y for at in range(9)}
    assert seen(columns, y, threads=3) == seen(columns, y)


def test_the_strongest_comes_first_and_moved_features_are_told() -> None:
    rng = np.random.default_rng(4)
    y = rng.random(4_000) < 0.2
    later = np.arange(4_000) >= 2_000
    strong, moved = y + 0.3 * rng.standard_normal(4_000), rng.standard_normal(4_000) + 2 * later
    matrix = np.stack([moved, strong], axis=1).astype(np.float32)
    found = associations(matrix, ("moved", "strong"), y.astype(float), weight=np.ones(4_000), later=later)
    assert [association.feature for association in found] == ["strong", "moved"]
    assert found[1].psi > found[0].psi  # type: ignore[operator]
    assert found[0].psi < 0.1 < 0.5 < found[1].psi  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0.1, 10)), min_size=2, max_size=40).filter(
        lambda rows: len({row[1] for row in rows}) == 2
    )
)
def test_the_ranked_area_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool, float]]) -> None:
    score = np.array([row[0] for row in rows], dtype=float)
    y = np.array([row[1] for row in rows])
    weight = np.array([row[2] for row in rows])
    pairs = [
        (wp * wn, 1.0 if sp > sn else 0.5 if sp == sn else 0.0)
        for sp, wp in zip(score[y], weight[y], strict=True)
        for sn, wn in zip(score[~y], weight[~y], strict=True)
    ]
    slow = sum(w * order for w, order in pairs) / sum(w for w, _ in pairs)
    assert abs(ranked_auc(score, weight * y, weight * ~y) - slow) < 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(-5, 5, width=32), st.just(float("nan"))), max_size=200), st.booleans())
def test_every_row_has_a_bin_and_the_missing_ones_the_last(values: list[float], categorical: bool) -> None:
    column = np.array(values, dtype=np.float32)
    codes, edges = bin_codes(column, categorical=categorical)
    assert codes.shape == column.shape
    assert np.all(codes[np.isnan(column)] == edges.size + 1)
    assert np.all(codes[~np.isnan(column)] <= edges.size)
    assert np.all(codes >= 0)
