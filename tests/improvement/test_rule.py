"""A rule says the same of a row in words, as an expression and after a round trip; a found one is really there."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.improvement import Condition, Rule, find_rule

NAMES = ("a", "b", "c", "d", "kind")


def world(seed: int, rows: int = 8_000, hits: int = 40) -> tuple[pl.DataFrame, np.ndarray]:
    """Noise, and hits where a > 2 and b < -2 though each of the two is common enough."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows + hits, 4))
    values[rows:, 0] = 2.0 + 0.3 * rng.random(hits)
    values[rows:, 1] = -2.0 - 0.3 * rng.random(hits)
    frame = pl.DataFrame(values, schema=["a", "b", "c", "d"])
    kind = pl.Series("kind", rng.choice(["x", "y", "z"], rows + hits))
    return frame.with_columns(kind), np.arange(rows + hits) >= rows


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_box_is_found_and_holds_few_others(seed: int) -> None:
    frame, hit = world(seed)

    rule = find_rule(frame, NAMES, hit)

    assert rule is not None
    assert set(rule.columns) <= {"a", "b"}
    inside = rule.holds(frame)
    assert (inside & hit).sum() >= 0.9 * hit.sum()
    assert (inside & hit).sum() >= 0.8 * inside.sum()


def test_hits_at_random_have_nothing_in_common() -> None:
    found = 0
    for seed in range(40):
        frame, _ = world(seed, hits=1)
        hit = np.zeros(frame.height, dtype=bool)
        hit[np.random.default_rng(seed).choice(frame.height, 40, replace=False)] = True
        found += find_rule(frame, NAMES, hit) is not None
    assert found <= 1


def test_a_text_can_be_what_sets_rows_apart() -> None:
    frame, _ = world(1)
    rng = np.random.default_rng(1)
    hit = (frame["kind"] == "y").to_numpy() & (rng.random(frame.height) < 0.05)

    rule = find_rule(frame, NAMES, hit)

    assert rule is not None
    assert str(rule) == "kind = y"
    assert rule.holds(frame).sum() == (frame["kind"] == "y").sum()


def test_a_sampled_other_row_counts_for_all_it_stands_for() -> None:
    frame, hit = world(2)
    rule = find_rule(frame, NAMES, hit)
    kept = hit | (np.arange(len(hit)) % 10 == 0)

    sampled = find_rule(frame.filter(pl.Series(kept)), NAMES, hit[kept], weight=np.where(hit, 1.0, 10.0)[kept])

    assert rule is not None
    assert sampled is not None
    both = rule.holds(frame) & sampled.holds(frame) & hit
    assert both.sum() >= 0.8 * hit.sum()


def test_fewer_than_eight_hits_say_nothing() -> None:
    frame, hit = world(3, hits=7)
    assert find_rule(frame, NAMES, hit) is None


def test_bounds_are_short_to_read() -> None:
    frame, hit = world(4)
    rule = find_rule(frame, NAMES, hit)
    assert rule is not None
    assert all(len(str(condition.bound).strip("-")) <= 4 for condition in rule.conditions)


def test_a_missing_value_keeps_no_condition() -> None:
    frame = pl.DataFrame({"a": [None, float("nan"), 3.0, -3.0], "kind": [None, "x", "x", "y"]})
    for condition, kept in (
        (Condition(column="a", side=">", bound=1.0), [False, False, True, False]),
        (Condition(column="a", side="<", bound=1.0), [False, False, False, True]),
        (Condition(column="kind", side="=", bound="x"), [False, True, True, False]),
    ):
        assert Rule(conditions=(condition,)).holds(frame).tolist() == kept


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("<>"), st.floats(-5, 5, allow_nan=False)),
        min_size=1,
        max_size=4,
    )
)
def test_a_rule_is_its_conditions_together(parts: list[tuple[str, str, float]]) -> None:
    frame, _ = world(0, rows=200, hits=10)
    rule = Rule(conditions=tuple(Condition(column=c, side=s, bound=b) for c, s, b in parts))  # type: ignore[arg-type]
    plain = np.ones(frame.height, dtype=bool)
    for column, side, bound in parts:
        values = frame[column].to_numpy()
        plain &= values > bound if side == ">" else values < bound
    assert rule.holds(frame).tolist() == plain.tolist()
    assert Rule.from_dict(rule.to_dict()) == rule
