"""Small worlds, played through the real endpoint, pipeline, monitor and control."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from rich.text import Text

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.replay import SCREEN_WIDTH, DemoPlan, DemoResult, LiveView, demo_screen, run_demo
from everloop.replay.digest import steady_facts
from everloop.traffic import TrafficLog

SMALL = DemoPlan(
    seed=3, drift=False, days=3, history_days=36, rows_per_day=5_000, trials=2, search_rows=8_000, rows_per_fit=15_000
)
KEYS = {
    "recall_before",
    "recall_drifted",
    "recall_after",
    "weekly_after",
    "never_after",
    "hours_to_alert",
    "hours_to_promotion",
    "requests",
    "rows",
    "failures",
    "lost",
    "alerts",
    "promotions",
    "refusals",
    "rollbacks",
    "seconds",
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(SMALL, folder=tmp_path_factory.mktemp("demo") / "payments")


def test_every_acknowledged_row_is_in_the_log_once(played: DemoResult) -> None:
    assert played.failures == played.lost == played.duplicates == 0
    assert played.rows == played.acknowledged > 10_000
    log = TrafficLog(Project.open(played.root).paths.traffic, "fraud")
    assert log.count()[0] == played.rows
    ids = log.predictions().select("prediction_id").collect()
    assert ids["prediction_id"].n_unique() == played.rows


def test_what_is_shown_is_what_the_log_says(played: DemoResult) -> None:
    log = TrafficLog(Project.open(played.root).paths.traffic, "fraud")
    with Ledger.open(Project.open(played.root), clock=SystemClock()) as ledger:
        assert ledger.verify().ok
    predictions = log.predictions().select("prediction_id", "decision").collect()
    known = log.known(played.plan.ends_at, name="Class").collect().filter(pl.col("outcome") == 1)
    frauds = known.join(predictions, on="prediction_id")
    after = played.arms[0].spans["after"]
    assert after.recall is not None
    assert after.positives == frauds.height == known.height
    assert after.recall.point == frauds["decision"].mean()
    assert after.flagged == predictions["decision"].sum()


def test_an_arm_scored_in_batch_is_bit_equal_to_what_the_endpoint_answered(played: DemoResult) -> None:
    assert [arm.name for arm in played.arms] == ["everloop", "never"]
    assert played.arms[0].spans == played.arms[1].spans


def test_json_holds_what_is_asked_for(played: DemoResult) -> None:
    document = json.loads(json.dumps(played.to_dict(), allow_nan=False))
    assert document.keys() >= KEYS
    assert document["alerts"] == document["promotions"] == document["lost"] == 0


def test_the_last_screen_fits_80_columns_and_ends_with_the_next_command(played: DemoResult) -> None:
    console = Console(width=SCREEN_WIDTH, highlight=False, record=True, file=io.StringIO())
    console.print(demo_screen(played))
    lines = console.export_text().rstrip().splitlines()
    assert max(map(len, lines)) <= SCREEN_WIDTH
    assert lines[-1].strip().startswith("everloop check ")


@pytest.mark.slow
def test_a_seed_gives_one_history_whoever_watches(played: DemoResult, tmp_path: Path) -> None:
    terminal = io.StringIO()
    view = LiveView(Console(file=terminal, force_terminal=True, width=100))
    again = run_demo(SMALL, folder=tmp_path / "payments", audience=view)
    seen = Text.from_ansi(terminal.getvalue()).plain
    assert "everloop demo" in seen
    assert all(label in seen for label in ("phase", "traffic", "recall", "alerts", "serving  v1 answers"))
    assert history(again.root) == history(played.root)
    assert again.digest == played.digest
    assert [arm.to_dict() for arm in again.arms[0].spans.values()] == [
        arm.to_dict() for arm in played.arms[0].spans.values()
    ]


def history(root: Path) -> list[tuple[Any, ...]]:
    with Ledger.open(Project.open(root), clock=SystemClock()) as ledger:
        return steady_facts(ledger)
