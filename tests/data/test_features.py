"""Feature definitions: what is translated, what is refused, and that a row's features depend on the row alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.data import Column, Contract, FeatureTree, load_features, translate
from everloop.data.node import expression
from everloop.errors import DataError, FeatureRefused

CONTRACT = Contract(
    columns=(
        Column(name="paid_at", type="datetime", role="time"),
        Column(name="card", type="string", role="entity"),
        Column(name="amount", type="float", role="feature", nullable=True),
        Column(name="limit", type="float", role="input", nullable=True),
        Column(name="count", type="int", role="feature", nullable=True),
        Column(name="online", type="bool", role="feature", nullable=True),
        Column(name="country", type="string", role="feature", nullable=True, categories=("AT", "DE", "FR")),
        Column(name="born", type="datetime", role="input", nullable=True),
        Column(name="scenario", type="int", role="outcome"),
        Column(name="junk", type="float", role="ignored"),
        Column(name="fraud", type="bool", role="target"),
    )
)
SCHEMA = {
    "event_time": pl.Datetime("us", "UTC"), "card": pl.String, "amount": pl.Float64, "limit": pl.Float64,
    "count": pl.Int64, "online": pl.Boolean, "country": pl.String, "born": pl.Datetime("us", "UTC"),
}  # fmt: skip

a, b, n, s, t = pl.col("amount"), pl.col("limit"), pl.col("count"), pl.col("country"), pl.col("paid_at")

ALLOWED = [
    a / 3, a / 0.01, a // 0.01, n / 7, n // -3, n % -3, a % -2.5,
    a + b, a - 1, a * n, a / b, a // 3, a % 3, n // 2, n % 7, -a, a > b, a >= 1, a < b, a <= 2, a == b, a != 3,
    a.log(), a.log10(), a.log(2), a.log1p(), a.exp(), a.sqrt(), a**2, a**0.5, a.pow(b), a.abs(), a.floor(), a.ceil(),
    a.round(2), a.clip(0, 10), a.clip(lower_bound=0), a.clip(upper_bound=b), a.sign(), a.tanh(), a.sin(), a.cos(),
    a.cbrt(), a.arctan(), a.sinh(), a.cosh(), a.tan(), a.arcsin(), a.arccos(), a.degrees(), a.radians(),
    a.arcsinh(), a.arccosh(), a.arctanh(), pl.arctan2("amount", "limit"),
    a.is_null(), a.is_not_null(), a.is_nan(), a.is_not_nan(), a.is_finite(), a.is_infinite(),
    a.fill_null(0), a.fill_nan(None), a.fill_nan(0), a.is_between(0, 6), a.is_between(0, b, closed="none"),
    n.is_in([1, 2, 3]), s.is_in(["DE", "FR"]), a.is_in([1.0, 2.5]), s == "DE", s != "DE",
    pl.when(a > 1).then(1).when(s == "DE").then(b).otherwise(None), pl.when(a > 1).then(n),
    n.cast(pl.Float64), a.cast(pl.Int32), a.cast(pl.Float32), n.cast(pl.Boolean), pl.col("online").cast(pl.Int8),
    t.dt.hour(), t.dt.minute(), t.dt.weekday(), t.dt.day(), t.dt.month(), t.dt.year(), t.dt.ordinal_day(),
    t.dt.week(), t.dt.quarter(), t.dt.second(), t.dt.epoch("s"), t.dt.timestamp("ms"), t.dt.hour() * 60 + t.dt.minute(),
    (t - pl.col("born")).dt.total_days(), t > pl.datetime(2024, 1, 1), pl.col("event_time").dt.hour(),
    s.str.len_chars(), s.str.to_lowercase() == "de", s.str.to_uppercase().str.ends_with("E"), s.str.starts_with("D"),
    s.str.contains("E", literal=True), s.str.contains("^D.$"), s.str.strip_chars().str.len_bytes(),
    s.str.slice(0, 1) == "D", s.replace_strict({"DE": 1.5, "FR": 2.0}, default=0.0),
    pl.max_horizontal("amount", "limit"), pl.min_horizontal("amount", "limit"), pl.sum_horizontal("amount", "online"),
    pl.mean_horizontal("amount", "limit"), pl.coalesce("amount", "limit"), pl.any_horizontal(a > 1, "online"),
    pl.all_horizontal(a > 1, "online"), (a > 1) & (b < 2), (a > 1) | pl.col("online"), ~pl.col("online"),
    (a > 1) ^ (b < 2), pl.col("online") + pl.col("online"), a.eq_missing(b), a.ne_missing(1), (a * 2).alias("twice"),
    n.abs(), n**2, n.sign(), n.clip(0, 3), t.dt.convert_time_zone("Asia/Tokyo").dt.hour(),
]  # fmt: skip

REFUSED = [
    (a - a.mean(), "mean"), (a.sum(), "sum"), (a.max(), "max"), (a.over("card"), "over"), (a.shift(1), "shift"),
    (a.cum_sum(), "cum_sum"), (a.diff(), "diff"), (a.rank(), "rank"), (pl.len(), "len"), (a.sample(), "random"),
    (a.map_elements(lambda x: x, return_dtype=pl.Float64), "Python function"), (a.sort(), "sort"), (a.first(), "first"),
    (a.rolling_mean(3), "rolling"), (a.fill_null(strategy="forward"), "strategy"), (a.implode(), "implode"),
    (a.filter(b > 1), "filter"), (s.cast(pl.Categorical).to_physical(), "physical"), (a.cast(pl.Categorical), "cast"),
    (pl.col("amount", "limit"), "several columns"), (pl.all(), "several columns"), (a.hash(), "hash"),
    (pl.lit(1.0), "constant"), (a * float("inf"), "finite"), (pl.col("fraud"), "target"), (pl.col("scenario"), "after"),
    (pl.col("junk"), "role: input"), (pl.col("amonut"), "did you mean 'amount'"), (s, "result of type"),
    (t - pl.col("born"), "total_seconds"), (a + s, "add"), (s.str.contains("(", literal=False), "matches"),
    (s.replace_strict({"DE": 1}), "default"), (a.interpolate(), "interpolate"), (a.unique(), "unique"),
    (pl.int_range(pl.len()), "range"), (a.arg_max(), "arg_max"), (n.is_in(pl.col("count").implode()), "is_in"),
    (a.is_duplicated(), "is_duplicated"), (a.cut([1, 2]), "cut"), (a.qcut(3), "cut"), (pl.struct("amount"), "struct"),
]  # fmt: skip


def rows(count: int, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    at = datetime(2024, 1, 1, tzinfo=UTC).timestamp() + random.integers(0, 10**7, count)
    frame = pl.DataFrame(
        {
            "event_time": [datetime.fromtimestamp(int(x), UTC) for x in at],
            "card": [f"c{x}" for x in random.integers(0, 9, count)],
            "amount": random.lognormal(1, 3, count) * random.choice([-1, 1, 1], count),
            "limit": random.normal(0, 3, count),
            "count": random.integers(-5, 9, count),
            "online": random.random(count) < 0.5,
            "country": random.choice(["AT", "DE", "FR", "XX", ""], count),
            "born": [datetime(2020, 1, 1 + int(x), tzinfo=UTC) for x in random.integers(0, 28, count)],
        },
        schema=SCHEMA,
    )
    holes = random.random((count, len(SCHEMA))) < 0.1
    return frame.with_columns(
        pl.when(pl.Series(holes[:, i])).then(None).otherwise(pl.col(name)).alias(name)
        for i, name in enumerate(SCHEMA)
        if name != "event_time"
    )


def tree_of(*exprs: pl.Expr) -> FeatureTree:
    nodes = [(f"f{i}", translate(expr, feature=f"f{i}", contract=CONTRACT)) for i, expr in enumerate(exprs)]
    return FeatureTree.of(CONTRACT, nodes)


@pytest.mark.parametrize("expr", ALLOWED, ids=lambda expr: str(expr)[:60])
def test_translated_means_what_polars_means(expr: pl.Expr) -> None:
    frame = rows(200)
    node = translate(expr, feature="f", contract=CONTRACT)
    tree = FeatureTree(names=("f",), nodes=(node,))
    plain = frame.with_columns(paid_at=pl.col("event_time").dt.replace_time_zone(None))
    widened = plain.with_columns(pl.col("born").dt.replace_time_zone(None))
    if "convert_time_zone" in str(expr) or "event_time" in str(expr):
        widened = frame.with_columns(paid_at=pl.col("event_time"))
    if "dyn int: 60" in str(expr):  # Polars wraps at 127 minutes; inside a feature whole numbers are 64 bits wide
        expr = t.dt.hour().cast(pl.Int64) * 60 + t.dt.minute()
    if 'col("online")) + (col' in str(expr):
        expr = pl.col("online").cast(pl.Int64) * 2
    wanted = widened.select(expr.cast(pl.Float64).cast(pl.Float32).alias("f"))["f"].fill_null(float("nan")).to_numpy()
    wanted = np.where(np.isfinite(wanted), wanted, np.float32("nan"))
    np.testing.assert_array_equal(tree.matrix(frame)[:, 0], wanted)


@pytest.mark.parametrize(("expr", "word"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused_names_feature_and_node(expr: pl.Expr, word: str) -> None:
    with pytest.raises(FeatureRefused) as caught:
        translate(expr, feature="risky", contract=CONTRACT)
    assert "'risky'" in str(caught.value)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_has_the_same_bytes_alone_in_a_batch_and_in_any_chunk() -> None:
    tree, frame = tree_of(*ALLOWED), rows(1000, seed=4)
    whole = tree.matrix(frame)
    assert whole.dtype == np.float32
    assert whole.flags.c_contiguous
    alone = np.vstack([tree.matrix(frame[i]) for i in range(0, 1000, 20)])
    assert alone.tobytes() == whole[::20].tobytes()
    chunked = pl.concat([frame[:7], frame[7:500], frame[500:]], rechunk=False)
    assert tree.matrix(chunked).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "expr",
    [a / 0.001, a // 0.001, a % 0.001, a / 3, n / 7, n // 7, a / (pl.lit(1) + 2), 7.7 / a, 7.7 % a, a**3, a**0.5,
     1.7**b, a.log(3.3), a.clip(0.1, 7), pl.mean_horizontal("amount", "limit"), a.round(3),
     pl.arctan2("amount", "limit")],
    ids=str,
)  # fmt: skip
def test_one_number_beside_many_rows_gives_the_bits_it_gives_beside_one(expr: pl.Expr) -> None:
    """Polars has kernels of their own for a column and one number; in Float64, before rounding hides it."""
    frame, made = rows(3000, seed=6), expression(translate(expr, feature="f", contract=CONTRACT)).alias("f")
    whole = frame.select(made)["f"]
    for place in range(0, 3000, 10):
        assert frame[place].select(made)["f"].equals(whole[place : place + 1], null_equal=True), frame[place]


def test_tree_survives_json_and_its_bytes_are_stable() -> None:
    tree, frame = tree_of(*ALLOWED), rows(100)
    again = FeatureTree.from_json(tree.to_json())
    assert again == tree
    assert again.to_json() == tree_of(*ALLOWED).to_json()
    assert again.matrix(frame).tobytes() == tree.matrix(frame).tobytes()


def test_raw_columns_come_first_and_unseen_categories_are_missing() -> None:
    frame = pl.DataFrame(
        {
            "amount": [1.5, None],
            "limit": [0.0, 0.0],
            "count": [3, None],
            "online": [True, None],
            "country": ["FR", "XX"],
        },
        schema={name: SCHEMA[name] for name in ("amount", "limit", "count", "online", "country")},
    )
    tree = tree_of(a * 1e39, b)
    assert tree.names == ("amount", "count", "online", "country", "f0", "f1")
    np.testing.assert_array_equal(
        tree.matrix(frame), np.array([[1.5, 3, 1, 2, np.nan, 0], [np.nan] * 5 + [0]], np.float32)
    )


def test_hours_are_those_of_the_models_time_zone() -> None:
    contract = Contract(columns=CONTRACT.columns, timezone="Europe/Berlin")
    node = translate(t.dt.hour(), feature="hour", contract=contract)
    frame = pl.DataFrame({"event_time": [datetime(2024, 7, 1, 23, 30, tzinfo=UTC)]}, schema_overrides=SCHEMA)
    assert FeatureTree(names=("hour",), nodes=(node,)).matrix(frame)[0, 0] == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"names":["a"],"nodes":[{"op":"system"}],"version":1}', b'{"names":[],"nodes":[],"version":9}',
     b'{"names":["a"],"nodes":[{"op":"add","args":[]}],"version":1}'],
)  # fmt: skip
def test_a_tree_of_unknown_nodes_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        FeatureTree.from_json(data)


def write(path: Path, body: str) -> Path:
    path.write_text("import polars as pl\nfrom everloop import features\n\n\n@features\ndef payment():\n" + body)
    return path


def test_features_file_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "features.py",
        '    yield "amount_log", pl.col("amount").log1p()\n'
        '    yield "night", pl.col("paid_at").dt.hour().is_between(0, 6)\n',
    )
    found = load_features(path, CONTRACT)
    assert found.names == ("amount_log", "night")
    assert found.tree().names[-2:] == ("amount_log", "night")
    assert not (tmp_path / "__pycache__").exists()
    assert load_features(tmp_path / "absent.py", CONTRACT).names == ()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    yield (\n", "features.py:"),
        ('    yield "x", 1 / 0\n', "features.py:7: ZeroDivisionError"),
        ('    yield "x", pl.col("amount") + 1\n    yield "x", pl.col("amount")\n', "'x' is given twice"),
        ('    yield "amount", pl.col("limit")\n', "name of a column"),
        ('    yield "x", 3\n', "must yield a name"),
        ('    yield "x y", pl.col("amount")\n', "'x y'"),
        ('    yield "x", pl.col("Amount")\n', "did you mean 'amount'"),
        ('    yield "x", pl.col("fraud")\n', "target"),
        ('    yield "x", pl.col("amount").mean()\n', "`mean`"),
    ],
)
def test_each_mistake_is_one_sentence(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(FeatureRefused, match=r"features\.py|feature '") as caught:
        load_features(write(tmp_path / "features.py", body), CONTRACT)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
