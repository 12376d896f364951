"""Law 1: what was acknowledged is recorded once, whatever process dies next."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from everloop.errors import AlreadyRunning
from everloop.traffic import CRASH_POINTS, Moved, pending_rows

from .world import MODEL, START, World, batch, row, said

CREW = str(Path(__file__).with_name("crew.py"))


def crew(world: World, *task: object, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    command = [sys.executable, CREW, str(task[0]), str(world.root), *(str(part) for part in task[1:])]
    return subprocess.Popen(command, stdout=stdout, text=True)


@pytest.mark.parametrize("arrival", [1, 2])
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_mover_killed_anywhere_loses_and_doubles_nothing(world: World, point: str, arrival: int) -> None:
    # Given an orphaned spool and a live one, traffic of two days, and a log that has files already
    next_day = START.replace(day=2)
    with world.spool() as orphan, world.spool() as spool:
        orphan.append_predictions(batch([row(f"a{i}", at=at) for i, at in enumerate((START, next_day, START))]))
        world.move()
        orphan.append_predictions(batch([row(f"b{i}") for i in range(7)]))
        orphan.close()
        spool.append_predictions(batch([row(f"c{i}", at=next_day) for i in range(5)]))
        spool.append_outcomes(MODEL, [said("a1", True, START)])
        # When a mover dies there
        assert crew(world, "move", point, arrival).wait(timeout=60) == -signal.SIGKILL
        spool.append_predictions(batch([row("late")]))
        # Then another one ends what it began
        world.move()
        ids = world.ids()
    assert sorted(ids) == sorted(["a0", "a1", "a2", *(f"b{i}" for i in range(7)), *(f"c{i}" for i in range(5)), "late"])
    assert world.log.count()[1] == 1
    assert pending_rows(world.spools) == 0


def test_killed_workers_and_movers_under_load_lose_and_double_nothing(world: World) -> None:
    # Given two workers that record the same ids at the same time, and a mover that dies as it goes
    acknowledged: set[str] = set()
    for seeds, point in (((1, 2), "committed"), ((3, 4), "first spool deleted")):
        mover = crew(world, "move", point, 3)
        workers = [crew(world, "record", seed, stdout=subprocess.PIPE) for seed in seeds]
        for worker in workers:
            assert worker.stdout is not None
            for _ in range(25):
                acknowledged.update(worker.stdout.readline().split())
        for worker in workers:
            # When they are killed in the middle of it
            worker.kill()
            assert worker.stdout is not None
            # a last line may be cut in the middle of an id
            acknowledged.update(" ".join(line for line in worker.stdout if line.endswith("\n")).split())
            worker.wait()
            worker.stdout.close()
        mover.kill()
        mover.wait()
    world.move()
    # Then what they acknowledged is there, and nothing twice
    ids = world.ids()
    assert len(ids) == len(set(ids))
    assert acknowledged <= set(ids)
    frame = world.log.predictions().collect()
    assert frame["in_amount"].to_list() == [float(i[1:]) for i in frame["prediction_id"]]


def test_both_ends_keep_the_law_with_durability_full(world: World) -> None:
    with world.spool(durability="full") as spool, world.mover(durability="full") as mover:
        spool.append_predictions(batch([row("a")]))
        mover.move_once()
        spool.append_predictions(batch([row("b")], inputs=pl.DataFrame({"new": [1]})))
        mover.move_once()
        mover.compact()
    assert world.ids() == ["a", "b"]


def test_a_disk_without_room_leaves_the_rows_in_the_spool(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")]))
        world.move()
        spool.append_predictions(batch([row(f"b{i}", amount=i / 7) for i in range(5_000)]))
        mover = crew(world, "starve", 8_192, stdout=subprocess.PIPE)
        assert mover.stdout is not None
        said_so = mover.stdout.read()
        mover.stdout.close()
        assert mover.wait(timeout=60) == 0
        assert said_so.startswith("StorageFull ")
        assert "waits in the spool" in said_so
        assert world.ids() == ["a"]
        world.move()
        assert len(world.ids()) == 5_001


def test_a_disk_without_room_is_said_once_in_one_line_and_when_there_is_room_again(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row(f"b{i}", amount=i / 7) for i in range(5_000)]))
        mover = crew(world, "wait_out", 512, stdout=subprocess.PIPE)
        assert mover.stdout is not None
        first, last = mover.stdout.read().splitlines()
        mover.stdout.close()
        assert mover.wait(timeout=60) == 0
    assert (first.startswith("no room"), "\x1b" in first) == (True, False)
    assert last.endswith(" takes traffic again; what waited was moved")
    assert len(world.ids()) == 5_000


def test_the_mover_runs_until_it_is_told_to_stop(world: World) -> None:
    stop = threading.Event()
    with world.spool() as spool, world.mover() as mover:
        runner = threading.Thread(target=mover.run, args=(stop,), kwargs={"poll_s": 0.01})
        runner.start()
        spool.append_predictions(batch([row("a")]))
        wait_until(lambda: pending_rows(world.spools) == 0)
        stop.set()
        spool.append_predictions(batch([row("b")]))
        runner.join(timeout=30)
        mover.move_once()
    assert world.ids() == ["a", "b"]


def test_there_is_one_mover(world: World) -> None:
    with world.mover(), pytest.raises(AlreadyRunning, match="one is enough"):
        world.mover()
    with world.mover() as mover:
        assert mover.move_once() == Moved()


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
