"""The fast twin gives the very bits of the reference, for any values."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.clock import to_us
from everloop.data import CompiledTree, FeatureTree, translate
from tests.data.test_features import ALLOWED, CONTRACT, SCHEMA, rows, tree_of


def columns_of(frame: pl.DataFrame) -> dict[str, list[Any]]:
    return {
        name: [None if value is None else to_us(value) for value in frame[name]]
        if isinstance(frame.schema[name], pl.Datetime)
        else frame[name].to_list()
        for name in frame.columns
    }


def test_ordinary_rows_one_by_one_and_together() -> None:
    tree, frame = tree_of(*ALLOWED), rows(300, seed=8)
    compiled = CompiledTree(tree, CONTRACT)
    wanted = tree.matrix(frame)
    assert compiled.matrix(columns_of(frame), 300).tobytes() == wanted.tobytes()
    for place in range(0, 300, 60):
        assert compiled.matrix(columns_of(frame[place]), 1).tobytes() == wanted[place].tobytes()
    assert compiled.matrix(columns_of(frame[:0]), 0).shape == (0, len(tree.names))


def test_common_features_are_all_fast() -> None:
    a, n, s, t = pl.col("amount"), pl.col("count"), pl.col("country"), pl.col("paid_at")
    common = [
        a.log1p(), a.log(), a.log10(), a / pl.col("limit"), (a - 3) * n, t.dt.hour(), t.dt.hour().is_between(0, 6),
        (t.dt.weekday() >= 6) & (a > 100), s == "DE", s.is_in(["DE", "FR"]), a.is_null(), a.fill_null(0).sqrt(),
        pl.when(a > 1).then(n).otherwise(a), ~pl.col("online"), a**2, a.exp(), s.str.len_chars(), n % 7,
    ]  # fmt: skip
    assert CompiledTree(tree_of(*common), CONTRACT).slow_names == ()


odd = st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e308, -1e308, 5e-324, 1e-320, 3.0, 0.5])
row = st.fixed_dictionaries(
    {
        "event_time": st.integers(-(10**15), 4 * 10**15),
        "card": st.none() | st.text(max_size=3),
        "amount": st.none() | odd | st.floats(),
        "limit": st.none() | odd | st.floats(),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 9),
        "online": st.none() | st.booleans(),
        "country": st.none() | st.sampled_from(["AT", "DE", "FR", "XX", ""]) | st.text(max_size=4),
        "born": st.none() | st.integers(-(10**15), 4 * 10**15),
    }
)
NODES = [translate(expr, feature="f", contract=CONTRACT) for expr in ALLOWED]
TREE = FeatureTree(names=tuple(f"f{i}" for i in range(len(NODES))), nodes=tuple(NODES))
COMPILED = CompiledTree(TREE, CONTRACT)


@settings(max_examples=100, deadline=None)
@given(st.lists(row, min_size=1, max_size=6))
def test_any_values_give_the_bits_of_the_reference(values: list[dict[str, Any]]) -> None:
    columns = {name: [one[name] for one in values] for name in SCHEMA}
    frame = pl.DataFrame(
        [
            pl.Series(name, columns[name], dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
            if isinstance(dtype, pl.Datetime)
            else pl.Series(name, columns[name], dtype=dtype)
            for name, dtype in SCHEMA.items()
        ]
    )
    wanted, found = TREE.matrix(frame), COMPILED.matrix(columns, len(values))
    wrong = (wanted.view("u4") != found.view("u4")).any(axis=0).nonzero()[0]
    assert [str(ALLOWED[place]) for place in wrong] == []
