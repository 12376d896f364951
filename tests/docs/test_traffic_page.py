"""The page on traffic: its commands run in a shop, and its Polars and its DuckDB say the same of the tables."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.clock import SimulatedClock, to_us
from everloop.project import Project
from everloop.traffic import Mover, OutcomeRecord, Spool, TrafficLog

from ..cli.terminal import everloop
from ..production.importer import history_shop, past
from .test_commands import ROOT, commands

PAGE = "docs/traffic.md"
CODES = {"everloop check": (0, 3)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = history_shop(tmp_path_factory.mktemp("page") / "shop")
    past(900).write_parquet(root / "past.parquet")
    return root


def test_the_commands_run_in_their_order_and_the_examples_agree(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in commands(PAGE):
        if "forget" in line:
            read_by_both(shop, monkeypatch)
        ended = everloop(*shlex.split(line)[1:], cwd=shop)
        assert ended.code in CODES.get(line, (0,)), f"{line}: {ended.err}"
    week = pl.read_csv(shop / "week.csv", try_parse_dates=True)
    assert week.height == 3 * 144
    assert week["outcome"].null_count() == 0
    again = everloop("traffic", "forget", "c7", "--reason", "asked again", "--yes", "--json", cwd=shop)
    assert again.json["fact"] is None


def told_by_entity(shop: Path) -> TrafficLog:
    """Of some flagged rows the opposite turns out to be true, as somebody says who has no ids."""
    paths = Project.open(shop, environment={}).paths
    log = TrafficLog(paths.traffic, "fraud")
    flagged = log.predictions().filter("decision").select("entity", "event_time").collect()
    clock = SimulatedClock(datetime(2024, 4, 1, tzinfo=UTC))
    told = [
        OutcomeRecord(
            entity=entity,
            event_time_us=to_us(at),
            name="fraud",
            value=number % 2 == 0,
            observed_at_us=to_us(clock.now()),
        )
        for number, (entity, at) in enumerate(flagged.rows())
    ]
    with Spool.open(paths.spool, clock=clock) as spool:
        spool.append_outcomes("fraud", told)
    with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=clock) as mover:
        mover.move_once()
    return log


def read_by_both(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = told_by_entity(shop)
    polars, duckdb = re.findall(r"```python\n(.*?)```", (ROOT / PAGE).read_text(), re.S)
    monkeypatch.chdir(shop)
    said: list[list[tuple[Any, ...]]] = []
    for text in (polars, duckdb):
        names: dict[str, Any] = {}
        exec(compile(text, PAGE, "exec"), names)
        said.append(names["by_day"])
    by_polars = pl.DataFrame(said[0]).select("event_date", "answered", "precision").rows()
    assert len(by_polars) == 7
    assert sum(answered for _, answered, _ in by_polars) == 900
    assert [row[:2] for row in by_polars] == [row[:2] for row in said[1]]
    assert [row[2] for row in by_polars] == pytest.approx([row[2] for row in said[1]])
    known = log.labelled(
        as_of=datetime(2024, 4, 30, tzinfo=UTC), delay=timedelta(0), absent="negative", target="fraud"
    ).filter("decision")
    day = pl.col("event_time").dt.date()
    ours = known.group_by(day).agg(pl.col("outcome").mean()).sort("event_time").collect()["outcome"].to_list()
    assert [row[2] for row in by_polars] == pytest.approx(ours)
    assert 0.3 < sum(ours) / len(ours) < 0.7, "half of them, as was told by entity and time"


def test_the_page_names_every_column_of_the_tables(shop: Path) -> None:
    text = (ROOT / PAGE).read_text()
    books = everloop("traffic", "show", "--json", cwd=shop).json
    for table in ("predictions", "outcomes"):
        named = [name for name in books[table]["columns"] if not name.startswith(("in_", "f_"))]
        assert all(f"| `{name}` |" in text for name in named), named
    assert {"in_v0", "f_amount_log"} <= books["predictions"]["columns"].keys()
