"""Machines that share the artefacts and no disk: what one of them left half way, another finishes, each row once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.storage import FolderStorage
from everloop.workflows import cancel_run

from .scorer import LATER, copied, logged, new_rows, scored, table, told, trained_shop

RUN = "r-killed"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = trained_shop(tmp_path_factory.mktemp("elsewhere") / "shop")
    new_rows(100, seed=1).write_parquet(shop / "incoming" / "a.parquet")
    return shop


def died_and_cancelled(trained: Path, tmp_path: Path, point: str) -> Path:
    """The project as another machine has it: the ledger and the tables, and nothing of what the dead one's disk held.

    What its disk held lies beside, in `disk`; what was sent in `sent`.
    """
    root = copied(trained, tmp_path / point.replace(":", "-").replace(" ", "-"))
    program = [sys.executable, "-m", "tests.production.scorer", str(tmp_path), RUN, point]
    shared = os.environ | {"SCORER_ARTIFACTS": str(tmp_path / "sent")}
    done = subprocess.run(
        program, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True, env=shared
    )
    assert done.stdout.split("\t")[1].strip() == str(-signal.SIGKILL), done.stderr
    with Ledger.open(Project.open(root, environment={}), clock=SimulatedClock(LATER)) as ledger:
        assert cancel_run(ledger, RUN, actor="bob", reason="enough").status == "cancelled"
    (root / ".everloop" / "runs").rename(tmp_path / "disk")
    return root


def sent(tmp_path: Path) -> list[str]:
    """The objects of rows that are kept for other machines."""
    return [one.key for one in FolderStorage(tmp_path / "sent").list("runs/") if not one.key.endswith(".step.json")]


@pytest.mark.parametrize("point", ["at:wrote 1", "at:recorded 1", "at:recorded"])
def test_another_machine_finishes_what_one_left(trained: Path, tmp_path: Path, point: str) -> None:
    root = died_and_cancelled(trained, tmp_path, point)
    assert f"runs/{RUN}/batch.json" in sent(tmp_path)
    after = scored(root, "r-next", artifacts=tmp_path / "sent")
    assert (after.status, after.state["rows"]) == ("finished", 0)
    ids = sorted(f"new-{at}" for at in range(100))
    assert table(root)["id"].to_list() == logged(root)["prediction_id"].to_list() == ids
    assert [done["run"] for done in told(root)] == [RUN]
    assert not [key for key in sent(tmp_path) if "batch.json" in key or "/parts/" in key]


def test_a_batch_that_was_never_sent_is_scored_anew_and_not_written_when_its_machine_is_back(
    trained: Path, tmp_path: Path
) -> None:
    root = died_and_cancelled(trained, tmp_path, "at:scored")
    assert not [key for key in sent(tmp_path) if "batch.json" in key]
    assert scored(root, "r-next", artifacts=tmp_path / "sent").state["rows"] == 100
    shutil.rmtree(root / ".everloop" / "runs")
    shutil.copytree(tmp_path / "disk", root / ".everloop" / "runs")
    back = scored(root, "r-back", artifacts=tmp_path / "sent")
    assert (back.status, back.state["finished_others"], back.state["rows"]) == ("finished", [], 0)
    assert table(root)["id"].to_list() == sorted(f"new-{at}" for at in range(100))
    assert [done["run"] for done in told(root)] == ["r-next"]


def test_a_batch_that_was_sent_in_part_is_scored_anew(trained: Path, tmp_path: Path) -> None:
    root = died_and_cancelled(trained, tmp_path, "written:score")
    for key in sent(tmp_path):
        if "/parts/" in key:
            FolderStorage(tmp_path / "sent").remove(key)
    after = scored(root, "r-next", artifacts=tmp_path / "sent")
    assert (after.status, after.state["finished_others"], after.state["rows"]) == ("finished", [], 100)
    assert table(root)["id"].to_list() == sorted(f"new-{at}" for at in range(100))


def test_rows_that_were_scored_do_not_stay_with_the_artefacts(trained: Path, tmp_path: Path) -> None:
    root = copied(trained, tmp_path / "shop")
    assert scored(root, "r-1", artifacts=tmp_path / "sent").status == "finished"
    assert not [key for key in sent(tmp_path) if "batch.json" in key or "/parts/" in key]
