"""What is new is scored by the champion, once: into a table, and into the traffic log."""

from __future__ import annotations

import resource
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from everloop.bundle import Bundle, BundleStore
from everloop.clock import SimulatedClock
from everloop.data import conform
from everloop.errors import StorageFull, WorkflowError
from everloop.ledger import Ledger, RefusedInput
from everloop.production import scoring_workflow
from everloop.production.batch import Batch, read_batch, score_inputs
from everloop.production.inputs import Known, news
from everloop.production.scored import capture, write_tables
from everloop.project import Project
from everloop.traffic import pending_rows

from .scorer import LATER, SCORE, copied, log_of, logged, new_rows, scored, table, told, trained_shop
from .shop import run_context


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_shop(tmp_path_factory.mktemp("scoring") / "shop")


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return copied(trained, tmp_path / "shop")


def test_only_what_is_new_is_scored_with_version_and_time_and_is_in_the_log(root: Path) -> None:
    first, second = new_rows(300, seed=1), new_rows(200, seed=2, first=300)
    first.write_parquet(root / "incoming" / "a.parquet")
    one = scored(root, "r-1")
    assert (one.status, one.state["rows"], one.sentence) == ("finished", 300, "300 rows of 1 file scored by v1")
    second.write_csv(root / "incoming" / "b.csv")
    two = scored(root, "r-2")
    assert (two.state["rows"], two.state["files"]) == (200, 1)
    nothing = scored(root, "r-3")
    assert (nothing.status, nothing.state["sentence"]) == ("finished", "nothing is new in incoming")
    result = table(root)
    assert result.columns == ["id", "event_time", "score", "decision", "version", "scored_at", "source"]
    assert result["id"].to_list() == sorted([*first["payment"], *second["payment"]])
    assert result["version"].unique().to_list() == [1]
    assert result["scored_at"].unique().to_list() == [LATER]
    rows = logged(root)
    assert rows["prediction_id"].to_list() == result["id"].to_list()
    assert rows["score"].equals(result["score"])
    assert rows["side"].unique().to_list() == ["batch"]
    assert rows["answered_version"].unique().to_list() == [1]
    assert rows["event_time"].equals(result["event_time"])
    assert rows["decision"].to_list() == [one == "fraud" for one in result["decision"]]
    done = told(root)
    assert [(each["run"], each["rows"], [file["name"] for file in each["inputs"]]) for each in done] == [
        ("r-1", 300, ["incoming/a.parquet"]),
        ("r-2", 200, ["incoming/b.csv"]),
    ]
    assert not list((root / ".everloop" / "runs" / "r-1").glob("parts/*"))
    window = log_of(root).predictions(result["event_time"].min(), result["event_time"].max() + timedelta(seconds=1))
    assert window.collect().height == 500


def test_a_row_has_the_bytes_of_the_bundle_alone(root: Path) -> None:
    """Law 2: in a batch or alone."""
    rows = new_rows(100, seed=3)
    rows.write_parquet(root / "incoming" / "a.parquet")
    scored(root, "r-1")
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(LATER)) as ledger:
        bundle = BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle)
    names = list(bundle.contract.names_at_prediction())
    result = dict(table(root).select("id", "score").iter_rows())
    for at in (0, 50, 99):
        alone = bundle.score_frame(conform(rows[at : at + 1], bundle.contract, names=names)).score
        assert np.float32(result[rows["payment"][at]]).tobytes() == alone.tobytes()


def test_a_row_that_breaks_the_contract_is_kept_aside_with_its_reason(root: Path) -> None:
    rows = new_rows(50, seed=4).with_columns(
        amount=pl.when(pl.col("payment") == "new-7").then(float("inf")).otherwise("amount"),
        v1=pl.when(pl.col("payment") == "new-9").then(None).otherwise("v1"),
        payment=pl.when(pl.col("payment") == "new-11").then(pl.lit("two words")).otherwise("payment"),
    )
    pl.concat([rows, rows[3:4]]).write_parquet(root / "incoming" / "a.parquet")
    result = scored(root, "r-1")
    assert (result.state["rows"], result.state["rejected"]) == (47, 4)
    aside = pl.read_delta(str(root / "scored-rejected")).sort("row")
    assert aside.select("row", "id", "reason").rows() == [
        (8, "new-7", "column 'amount' is infinite"),
        (10, "new-9", "column 'v1' is null or NaN and must not be"),
        (12, "two words", "its id is not 1 to 64 of A-Z a-z 0-9 . _ : -"),
        (51, "new-3", "its id is that of an earlier row of the file"),
    ]
    assert '"payment":"new-9"' in aside["held"][1]
    assert table(root).height == logged(root).height == 47
    assert told(root)[0]["rejected"] == 4


def test_a_file_that_cannot_be_scored_is_refused_and_holds_up_no_other(root: Path) -> None:
    good = new_rows(20, seed=5)
    good.write_parquet(root / "incoming" / "b.parquet")
    good.drop("v1").write_parquet(root / "incoming" / "a.parquet")
    (root / "incoming" / "c.parquet").write_bytes(b"PAR1 half a file")
    (root / "incoming" / "d.parquet").write_bytes(b"")
    result = scored(root, "r-1")
    assert (result.status, result.state["rows"]) == ("finished", 20)
    refused = {line.split(":")[0]: line for line in result.state["refused"]}
    assert refused.keys() == {f"incoming/{name}.parquet" for name in "acd"}
    assert "column 'v1' is missing" in refused["incoming/a.parquet"]
    assert "it is empty" in refused["incoming/d.parquet"]
    scored(root, "r-2")
    assert len(told(root)) == 1  # the same refusals are told once
    new_rows(10, seed=6, first=100).write_parquet(root / "incoming" / "a.parquet")
    assert scored(root, "r-3").state["rows"] == 10
    assert logged(root).height == table(root).height == 30


def test_a_file_changed_after_it_was_scored_is_refused_and_one_moved_is_known(root: Path) -> None:
    path = root / "incoming" / "a.parquet"
    new_rows(20, seed=7).write_parquet(path)
    scored(root, "r-1")
    path.touch()
    path.rename(root / "incoming" / "moved.parquet")
    assert scored(root, "r-2").state["rows"] == 0
    new_rows(21, seed=8).write_parquet(path)
    result = scored(root, "r-3")
    assert result.state["rows"] == 0
    assert result.state["refused"][0].startswith("incoming/a.parquet: it was changed after it was scored")
    assert table(root).height == 20


def test_of_a_delta_table_what_was_added_is_new_and_a_compaction_is_not(root: Path) -> None:
    source = str(root / "incoming" / "table")
    (root / "fraud" / "model.yaml").write_text(
        (root / "fraud" / "model.yaml").read_text().replace("source: incoming,", "source: incoming/table,")
    )
    for number in range(2):
        write_deltalake(source, new_rows(10, seed=number, first=10 * number), mode="append")
    assert scored(root, "r-1").state["rows"] == 20
    DeltaTable(source).optimize.compact()
    assert scored(root, "r-2").state["rows"] == 0
    for number in range(2, 4):
        write_deltalake(source, new_rows(10, seed=number, first=10 * number), mode="append")
        DeltaTable(source).optimize.compact()
    # the files of version 3 and 5, which no later version has
    assert scored(root, "r-3").state["rows"] == 20
    assert scored(root, "r-4").state["rows"] == 0
    assert table(root)["id"].to_list() == sorted(f"new-{at}" for at in range(40))
    assert logged(root).height == 40
    assert told(root)[-1]["source_version"] == DeltaTable(source).version()
    write_deltalake(source, new_rows(10, seed=9, first=90), mode="overwrite")
    refused = scored(root, "r-5")
    assert refused.status == "refused"
    assert "rewritten by WRITE in version" in refused.sentence


def of_a_table(root: Path) -> Path:
    """The folder of a Delta table of two files that the model's new rows come from."""
    path = root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("source: incoming,", "source: incoming/table,"))
    source = root / "incoming" / "table"
    for number in range(2):
        write_deltalake(str(source), new_rows(10, seed=number, first=10 * number), mode="append")
    return source


@pytest.mark.parametrize("compacted", [False, True])
def test_a_file_of_a_delta_table_that_could_not_be_read_is_looked_at_again(root: Path, compacted: bool) -> None:
    source = of_a_table(root)
    path = next(iter(sorted(source.glob("*.parquet"))))
    held = path.read_bytes()
    path.write_bytes(b"half a file")
    first = scored(root, "r-1")
    assert first.state["rows"] == 10
    assert first.state["refused"][0].startswith(f"{path.name}: ")
    scored(root, "r-2")
    assert len(told(root)) == 1  # the same refusal is told once
    path.write_bytes(held)
    if compacted:
        DeltaTable(str(source)).optimize.compact()
    again = scored(root, "r-3")
    assert (again.state["rows"], again.state["refused"]) == (10, [])
    assert scored(root, "r-4").state["rows"] == 0
    assert table(root)["id"].to_list() == logged(root)["prediction_id"].to_list()
    assert table(root)["id"].to_list() == sorted(f"new-{at}" for at in range(20))


def test_a_refused_file_that_the_table_lost_is_told_once(root: Path) -> None:
    source = of_a_table(root)
    lost = Known(version=DeltaTable(str(source)).version(), refused=[RefusedInput(name="lost", sentence="a blip")])
    found = news("incoming/table", lost, root=root)
    assert not found.inputs
    assert [(one.name, one.sentence[:40]) for one in found.refused] == [
        ("lost", "it was refused before, and the table has")
    ]
    after = news("incoming/table", Known(version=found.version, refused=found.refused), root=root)
    assert (after.inputs, after.refused) == ([], [])


@pytest.mark.parametrize("part_rows", [100, 1000])
def test_no_room_for_what_is_scored_is_no_fault_of_the_file(root: Path, tmp_path: Path, part_rows: int) -> None:
    """Files of the batch may have 2 kB: the system says so as it would say that the disk is full.

    With 100 rows a file it says so while the source is read, with 1000 once all was.
    """
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(LATER)) as ledger:
        bundle = BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle)
    new_rows(200, seed=1).write_parquet(root / "incoming" / "a.parquet")
    items = news("incoming", Known(), root=root).inputs
    plan = Batch(id="r-1", model="fraud", version=1, revision=1, source="incoming", target="scored", as_of=LATER)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(StorageFull, match=r"no room for what is scored in .*Free some space there"):
            score_inputs(bundle, plan, items, folder=tmp_path / "run", schema=None, block_rows=50, part_rows=part_rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_batch(tmp_path / "run") is None


def test_rows_without_an_id_get_one_from_their_file_and_place(root: Path) -> None:
    contract = root / "fraud" / "contract.yaml"
    assert "payment" in contract.read_text()
    rows = new_rows(10, seed=1)
    half = rows.with_columns(payment=pl.when(pl.int_range(10) < 5).then("payment").otherwise(None))
    half.write_parquet(root / "incoming" / "a.parquet")
    result = scored(root, "r-1")
    # the contract of a shop wants an id of every row
    assert (result.state["rows"], result.state["rejected"]) == (5, 5)


def test_a_large_batch_is_moved_to_the_log_a_file_at_a_time_and_each_row_once(root: Path, tmp_path: Path) -> None:
    """So the spool never holds it whole; and what is in the log is not recorded again, whatever the spool remembers."""
    found, clock = Project.open(root, environment={}), SimulatedClock(LATER)
    with Ledger.open(found, clock=clock) as ledger:
        bundle = BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle)
    new_rows(50, seed=1).write_parquet(root / "incoming" / "a.parquet")
    items = news("incoming", Known(), root=root).inputs
    plan = Batch(id="r-1", model="fraud", version=1, revision=1, source="incoming", target="scored", as_of=LATER)
    folder, spool = tmp_path / "run", found.paths.spool
    batch = score_inputs(bundle, plan, items, folder=folder, schema=None, block_rows=10, part_rows=20)
    waiting: list[tuple[str, int]] = []

    def recorded(spool: Path) -> None:
        capture(
            batch,
            bundle,
            folder=folder,
            spool=spool,
            traffic=root / ".everloop" / "traffic",
            clock=clock,
            durability="process",
            crash=lambda point: waiting.append((point, pending_rows(spool))),
        )

    recorded(spool)
    begun, done = (waiting[at::2] for at in (0, 1))
    assert begun == [("recording 1", 0), ("recording 2", 0), ("recording 3", 0)]
    assert done == [("recorded 1", 20), ("recorded 2", 20), ("recorded 3", 10)]
    for place in (spool, tmp_path / "another spool"):
        recorded(place)
    assert len(waiting) == 6
    assert logged(root).height == 50


def test_a_large_file_comes_in_parts_and_a_broken_one_leaves_none(root: Path, tmp_path: Path) -> None:
    """Blocks of 7 rows, files of 20: what came before a file that breaks half way stays, and nothing of it does."""
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(LATER)) as ledger:
        bundle = BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle)
    frames = {"a": new_rows(11, seed=1), "b": new_rows(70, seed=2, first=100), "c": new_rows(90, seed=3, first=200)}
    for name, frame in frames.items():
        frame.write_parquet(root / "incoming" / f"{name}.parquet")
    items = news("incoming", Known(), root=root).inputs
    assert [item.name for item in items] == [f"incoming/{name}.parquet" for name in "abc"]
    new_rows(71, seed=4, first=300).write_parquet(root / "incoming" / "b.parquet")  # changed while it is read
    plan = Batch(id="r-1", model="fraud", version=1, revision=1, source="incoming", target="scored", as_of=LATER)
    batch = score_inputs(bundle, plan, items, folder=tmp_path / "run", schema=None, block_rows=7, part_rows=20)
    assert [one.name for one in batch.inputs] == ["incoming/a.parquet", "incoming/c.parquet"]
    assert "changed while it was read" in batch.refused[0].sentence
    parts = [pl.read_parquet(tmp_path / "run" / part.file) for part in batch.parts]
    assert [part.height for part in parts] == [part.rows for part in batch.parts]
    assert len(parts) > 4
    ids = [*frames["a"]["payment"], *frames["c"]["payment"]]
    assert [one for part in parts for one in part["id"]] == ids
    assert read_batch(tmp_path / "run") == batch


def in_parts(root: Path, folder: Path) -> tuple[Batch, Bundle]:
    """A batch of three files, scored into a run's folder and not yet written to its table."""
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(LATER)) as ledger:
        bundle = BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle)
    new_rows(50, seed=1).write_parquet(root / "incoming" / "a.parquet")
    items = news("incoming", Known(), root=root).inputs
    plan = Batch(id="r-1", model="fraud", version=1, revision=1, source="incoming", target="scored", as_of=LATER)
    batch = score_inputs(bundle, plan, items, folder=folder, schema=None, block_rows=10, part_rows=20)
    assert [part.rows for part in batch.parts] == [20, 20, 10]
    return batch, bundle


@pytest.mark.parametrize("at", [1, 2, 3])
def test_two_who_write_the_same_batch_at_once_write_it_once(root: Path, tmp_path: Path, at: int) -> None:
    """The other's commits land between the look at the table and the own commit; at 1, nobody had made the table."""
    folder = tmp_path / "run"
    batch, bundle = in_parts(root, folder)
    beside = []

    def other(point: str) -> None:
        if point == f"writing {at}":
            beside.append(point)
            write_tables(batch, bundle, folder=folder, root=root)

    write_tables(batch, bundle, folder=folder, root=root, crash=other)
    assert beside == [f"writing {at}"]
    assert table(root)["id"].to_list() == sorted(f"new-{number}" for number in range(50))


def test_a_table_that_others_write_to_takes_a_batch_all_the_same(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    batch, bundle = in_parts(root, folder)

    def other(point: str) -> None:
        if point.startswith("writing"):
            another = msgspec.structs.replace(batch, id=f"r-{point[-1]}-beside")
            write_tables(another, bundle, folder=folder, root=root)

    write_tables(batch, bundle, folder=folder, root=root, crash=other)
    assert table(root).height == 4 * 50


def test_a_run_that_was_cancelled_writes_no_further_file(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r-1"
    in_parts(root, folder)
    found, clock = Project.open(root, environment={}), SimulatedClock(LATER)
    reached: list[str] = []
    with Ledger.open(found, clock=clock) as ledger:
        context = run_context(
            found,
            ledger,
            step="write",
            workdir=folder,
            clock=clock,
            stopping=lambda: "at:wrote 1" in reached,
            crash=reached.append,
        )
        (step,) = [one for one in scoring_workflow().steps if one.name == "write"]
        with pytest.raises(WorkflowError, match="was stopped; the next run goes on with it"):
            step.run(context, {"target": "scored"})
    assert context.told.is_set()
    assert reached == ["at:writing 1", "at:wrote 1"]
    assert table(root).height == 20


def test_what_the_log_has_already_is_not_recorded_again(root: Path) -> None:
    rows = new_rows(40, seed=1)
    rows[:30].write_parquet(root / "incoming" / "a.parquet")
    scored(root, "r-1")
    rows[20:].write_parquet(root / "incoming" / "b.parquet")
    assert scored(root, "r-2").state["rows"] == 20
    assert table(root).height == 50
    assert logged(root)["prediction_id"].to_list() == sorted(rows["payment"])


def test_what_is_scored_where_nothing_is_named(root: Path) -> None:
    from everloop.errors import UsageError

    path = root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace(SCORE, "score: {source: incoming}\n"))
    new_rows(5, seed=1).write_parquet(root / "incoming" / "a.parquet")
    scored(root, "r-1")
    assert table(root / ".everloop" / "scored", "fraud").height == 5
    path.write_text(path.read_text().replace("score: {source: incoming}\n", ""))
    with pytest.raises(UsageError, match=r"has no score.source"):
        scored(root, "r-2")
