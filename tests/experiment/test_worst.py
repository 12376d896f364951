"""Where a trial fails: planted parts are named first, and under no difference none is named more often than said."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from everloop.errors import NotEnoughData
from everloop.experiment.judging import evaluated
from everloop.experiment.worst import MOST_VALUES, Segment, cut, worst_segments
from everloop.project import Objective

Found = tuple[tuple[Segment, ...], int]


def _asked(
    *, miss: float, rows: int = 6_000, seed: int = 0, objective: str = "recall at precision >= 0.80", most: int = 10
) -> Found:
    """Decisions that miss a fifth of the positives, and `miss` of them in Italy."""
    rng = np.random.default_rng(seed)
    country = rng.choice(["de", "fr", "it"], rows)
    y = (rng.random(rows) < 0.15).astype(int)
    missed = rng.random(rows) < np.where(country == "it", miss, 0.2)
    score = np.where((y == 1) & ~missed, 0.9, 0.1 * rng.random(rows)).astype(np.float32)
    evaluation = evaluated(Objective.parse(objective), y, score, np.ones(rows), threshold=0.5)
    columns = {"country": pl.Series(country), "amount": pl.Series(rng.lognormal(3, 1, rows))}
    return worst_segments(evaluation, columns, Objective.parse(objective), task="classification", most=most, seed=seed)


@pytest.mark.parametrize("objective", ["recall at precision >= 0.80", "accuracy", "cost(fn=100, fp=1)"])
def test_a_planted_part_is_named_and_comes_first(objective: str) -> None:
    segments, count = _asked(miss=0.6, objective=objective)
    assert count == 3 + 5
    assert (segments[0].column, segments[0].value, segments[0].surely) == ("country", "it", True)
    assert segments[0].more.low > 0
    assert not any(one.surely for one in segments[1:])


def test_a_segment_says_what_the_metric_is_there() -> None:
    segments, _ = _asked(miss=0.6)
    first = segments[0]
    assert first.metric is not None
    assert first.metric.holds(0.4)
    assert first.loss == pytest.approx(1 - first.metric.point)
    assert 0 < first.positives < first.rows


def test_without_a_difference_a_part_is_named_no_more_often_than_said() -> None:
    named = sum(any(one.surely for one in _asked(miss=0.2, rows=800, seed=seed)[0]) for seed in range(100))
    assert named <= 100 * 0.05 + 3 * np.sqrt(100 * 0.05 * 0.95)


def test_of_numbers_the_part_that_is_further_off_is_named() -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(["a", "b", "c"], 2_000)
    y = rng.normal(30, 5, 2_000)
    score = (y + rng.normal(0, np.where(city == "b", 4, 2))).astype(np.float32)
    objective = Objective.parse("mae")
    evaluation = evaluated(objective, y, score, np.ones(2_000), threshold=None, task="regression")
    segments, _ = worst_segments(evaluation, {"city": pl.Series(city)}, objective, task="regression", most=2, seed=0)
    assert [(one.value, one.surely) for one in segments] == [("b", True), (segments[1].value, False)]


def test_rows_that_say_nothing_are_refused() -> None:
    objective = Objective.parse("recall at precision >= 0.80")
    evaluation = evaluated(objective, np.zeros(10), np.zeros(10), np.ones(10), threshold=0.5)
    with pytest.raises(NotEnoughData, match="no row says anything about 'recall"):
        worst_segments(evaluation, {"x": pl.Series(range(10))}, objective, task="classification", most=1, seed=0)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pl.Series(["x", "y", None, "x"]), ("x", "y", "missing")),
        (pl.Series([True, False, True]), ("true", "false")),
        (pl.Series([1.0, 2.0, float("nan")]), ("1", "2", "missing")),
        (pl.Series(range(100)), ("below 20", "20 … 40", "40 … 60", "60 … 80", "from 80")),
        (pl.Series([at / 2 for at in range(40)]), ("below 3.9", "3.9 … 7.8", "7.8 … 11.7", "11.7 … 15.6", "from 15.6")),
        (
            pl.Series([float(90_200 + at) for at in range(51)])[::10],
            ("90200", "90210", "90220", "90230", "90240", "90250"),
        ),
        (pl.Series(["x" * 70 + "a", "x" * 70 + "b"]), ("x" * 70 + "a", "x" * 70 + "b")),
        (pl.Series(["x" * 70]), ("x" * 59 + "…",)),
        (pl.Series([0.123451, 0.123452]), ("0.123451", "0.123452")),
        (
            pl.Series([1e6 + at / 100 for at in range(11)]),
            (
                "below 1000000.02",
                "1000000.02 … 1000000.04",
                "1000000.04 … 1000000.06",
                "1000000.06 … 1000000.08",
                "from 1000000.08",
            ),
        ),
        (pl.Series([0.0] * 90 + [float(at) for at in range(11)]), ("below 0", "from 0")),
    ],
)
def test_a_column_is_cut_as_people_read_it(values: pl.Series, names: tuple[str, ...]) -> None:
    found = cut(values)
    assert found.names == names
    assert found.codes.shape == (len(values),)
    assert found.codes.max() < len(names)


def test_every_row_lies_in_the_range_it_is_said_to_lie_in() -> None:
    days = pl.Series([date(2024, 1, 1) + timedelta(days=at) for at in range(50)])
    found = cut(days)
    assert found.names[0] == "below 2024-01-11"
    assert np.bincount(found.codes).tolist() == [10, 10, 10, 10, 10]


def test_rare_values_are_one_part_together() -> None:
    values = pl.Series([f"v{at:03}" for at in range(60)] * 2 + ["often"] * 9)
    found = cut(values)
    assert len(found.names) == MOST_VALUES + 1
    assert (found.names[0], found.names[-1]) == ("often", "all others")
    assert np.bincount(found.codes).sum() == len(values)
