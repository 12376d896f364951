"""Someone's rows are gone for good: from log, spools and every file on the disk, whatever dies or runs meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from everloop.errors import TrafficError
from everloop.storage import open_storage
from everloop.traffic import (
    FORGET_POINTS,
    Forgetting,
    ForgottenKeys,
    InputColumns,
    Mover,
    OfEntity,
    Spool,
    Tail,
    TrafficLog,
    subject_of,
)

from ..object_store import object_store
from .world import MODEL, START, World, batch, hours, row, said

CREW = str(Path(__file__).with_name("crew.py"))
THEM = "card-of-somebody"
KILLED = [(point, 1) for point in FORGET_POINTS[1:]]


def lived(world: World) -> None:
    """Two people over three days, in the log, compacted, in a dead worker's spool and in a live one, with outcomes."""
    with world.spool() as spool, world.spool() as other:
        for day in range(3):
            for kind in (spool, other):
                name = "x" if kind is spool else "y"
                kind.append_predictions(
                    batch([row(f"{name}{day}-{n}", at=START + hours(24 * day + n), card=[THEM, "else"][n % 2])
                           for n in range(4)])
                )  # fmt: skip
                # an outcome goes to any spool, also another than its prediction's
            spool.append_outcomes(MODEL, [said(f"y{day}-0", True, START + hours(99)), said(f"y{day}-1", True, START)])
            if day == 0:
                world.move()
                with world.mover() as mover:
                    mover.compact()
            if day == 1:
                world.move()


# no number or uuid holds such a letter
LEFT = sorted(f"{name}{day}-{n}" for name in "xy" for day in range(3) for n in (1, 3))


def assert_gone(world: World) -> None:
    """No file below holds a row or the name; what is of others is all there, each once."""
    for path in world.root.rglob("*"):
        if path.suffix == ".parquet" and "_delta_log" not in path.parts:
            frame = pl.read_parquet(path)
            assert THEM not in frame.get_column("entity", default=pl.Series(["none"])).to_list(), path
            assert not {identity for identity in frame["prediction_id"] if identity.endswith(("-0", "-2"))}, path
        elif path.is_file():
            assert THEM.encode() not in path.read_bytes(), path
            assert b"y2-0" not in path.read_bytes(), path
    world.move()
    assert sorted(world.ids()) == LEFT
    outcomes = world.log.outcomes().collect()
    assert outcomes["prediction_id"].to_list() == ["y0-1", "y1-1", "y2-1"]
    frame = world.log.predictions().collect().sort("prediction_id")
    assert frame["in_country"].to_list() == ["AT"] * 12
    assert frame["scores"].list.len().to_list() == [2] * 12
    assert frame["f_amount_log"].null_count() == 0


def test_rows_outcomes_and_remembered_answers_go_everywhere(world: World) -> None:
    lived(world)
    work = world.forgetting(THEM)
    assert work.found() == OfEntity(predictions=8, outcomes=2, waiting=5)
    assert len(work.ids()) == 12
    assert work.erase() == []
    assert work.found() == OfEntity(predictions=0, outcomes=0, waiting=0)
    assert_gone(world)
    assert world.forgetting(THEM).erase() == []
    with world.spool() as spool:
        # the id answers no more for what was said before; another's does
        assert list(spool.answers_for(MODEL, ["x0-0", "x0-1", "y2-2"])) == ["x0-1"]
        assert spool.append_predictions(batch([row("x0-0", card="else")])).rows == 1


@pytest.mark.parametrize(("point", "arrival"), KILLED)
def test_killed_anywhere_the_same_request_finishes(world: World, point: str, arrival: int) -> None:
    lived(world)
    task = [sys.executable, CREW, "forget", str(world.root), THEM, point, str(arrival)]
    assert subprocess.run(task, check=False, timeout=60).returncode == -signal.SIGKILL
    world.forgetting(THEM).erase()
    assert_gone(world)


def test_capture_and_the_mover_go_on_and_bring_nothing_back(world: World) -> None:
    lived(world)
    stop, recorded, trouble = threading.Event(), list[str](), list[BaseException]()

    def capture() -> None:
        with world.spool() as spool:
            while not stop.wait(0.002):
                name = f"live{len(recorded)}"
                world.clock.advance(timedelta(milliseconds=1))
                spool.append_predictions(batch([row(name, card="live")]))
                recorded.append(name)

    def move() -> None:
        with world.mover() as mover:
            while not stop.wait(0.001):
                mover.move_once()
                mover.compact()

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            trouble.append(error)
            raise

    follower = Tail(world.traffic, world.spools, MODEL, clock=world.clock)
    follower.newest(1)
    threads = [threading.Thread(target=guarded, args=(work,)) for work in (capture, move)]
    for thread in threads:
        thread.start()
    try:
        while len(recorded) < 20:
            assert not trouble
            stop.wait(0.005)
        world.forgetting(THEM).erase()
        seen = len(recorded)
        while len(recorded) < seen + 20:
            assert not trouble
            stop.wait(0.005)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not trouble
    told = [one.row["prediction_id"] for one in follower.more()]
    assert sorted(told) == sorted(recorded)  # a file that was rewritten is no news, and hides none
    world.move()
    ids = world.ids()
    assert sorted(ids) == sorted([*LEFT, *recorded])
    assert world.forgetting(THEM).found() == OfEntity(predictions=0, outcomes=0, waiting=0)


def test_a_row_moved_between_the_look_and_the_lock_goes_too(world: World) -> None:
    """Found and erased are two looks; what comes between is theirs as well."""
    lived(world)
    work = world.forgetting(THEM)
    work.found()
    world.move()
    work.erase()
    assert_gone(world)


def test_what_another_machine_rewrote_meanwhile_is_looked_at_anew(world: World) -> None:
    """Two movers of machines that share the tables: this one's lock does not hold the other back."""
    lived(world)
    world.move()
    elsewhere = World(world.root / "other", clock=world.clock)
    turns = iter(range(1))

    def compact_there(point: str) -> None:
        if point == "a file of predictions rewritten" and next(turns, None) is not None:
            with Mover.open(spool=elsewhere.spools, traffic=world.traffic, clock=world.clock) as mover:
                mover.compact()

    assert world.forgetting(THEM, crash=compact_there).erase() == []
    assert_gone(world)


def test_rows_that_the_endpoint_recorded_by_column_go_too(world: World) -> None:
    with world.spool() as spool:
        inputs = InputColumns(names=("amount", "country"), kinds=("float", "string"), values=[[1.0, 2.0], ["AT", "DE"]])
        spool.append_predictions(batch([row("a", card=THEM), row("b", amount=2.0)], inputs=inputs))
    world.forgetting(THEM).erase()
    world.move()
    frame = world.log.predictions().collect()
    assert frame.select("prediction_id", "in_amount", "in_country").rows() == [("b", 2.0, "DE")]


def test_in_object_storage_the_objects_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    with object_store("traffic") as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.variables.items():
            patch.setenv(name, value)
        open_storage.cache_clear()
        storage = open_storage("s3://traffic/shop")
        with Spool.open(world.spools, clock=world.clock) as spool:
            spool.append_predictions(batch([row("a", card=THEM), row("b")]))
            spool.append_outcomes(MODEL, [said("a", True, START)])
        with Mover.open(spool=world.spools, traffic=storage, clock=world.clock) as mover:
            mover.move_once()
        subject = subject_of(storage, MODEL, THEM)
        assert subject == subject_of(storage, MODEL, THEM) != subject_of(storage, "other", THEM)
        Forgetting(storage, world.spools, MODEL, THEM, alone=False).erase()
        log = TrafficLog(storage, MODEL)
        assert log.predictions().collect()["prediction_id"].to_list() == ["b"]
        assert log.count() == (1, 0)
        files = [entry.key for entry in storage.list("traffic/") if entry.key.endswith(".parquet")]
        assert len(files) == 1
        open_storage.cache_clear()


def test_who_was_forgotten_is_known_by_a_keyed_hash_alone(world: World) -> None:
    subject = subject_of(world.traffic, MODEL, "c1")
    secret = world.traffic / "forgotten.key"
    assert secret.stat().st_mode & 0o077 == 0
    assert subject == subject_of(world.traffic, MODEL, "c1") != subject_of(world.traffic, MODEL, "c2")
    keys = ForgottenKeys.of(world.traffic, MODEL, [(subject, START)])
    entities = pl.Series(["c1", "c2", None, "c1"])
    times = pl.Series([START, START, START, START + hours(1)])
    assert keys.among(entities, times).to_list() == [True, False, False, False]  # who comes back later is welcome
    secret.write_bytes(b"short")
    with pytest.raises(TrafficError, match="damaged"):
        subject_of(world.traffic, MODEL, "c1")
