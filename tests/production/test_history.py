"""Imported history: validated, mapped, each row once whatever dies, and judged by the monitor like any traffic."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from everloop.bundle import BundleStore
from everloop.clock import SimulatedClock
from everloop.errors import ContractViolation, IdConflict, NotFound, UsageError
from everloop.ledger import Ledger
from everloop.monitoring import Monitor
from everloop.production import SaidColumns, version_of_history
from everloop.production.repeats import repeats
from everloop.project import Project
from everloop.traffic import Mover, Spool, TrafficLog

from ..traffic.world import batch, row
from .importer import LATER, POINTS, facts, history_shop, imported, past, untrained_shop
from .scorer import log_of, logged

KILLED = [f"{point}@{arrival}" for point, arrival in zip(POINTS, (2, 1, 3, 1), strict=True)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return history_shop(tmp_path_factory.mktemp("history") / "shop")


@pytest.fixture
def root(shop: Path, tmp_path: Path) -> Path:
    shutil.copytree(shop, tmp_path / "shop")
    return tmp_path / "shop"


def test_rows_come_as_answers_of_the_champion_with_features_and_outcomes(root: Path) -> None:
    rows = past()
    rows.sample(fraction=1, shuffle=True, seed=1).write_csv(root / "past.csv")
    done = imported(root, "past.csv")
    assert (done.rows, done.new, done.repeated, done.left_out, done.outcomes) == (600, 600, 0, 0, 600)
    log = log_of(root)
    frame = log.predictions().collect()
    assert frame["prediction_id"].to_list() == rows["payment"].to_list()
    assert frame["event_time"].to_list() == rows["paid_at"].to_list()
    assert frame["score"].to_list() == pytest.approx(rows["proba"].to_list(), abs=1e-6)
    assert frame["decision"].to_list() == (rows["verdict"] == "stop").to_list()
    assert frame["entity"].to_list() == rows["card"].to_list()
    assert frame["in_v0"].to_list() == pytest.approx(rows["v0"].to_list())
    assert set(frame["side"]) == {"imported"}
    assert set(frame["answered_version"]) == {1}
    assert frame["scores"].list.first().struct.field("score").to_list() == frame["score"].to_list()
    project = Project.open(root, environment={})
    with Ledger.open(project, clock=SimulatedClock(LATER)) as ledger:
        bundle = BundleStore.of(project).load(ledger.version("fraud", 1).bundle)
    expected = bundle.features.matrix(rows.with_columns(event_time=pl.col("paid_at")))
    assert frame.select(f"f_{name}" for name in bundle.features.names).to_numpy() == pytest.approx(expected)
    known = log.known(LATER, name="fraud").collect()
    assert known.sort("prediction_id")["outcome"].to_list() == rows.sort("payment")["fraud"].to_list()
    # nothing says when it was known: no earlier than it was due
    due = dict(zip(rows["payment"], rows["paid_at"], strict=True))
    assert all(at == due[identity] for identity, at in known.select("prediction_id", "outcome_at").iter_rows())
    (fact,) = facts(root)
    assert (fact["source"], fact["rows"], fact["version"], fact["columns"]["score"]) == ("past.csv", 600, 1, "proba")
    assert len(fact["sha256"]) == 64
    # an import answers nobody, and no audit says that it did
    assert log.answered([(datetime(2024, 1, 1, tzinfo=UTC), None)]) == [[]]


def test_the_monitor_judges_windows_of_before_on_the_first_day(root: Path) -> None:
    past(1500).write_parquet(root / "past.parquet")
    imported(root, "past.parquet")
    project, clock = Project.open(root, environment={}), SimulatedClock(LATER)
    with Ledger.open(project, clock=clock) as ledger:
        log = TrafficLog(project.paths.traffic, "fraud")
        monitor = Monitor(project.model(), ledger=ledger, log=log, bundles=BundleStore.of(project), clock=clock)
        reports = monitor.judge(settled=True)
    traffic = [one for one in reports if one.kind == "traffic"]
    matured = [one for one in reports if one.kind == "outcomes"]
    assert len(traffic) == len(matured) == 11  # 1,500 rows, ten minutes apart
    assert {one.version for one in reports} == {1}
    checked = {check.name: check.verdict.outcome for one in traffic for check in one.checks}
    assert checked["schema"] == "passed"
    assert sum(one.positives for one in matured) == past(1500)["fraud"].sum()
    assert any("recall" in one.metrics for one in matured)


def test_the_same_file_adds_nothing_and_other_content_is_refused(root: Path) -> None:
    rows = past()
    rows.write_parquet(root / "past.parquet")
    imported(root, "past.parquet")
    before = logged(root)
    again = imported(root, "past.parquet")
    assert (again.again, again.by, again.new) == (True, "alice", 0)
    shutil.copy(root / "past.parquet", root / "renamed.parquet")
    assert imported(root, "renamed.parquet").again
    more = pl.concat([rows[300:], past(700, seed=9)[600:]])
    more.write_parquet(root / "more.parquet")
    overlapping = imported(root, "more.parquet")
    assert (overlapping.new, overlapping.repeated) == (100, 300)
    assert logged(root).height == before.height + 100
    assert log_of(root).count()[1] == 700
    changed = rows.with_columns(proba=pl.when(pl.col("payment") == "old-41").then(0.25).otherwise("proba"))
    changed.write_parquet(root / "changed.parquet")
    with pytest.raises(IdConflict, match=r"row 42: old-41 is recorded with score .*, not 0\.25"):
        imported(root, "changed.parquet")
    with pytest.raises(IdConflict, match="recorded with decision"):
        imported(root, "past.parquet", said=SaidColumns(threshold=0.01))
    assert logged(root).height == before.height + 100
    assert [fact["rows"] for fact in facts(root)] == [600, 100]


def test_a_row_that_waits_in_a_spool_is_not_imported_over(root: Path) -> None:
    clock = SimulatedClock(LATER)
    with Spool.open(root / ".everloop" / "spool", clock=clock) as spool:
        spool.append_predictions(batch([row("old-7", at=LATER)]))
    past().write_parquet(root / "past.parquet")
    with pytest.raises(IdConflict, match="row 8: old-7 is recorded with event_time"):
        imported(root, "past.parquet")
    with Mover.open(spool=root / ".everloop" / "spool", traffic=root / ".everloop" / "traffic", clock=clock) as mover:
        mover.move_once()
    with pytest.raises(IdConflict, match="row 8: old-7"):
        imported(root, "past.parquet")


def test_every_problem_is_told_with_row_and_column_and_nothing_is_written(root: Path) -> None:
    rows = past().with_row_index("n")
    spoilt = rows.with_columns(
        v0=pl.when(pl.col("n") == 300).then(None).otherwise("v0"),
        amount=pl.when(pl.col("n") == 301).then(float("inf")).otherwise("amount"),
        proba=pl.when(pl.col("n").is_in([302, 303])).then(7.0).otherwise("proba"),
        verdict=pl.when(pl.col("n") == 304).then(None).otherwise("verdict"),
        payment=pl.when(pl.col("n") == 305).then(pl.lit("no id!"))
        .when(pl.col("n") == 306).then(pl.lit("old-1")).otherwise("payment"),
        paid_at=pl.when(pl.col("n") == 307).then(LATER + timedelta(days=3)).otherwise("paid_at"),
    ).drop("n")  # fmt: skip
    spoilt.write_parquet(root / "past.parquet")
    with pytest.raises(ContractViolation) as told:
        imported(root, "past.parquet")
    said = str(told.value)
    for words in (
        "column 'v0' is null or NaN and must not be in 1 row: row 301",
        "column 'amount' is infinite in 1 row: row 302, inf",
        "column 'proba' is no score between 0 and 1 in 2 rows: row 303, 7.0",
        "column 'verdict' does not say fraud or not_fraud, 1 or 0",
        "row 305",
        "column 'payment' must hold 1 to 64 of A-Z a-z 0-9 . _ : - in 1 row: row 306, 'no id!'",
        "column 'paid_at' is yet to come in 1 row: row 308, 2024-05-04 00:00:00+00:00",
        "column 'payment' has an id with different rows, such as row 2, in 2 rows: row 307, 'old-1'",
        "--skip-bad",
    ):
        assert words in said, words
    assert not (root / ".everloop" / "traffic").exists()
    kept = imported(root, "past.parquet", skip_bad=True)
    # of two rows under one id nobody knows which is right
    assert (kept.new, kept.left_out) == (591, 9)
    assert not {"old-1", *(f"old-{n}" for n in range(300, 308))} & set(logged(root)["prediction_id"])


def test_columns_are_guessed_or_said_and_what_is_missing_is_said_at_once(root: Path) -> None:
    rows = past(50)
    other = rows.rename({"proba": "fraud_score", "amount": "euros", "paid_at": "when", "fraud": "label"})
    other = other.drop("verdict").with_columns(known_at=pl.col("when") + timedelta(days=3))
    other.write_parquet(root / "other.parquet")
    with pytest.raises(ContractViolation, match=r"lacks what the version reads of a row: 'paid_at'.*'amount'"):
        imported(root, "other.parquet", said=SaidColumns())
    said = SaidColumns(time="when", inputs={"amount": "euros"}, threshold=0.3)
    done = imported(root, "other.parquet", said=said)
    assert (done.columns.score, done.columns.outcome, done.columns.observed_at) == ("fraud_score", "label", "known_at")
    frame = log_of(root).predictions().collect()
    assert frame["decision"].to_list() == (rows["proba"].cast(pl.Float32) >= 0.3).to_list()
    assert frame["in_amount"].to_list() == rows["amount"].to_list()
    known = log_of(root).known(LATER, name="fraud").collect()
    assert set(known["outcome_at"]) == {at + timedelta(days=3) for at in rows["paid_at"]}
    for mistaken, sentence in (
        (SaidColumns(score="prob"), "has no column 'prob'"),
        (SaidColumns(decision="verdict", threshold=0.2), "say --decision or --threshold"),
        (SaidColumns(inputs={"amonut": "amount"}), "no such column; did you mean 'amount'"),
    ):
        rows.write_parquet(root / "past.parquet")
        with pytest.raises(UsageError, match=sentence):
            imported(root, "past.parquet", said=mistaken)
    rows.drop("proba").write_parquet(root / "unscored.parquet")
    with pytest.raises(UsageError, match=r"which column of unscored.parquet is the score"):
        imported(root, "unscored.parquet", said=SaidColumns())
    rows.drop("payment").write_parquet(root / "nameless.parquet")
    with pytest.raises(ContractViolation, match="no column 'payment', the id"):
        imported(root, "nameless.parquet")


def test_a_delta_table_is_read_too_and_a_dry_run_writes_nothing(root: Path) -> None:
    write_deltalake(str(root / "past"), past(300))
    dry = imported(root, "past", dry_run=True)
    assert (dry.new, dry.fact) == (300, None)
    assert dry.agreement is not None
    assert dry.agreement.rows == 250
    assert not (root / ".everloop" / "traffic").exists()
    assert imported(root, "past").new == 300


def test_without_a_champion_the_next_step_is_said(tmp_path: Path) -> None:
    root = untrained_shop(tmp_path / "shop")
    past().write_parquet(root / "past.parquet")
    with pytest.raises(NotFound, match=r"no champion yet.*everloop train.*everloop check FILE"):
        imported(root, "past.parquet")
    with Ledger.open(Project.open(root, environment={}), clock=SimulatedClock(LATER)) as ledger:
        with pytest.raises(UsageError, match="'legacy' is no version"):
            version_of_history(ledger, "fraud", "legacy")
        with pytest.raises(NotFound):
            version_of_history(ledger, "fraud", "v4")


@pytest.fixture(scope="module")
def dead(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop for each point, in which the process that imported died there."""
    here = tmp_path_factory.mktemp("dead")
    for point in KILLED:
        shutil.copytree(shop, here / point.replace(" ", "-"))
        past().write_parquet(here / point.replace(" ", "-") / "past.parquet")
    program = [sys.executable, "-m", "tests.production.importer", str(here), *KILLED]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    codes = dict(line.split("\t") for line in done.stdout.splitlines())
    assert set(codes.values()) == {str(-signal.SIGKILL)}, (codes, done.stderr)
    return here


@pytest.mark.parametrize("point", KILLED)
def test_killed_anywhere_and_begun_again_every_row_is_there_once(dead: Path, point: str) -> None:
    root = dead / point.replace(" ", "-")
    assert facts(root) == []
    done = imported(root, "past.parquet")
    assert (done.new, done.repeated) == (600, 0)
    assert sorted(logged(root)["prediction_id"]) == sorted(past()["payment"])
    assert log_of(root).count() == (600, 600)
    assert [fact["rows"] for fact in facts(root)] == [600]
    assert imported(root, "past.parquet").again


def test_repeats_are_told_from_other_content_a_part_of_the_ids_at_a_time() -> None:
    rows = pl.DataFrame({"id": [f"p{n % 70}" for n in range(100)], "v": [n % 70 for n in range(100)]})
    rows = rows.with_columns(v=pl.when(pl.int_range(pl.len()) == 99).then(-1).otherwise("v"))
    for at_once in (1000, 7):
        found = repeats(rows.lazy(), "id", ids_at_once=at_once)
        assert found.ids.to_list() == ["p29"]
        assert sorted(found.surplus) == list(range(70, 99))
        among = found.among(rows["id"], pl.Series(range(100)))
        assert among.arg_true().to_list() == [29, *range(70, 100)]
