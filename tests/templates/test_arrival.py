"""Projects about a number: the generated town, a person's own file, and how init tells which template is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.errors import DataError, NotEnoughData
from everloop.templates import create_project
from everloop.templates.arrival import COLUMNS, Trips

START = datetime(2024, 1, 1, tzinfo=UTC)


def own_data(path: Path, **columns: pl.Expr) -> Path:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "pickup_datetime": [START + timedelta(minutes=30 * place) for place in range(2_000)],
            "km": rng.gamma(2.0, 2.0, 2_000),
            "duration": rng.gamma(3.0, 5.0, 2_000),
            "fraudulent": rng.random(2_000) < 0.1,
        }
    )
    frame.with_columns(**columns).write_parquet(path)
    return path


def test_a_day_is_the_same_whatever_days_are_around_it() -> None:
    town = Trips(seed=3, start=START, days=9, rows_per_day=500)
    frame = town.frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame["left_at"].is_sorted()
    assert frame["trip_id"].n_unique() == frame.height
    assert frame.filter(pl.col("trip_id").str.starts_with("t004")).equals(town.day(4))
    assert not Trips(seed=4, start=START, days=9, rows_per_day=500).day(4).equals(town.day(4))
    later = Trips(seed=3, start=START, days=9, rows_per_day=500, slower_at=START + timedelta(days=5)).frame()
    before = pl.col("left_at") < START + timedelta(days=5)
    assert later.filter(before).equals(frame.filter(before))
    centre = ~before & (pl.col("zone") == "centre")
    assert later.filter(centre)["minutes"].mean() == pytest.approx(
        1.5 * frame.filter(centre)["minutes"].mean(), rel=0.01
    )


def test_generated_history_is_a_project_that_reads_back() -> None:
    town = Trips(seed=0, start=START, days=3, rows_per_day=400).frame()
    assert town["minutes"].min() > 0  # type: ignore[operator]
    assert 5 < town["minutes"].median() < 30  # type: ignore[operator]


def test_init_makes_a_regression_of_generated_trips(tmp_path: Path) -> None:
    made = create_project(tmp_path / "p", template="arrival", days=3, rows_per_day=300)
    model = made.project.models["arrival"]
    assert (made.template, model.task, str(model.objective), model.quantiles) == (
        "arrival",
        "regression",
        "mae",
        ("p10", "p50", "p90"),
    )
    assert (tmp_path / "p" / "data" / "trips.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "target", "template"),
    [
        ({}, "duration", "arrival"),
        ({}, None, "fraud"),  # a yes or no is called so
        ({"fraudulent": pl.lit("x")}, "duration", "arrival"),
        ({"duration": pl.col("duration").round().cast(pl.Int32)}, "duration", "arrival"),
        ({}, "fraudulent", "fraud"),
        ({"duration": pl.int_range(pl.len()) % 2}, "duration", "fraud"),
    ],
)
def test_init_tells_by_the_target_what_is_meant(
    tmp_path: Path, columns: dict[str, pl.Expr], target: str | None, template: str
) -> None:
    data = own_data(tmp_path / "mine.parquet", **columns)
    made = create_project(tmp_path / "p", data=data, target=target)
    assert made.template == template
    if template == "fraud":
        return
    model = made.project.models["arrival"]
    assert (made.template, model.data.target, model.data.time.column) == ("arrival", "duration", "pickup_datetime")
    off = (pl.read_parquet(data)["duration"] - pl.read_parquet(data)["duration"].median()).abs().mean()
    (gate, *_) = model.gates
    assert gate.bound == pytest.approx(off, rel=0.06)  # type: ignore[union-attr]
    assert any("only known afterwards" in note for note in made.notes)


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({}, {"target": "duratoin"}, "did you mean 'duration'"),
        ({"duration": pl.lit("long")}, {"target": "duration"}, "a regression learns numbers"),
        ({"pickup_datetime": pl.lit("soon")}, {"target": "duration"}, "holds no time that can be read"),
        ({"duration": pl.lit(3.5)}, {"target": "duration"}, "one value only"),
    ],
)
def test_rows_that_cannot_be_used_are_one_sentence_and_no_project(
    tmp_path: Path, columns: dict[str, pl.Expr], options: dict[str, str], sentence: str
) -> None:
    data = own_data(tmp_path / "mine.parquet", **columns)
    with pytest.raises((DataError, NotEnoughData)) as caught:
        create_project(tmp_path / "p", template="arrival", data=data, **options)  # type: ignore[arg-type]
    assert sentence in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.parquet"]
