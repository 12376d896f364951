"""The log as one file: every row of the span once, with what was known of it then; whole or not at all."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from everloop.errors import NotFound, UsageError
from everloop.traffic import OutcomesWanted, export

from .world import MODEL, START, World, batch, hours, row, said

MODULE = "everloop.traffic.export"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices and chapters of a few rows, as if there were millions."""
    import importlib

    module = importlib.import_module(MODULE)
    monkeypatch.setattr(module, "_SLICE_ROWS", 50)
    monkeypatch.setattr(module, "_CHAPTER_ROWS", 200)


def filled(world: World, n: int = 700) -> None:
    """Rows over six days, a tenth of them in one second, in any order; outcomes of half of them, some corrected."""
    chance = random.Random(3)
    rows = []
    for number in range(n):
        at = START + hours(30) if number % 10 == 0 else START + timedelta(seconds=chance.randrange(6 * 86_400))
        rows.append(row(f"p{number}", at=at, amount=float(number)))
    chance.shuffle(rows)
    with world.spool() as spool:
        for first in range(0, n, 100):
            spool.append_predictions(batch(rows[first : first + 100]))
        for number in range(0, n, 2):
            outcomes = [said(f"p{number}", number % 4 == 0, START + hours(200))]
            if number % 6 == 0:
                outcomes.append(said(f"p{number}", number % 4 != 0, START + hours(300)))
            spool.append_outcomes(MODEL, outcomes)
    world.move()


@pytest.mark.usefixtures("small")
def test_slices_and_chapters_give_what_the_log_gives_at_once(world: World) -> None:
    filled(world)
    target = world.root / "all.parquet"
    done = export(world.log, target)
    found, whole = pl.read_parquet(target), world.log.predictions().collect()
    assert done.rows == 700
    assert found["event_time"].is_sorted()
    assert found.sort("event_time", "prediction_id").equals(whole)
    assert (done.first, done.last) == (whole["event_time"][0], whole["event_time"][-1])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", [100, 250, 400])
def test_outcomes_are_those_known_then(world: World, at: float) -> None:
    filled(world)
    as_of = START + hours(at)
    target = world.root / "known.parquet"
    done = export(world.log, target, outcomes=OutcomesWanted(target=MODEL, as_of=as_of, delay=hours(120)))
    found = pl.read_parquet(target)
    known = world.log.known(as_of, name=MODEL).collect()
    joined = found.drop_nulls("outcome_text").select("prediction_id", "outcome", "outcome_text", "outcome_at")
    assert joined.sort("prediction_id").equals(known.sort("prediction_id"))
    assert done.known == known.height == {100: 0, 250: 350, 400: 350}[int(at)]
    assert found["matured"].to_list() == (found["event_time"] <= as_of - hours(120)).to_list()


def test_a_span_is_half_open_and_three_formats_hold_the_same(world: World) -> None:
    filled(world, 200)
    start, end = START + hours(24), START + hours(30) + timedelta(seconds=1)
    expected = world.log.predictions(start, end).collect()
    assert expected.filter(pl.col("event_time") == START + hours(30)).height == 20
    for ending in ("parquet", "csv", "ndjson"):
        target = world.root / f"span.{ending}"
        assert export(world.log, target, start=start, end=end).rows == expected.height
    table = pl.read_parquet(world.root / "span.parquet")
    text = pl.read_csv(world.root / "span.csv", try_parse_dates=True)
    lines = [json.loads(line) for line in (world.root / "span.ndjson").read_text().splitlines()]
    assert (
        sorted(text["prediction_id"]) == sorted(one["prediction_id"] for one in lines) == sorted(table["prediction_id"])
    )
    assert text["event_time"].to_list() == table["event_time"].to_list()
    assert [json.loads(one) for one in text["scores"]] == [one["scores"] for one in lines]


def test_nothing_is_overwritten_unless_that_is_said_and_no_half_file_is_left(world: World) -> None:
    filled(world, 200)
    target = world.root / "kept.csv"
    target.write_text("mine")
    with pytest.raises(UsageError, match=r"exists and is not overwritten.*--force"):
        export(world.log, target)
    assert target.read_text() == "mine"
    with pytest.raises(NotFound, match="no traffic in that span"):
        export(world.log, target, start=START + hours(999), force=True)
    assert target.read_text() == "mine"
    export(world.log, target, force=True)
    assert target.read_text().startswith("prediction_id,")
    for odd in (world.root / "x.xlsx", world.root / "none" / "x.csv", world.root):
        with pytest.raises(UsageError):
            export(world.log, odd)
    assert [path.name for path in Path(world.root).iterdir() if path.is_file()] == ["kept.csv"]
