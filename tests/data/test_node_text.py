"""A feature as people read it."""

from __future__ import annotations

import polars as pl
import pytest

from everloop.data import Column, Contract, node_text, translate

CONTRACT = Contract(
    columns=(
        Column(name="amount", type="float", role="feature"),
        Column(name="n", type="int", role="feature"),
        Column(name="at", type="datetime", role="time"),
        Column(name="word", type="string", role="input"),
    ),
    timezone="Europe/Vienna",
)
amount, n, word = pl.col("amount"), pl.col("n"), pl.col("word")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (amount, "amount"),
        (amount.log1p(), "log1p(amount)"),
        (amount / 100, "amount / 100"),
        ((amount + 1) * n, "(amount + 1) * n"),
        (amount + n * 2, "amount + n * 2"),
        (amount - (n - 1), "amount - (n - 1)"),
        ((amount - n) - 1, "amount - n - 1"),
        (-amount, "-amount"),
        ((amount > 5) & (n < 3), "amount > 5 and n < 3"),
        (~((amount > 5) | (n < 3)), "not (amount > 5 or n < 3)"),
        (n.is_between(2, 6), "2 <= n <= 6"),
        (n.is_between(2, 6, closed="none"), "2 < n < 6"),
        (pl.when(amount > 9).then(n).otherwise(0), "n if amount > 9 else 0"),
        (pl.col("at").dt.hour(), "hour(event_time, Europe/Vienna)"),
        (word.is_in(["a", "b"]), "word in ('a', 'b')"),
        (word.str.len_chars(), "length(word)"),
        (amount.fill_null(0), "fill_null(amount, 0)"),
        (amount.clip(0, 10), "clip(amount, at least 0, at most 10)"),
        (amount.clip(upper_bound=10), "clip(amount, at most 10)"),
        (amount.log(10), "log(amount, 10)"),
    ],
)
def test_an_expression_is_written_as_one_would_say_it(expr: pl.Expr, text: str) -> None:
    assert node_text(translate(expr, feature="x", contract=CONTRACT)) == text
