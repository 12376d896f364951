"""Any composition of row-wise nodes: what Polars means, the same bits alone and in a batch, by the twin, through JSON.

Only row-wise nodes get through: wherever in an expression something looks across rows, it is found and named.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.data import CompiledTree, FeatureTree, translate
from everloop.errors import FeatureRefused

from .test_compiled import columns_of
from .test_features import CONTRACT, rows

FRAME = rows(64, seed=11)
PLAIN = FRAME.with_columns(paid_at=pl.col("event_time").dt.replace_time_zone(None))

numbers = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, 100.0, -2.5, 1e6])
leaves = st.sampled_from([pl.col("amount"), pl.col("limit"), pl.col("count").cast(pl.Float64)]) | st.sampled_from(
    [pl.col("paid_at").dt.hour().cast(pl.Float64), pl.col("country").str.len_chars().cast(pl.Float64)]
)
facts = st.sampled_from(
    [pl.col("online"), pl.col("country") == "DE", pl.col("country").is_in(["AT", "FR"]), pl.col("amount").is_null()]
)


@st.composite
def conditions(draw: st.DrawFn, values: st.SearchStrategy[pl.Expr]) -> pl.Expr:
    value, number, fact = draw(values), draw(numbers), draw(facts)
    return draw(
        st.sampled_from(
            [
                fact, ~fact, value > number, value <= draw(values), value.is_between(-1.0, number),
                value.is_null() | fact, (value >= number) & fact, (value == number) ^ fact, value.is_finite(),
            ]
        )
    )  # fmt: skip


@st.composite
def larger(draw: st.DrawFn, values: st.SearchStrategy[pl.Expr]) -> pl.Expr:
    one, other, number = draw(values), draw(values), draw(numbers)
    return draw(
        st.sampled_from(
            [
                one + other, one - other, one * other, one / other, one + number, one * number, -one, one.abs(),
                one.log1p(), one.sqrt(), one.exp(), one.floor(), one.clip(-10.0, 10.0), one.fill_null(number),
                one.fill_nan(None), one.sign(), one.tanh(), pl.max_horizontal(one, other), pl.coalesce(one, other),
                pl.when(draw(conditions(values))).then(one).otherwise(other),
                pl.when(draw(conditions(values))).then(one), draw(conditions(values)).cast(pl.Float64),
            ]
        )
    )  # fmt: skip


expressions = st.recursive(leaves, larger, max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_a_tree_means_what_polars_means_and_a_row_depends_on_itself_alone(expr: pl.Expr) -> None:
    tree = FeatureTree(names=("f",), nodes=(translate(expr, feature="f", contract=CONTRACT),))
    whole = tree.matrix(FRAME)
    with np.errstate(over="ignore"):
        wanted = PLAIN.select(expr.cast(pl.Float64).alias("f"))["f"].to_numpy().astype(np.float32)
    np.testing.assert_array_equal(whole[:, 0], np.where(np.isfinite(wanted), wanted, np.float32("nan")))
    alone = np.vstack([tree.matrix(FRAME[place]) for place in range(0, FRAME.height, 7)])
    assert alone.tobytes() == whole[::7].tobytes()
    assert FeatureTree.from_json(tree.to_json()) == tree
    assert CompiledTree(tree, CONTRACT).matrix(columns_of(FRAME), FRAME.height).tobytes() == whole.tobytes()


ACROSS = {
    "mean": lambda expr: expr.mean(), "over": lambda expr: expr.max().over("card"), "shift": lambda expr: expr.shift(1),
    "cum_sum": lambda expr: expr.cum_sum(), "rank": lambda expr: expr.rank(), "diff": lambda expr: expr.diff(),
    "Python function": lambda expr: expr.map_elements(hash, return_dtype=pl.Int64),
}  # fmt: skip


@pytest.mark.parametrize("word", sorted(ACROSS))
@settings(max_examples=25, deadline=None)
@given(expressions, expressions, st.data())
def test_what_looks_across_rows_is_found_wherever_it_stands(
    word: str, inside: pl.Expr, beside: pl.Expr, data: st.DataObject
) -> None:
    hidden = ACROSS[word](inside)
    whole = data.draw(
        st.sampled_from(
            [
                hidden, beside - hidden, pl.when(hidden > 0).then(beside),
                pl.when(beside > 0).then(1.0).otherwise(hidden),
                (hidden / beside).log1p().clip(0.0, 1.0), pl.max_horizontal(beside, hidden), beside.fill_null(hidden),
            ]
        )
    )  # fmt: skip
    with pytest.raises(FeatureRefused) as caught:
        translate(whole, feature="risky", contract=CONTRACT)
    assert "'risky'" in str(caught.value)
    assert word in str(caught.value)
