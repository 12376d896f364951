"""Law 9 for batch scoring: killed at any point and taken up again, no row is missing or there twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.workflows import cancel_run

from .scorer import LATER, logged, new_rows, scored, table, told, trained_shop

STEPS = ("plan", "score", "write", "capture", "record")
POINTS = (
    "queued:run",
    "started:run",
    *(f"{moment}:{step}" for step in STEPS for moment in ("before", "written", "after")),
    "at:scored",
    "at:writing 1",
    "at:wrote 1",
    "at:recording 1",
    "at:recorded 1",
    "at:recorded",
    "after:run",
)
LIGHT = ("started:run", "written:write", "at:wrote 1", "at:recording 1", "at:recorded 1", "after:record")
"""Where it is killed in every run of the tests; `make chaos` does so at all points."""
CANCELLED = ("at:wrote 1", "after:write", "at:recorded 1", "before:record")
RUN = "r-killed"


def folder_of(point: str) -> str:
    return point.replace(":", "-").replace(" ", "-")


@pytest.fixture(scope="module")
def dead(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for each point that is asked for, in which the process that scored died there."""
    asked = {item.callspec.params["point"] for item in request.session.items if item.path == request.path}
    points = [point for point in POINTS if point in asked]
    here = tmp_path_factory.mktemp("dead")
    shop = trained_shop(here / "shop")
    rows = new_rows(400, seed=1).with_columns(
        amount=pl.when(pl.col("payment") == "new-3").then(float("inf")).otherwise("amount")
    )
    rows[:250].write_parquet(shop / "incoming" / "a.parquet")
    rows[250:].write_parquet(shop / "incoming" / "b.parquet")
    for point in points:
        shutil.copytree(shop, here / folder_of(point))
    program = [sys.executable, "-m", "tests.production.scorer", str(here), RUN, *points]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    codes = dict(line.split("\t") for line in done.stdout.splitlines())
    assert codes == {point: str(-signal.SIGKILL) for point in points}, done.stderr
    return here


def all_once(root: Path) -> None:
    expected = sorted(f"new-{at}" for at in range(400) if at != 3)
    assert table(root)["id"].to_list() == expected
    assert logged(root)["prediction_id"].to_list() == expected
    assert pl.read_delta(str(root / "scored-rejected"))["id"].to_list() == ["new-3"]
    assert table(root)["score"].equals(logged(root)["score"])
    (done,) = told(root)
    assert (done["run"], done["rows"], done["rejected"]) == (RUN, 399, 1)
    assert not list((root / ".everloop" / "runs").glob("*/parts"))


@pytest.mark.parametrize(
    "point", [point if point in LIGHT else pytest.param(point, marks=pytest.mark.chaos) for point in POINTS]
)
def test_killed_and_taken_up_again_every_row_is_there_once(dead: Path, point: str, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    shutil.copytree(dead / folder_of(point), root)
    assert scored(root, RUN, recover=True).status == "finished"
    all_once(root)
    assert scored(root, "r-next").state["rows"] == 0
    all_once(root)


@pytest.mark.parametrize("point", CANCELLED)
def test_killed_and_cancelled_the_next_run_finishes_what_it_left(dead: Path, point: str, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    shutil.copytree(dead / folder_of(point), root)
    with Ledger.open(Project.open(root, environment={}), clock=SimulatedClock(LATER)) as ledger:
        assert cancel_run(ledger, RUN, actor="bob", reason="enough").status == "cancelled"
    after = scored(root, "r-next")
    assert (after.status, after.state["finished_others"], after.state["rows"]) == ("finished", [RUN], 0)
    all_once(root)
