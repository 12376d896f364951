"""`everloop traffic`: as a person works with it, in a terminal of 80 columns."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.traffic import Spool

from ..production.importer import facts, history_shop, past
from ..traffic.world import START, batch, row, said, said_of
from .terminal import environment, everloop

IMPORT = ("traffic", "import", "past.parquet", "--decision", "verdict", "--positive", "stop")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = history_shop(tmp_path_factory.mktemp("traffic") / "shop")
    past().write_parquet(made / "past.parquet")
    return made


def fits(text: str) -> bool:
    return max(map(len, text.splitlines()), default=0) <= 80


def record(root: Path, *ids: str, card: str = "c7") -> None:
    with Spool.open(root / ".everloop" / "spool", clock=SystemClock()) as spool:
        spool.append_predictions(batch([row(one, card=card) for one in ids], versions=1, thresholds=(0.5,)))
        spool.append_outcomes("fraud", [said(ids[-1], True, START)])


def test_a_day_with_traffic_from_import_to_forget(root: Path) -> None:
    """One test, for each command works on what the one before left."""
    empty = everloop("traffic", "tail", cwd=root)
    assert (empty.code, empty.out) == (0, "")
    assert "everloop traffic import" in empty.err

    dry = everloop(*IMPORT, "--dry-run", cwd=root)
    assert dry.code == 0, dry.err
    assert fits(dry.out)
    assert "600 as answers of v1" in dry.out
    assert "decided alike" in dry.err
    assert "nothing was written" in dry.err
    done = everloop(*IMPORT, "--json", cwd=root)
    assert (done.code, done.json["new"], done.json["columns"]["positive"]) == (0, 600, "stop"), done.err
    again = everloop(*IMPORT, cwd=root)
    assert (again.code, again.out) == (0, "")
    assert "nothing was added" in again.err
    assert [fact["rows"] for fact in facts(root)] == [600]

    record(root, "live-1", "live-2")
    with Spool.open(root / ".everloop" / "spool", clock=SystemClock()) as spool:
        spool.append_outcomes("fraud", [said_of("c8", START, 1, START)])
    tail = everloop("traffic", "tail", "-n", "4", "--outcomes", cwd=root)
    assert tail.code == 0, tail.err
    assert fits(tail.out)
    assert re.search(r"live-2 +v1 +champion +0.01 +not_fraud", tail.out)
    assert re.search(r"live-2 +outcome fraud = true \(test\)", tail.out)
    assert re.search(r"c8 +outcome fraud = 1 of 03-01 00:00:00", tail.out)
    told = [json.loads(line) for line in everloop("traffic", "tail", "--json", cwd=root).out.splitlines()]
    assert [one["prediction_id"] for one in told][-2:] == ["live-1", "live-2"]
    assert told[-1]["table"] == "predictions"
    assert {"in_amount", "f_amount_log", "scores"} <= told[-1].keys()

    listed = everloop("traffic", "list", "--json", cwd=root).json
    assert (listed[0]["predictions"]["rows"], listed[0]["predictions"]["waiting"]) == (600, 2)
    shown = everloop("traffic", "show", "--columns", cwd=root)
    assert shown.code == 0, shown.err
    assert "in_v0" in shown.out
    assert "2024-01-01           144" in shown.out

    out = everloop("traffic", "export", "--out", "all.csv", "--outcomes", "--from", "2024-01-02", cwd=root)
    assert out.code == 0, out.err
    assert fits(out.out)
    assert "wait in spools" in out.err
    assert pl.read_csv(root / "all.csv").height == 600 - 144
    assert everloop("traffic", "export", "--out", "all.csv", cwd=root).code == 2
    assert everloop("traffic", "export", "--out", "x.csv", "--as-of", "1d", cwd=root).code == 2

    unasked = everloop("traffic", "forget", "c7", "--reason", "by letter", cwd=root)
    assert unasked.code == 2
    assert "15 predictions, 15 outcomes and 3 waiting rows" in unasked.err
    named = everloop("traffic", "forget", "c7", "--yes", "--reason", "c7 wrote", cwd=root)
    assert named.code == 2
    gone = everloop("traffic", "forget", "c7", "--yes", "--reason", "by letter of 1 May", cwd=root)
    assert gone.code == 0, gone.err
    assert fits(gone.out)
    assert "15 deleted from the log" in gone.out
    assert "the run r-first keeps" in gone.err
    assert "the source payments.parquet has 250 of their rows" in gone.err
    twice = everloop("traffic", "forget", "c7", "--yes", "--reason", "by letter of 1 May", "--json", cwd=root)
    assert (twice.json["predictions"], twice.json["fact"]) == (0, None)
    (fact,) = facts(root, "traffic.forgotten")
    assert (fact["predictions"], fact["outcomes"], fact["waiting"]) == (15, 15, 3)
    assert "c7" not in json.dumps({name: value for name, value in fact.items() if name != "subject"})
    past().with_columns(payment="again-" + pl.col("payment")).write_parquet(root / "again.parquet")
    back = everloop("traffic", "import", "again.parquet", "--threshold", "0.5", "--json", cwd=root)
    assert (back.json["new"], back.json["left_out"], back.json["forgotten"]) == (585, 15, 15)


def test_what_makes_no_sense_is_said(root: Path) -> None:
    for words, sentence in (
        (("import", "nowhere.csv"), "nowhere.csv does not exist"),
        (("import", "past.parquet", "--input", "v0"), "is no NAME=COLUMN"),
        (("import", "past.parquet", "--version", "v9"), "has no version v9"),
        (("export", "--out", "a.xlsx"), "it ends in .parquet, .csv, .ndjson"),
        (("tail", "nobody"), "there is no model 'nobody'"),
    ):
        ended = everloop("traffic", *words, cwd=root)
        assert ended.code in (1, 2)
        assert sentence in " ".join(ended.err.split()), (words, ended.err)


def test_a_tail_that_follows_tells_rows_as_they_come_and_ends_by_ctrl_c(root: Path) -> None:
    words = ("traffic", "tail", "-f", "-n", "0", "--json")
    program = [sys.executable, "-c", "from everloop.cli import main; main()", *words]
    with subprocess.Popen(
        program, cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None
        names = iter(f"come-{n}" for n in range(10_000))
        begun = None
        while begun is None:  # until it has taken its first look, what comes is no news to it
            record(root, next(names), card="c9")
            begun = json.loads(tail.stdout.readline()) if select.select([tail.stdout], [], [], 0.3)[0] else None
        assert begun["prediction_id"].startswith("come-")
        tail.send_signal(signal.SIGINT)
        _, talk = tail.communicate(timeout=60)
        assert tail.returncode == 130
        assert "stopped" in talk


def test_the_ledger_verifies_after_all_of_it(root: Path) -> None:
    with Ledger.open(Project.open(root, environment={}), clock=SystemClock()) as ledger:
        assert ledger.verify().ok
