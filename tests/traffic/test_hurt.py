"""Spools that are deleted, damaged or odd: what is acknowledged afterwards reaches the log, and so does all else."""

import logging

import polars as pl
import pytest

from everloop.clock import SystemClock
from everloop.errors import TrafficError
from everloop.traffic import Tail, pending

from .world import START, World, batch, row, said


def test_a_database_deleted_under_its_worker_is_begun_anew(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with world.spool() as spool, caplog.at_level(logging.ERROR):
        spool.append_predictions(batch([row("a")]))
        for file in world.spools.glob("slot-0.db*"):
            file.unlink()
        spool.append_predictions(batch([row("b")]))
        assert spool.append_predictions(batch([row("b")], answer="second")).earlier == {0: b"b first"}
        for file in world.spools.iterdir():
            file.unlink()
        world.spools.rmdir()
        spool.append_outcomes("fraud", [said("b", True, START)])
        spool.append_predictions(batch([row("c")]))
        with pytest.raises(TrafficError, match="held by another process"):
            world.spool(slot=0)
    assert sum("was deleted while it was in use" in text for text in caplog.messages) == 2
    world.move()
    assert world.ids() == ["c"]


def test_a_mover_rescues_what_a_deleted_database_held_and_follows_the_new_one(world: World) -> None:
    with world.spool() as spool, world.mover() as mover:
        spool.append_predictions(batch([row("a")]))
        assert mover.pending() == 1
        for file in world.spools.glob("slot-0.db*"):
            file.unlink()
        spool.append_predictions(batch([row("b")]))
        assert mover.move_once().predictions == 2
        spool.append_predictions(batch([row("c")]))
        assert mover.move_once().predictions == 1
        assert mover.pending() == 0
    assert sorted(world.ids()) == ["a", "b", "c"]


def test_a_damaged_database_is_set_aside_and_costs_other_slots_nothing(world: World) -> None:
    with world.spool() as one, world.spool() as other:
        one.append_predictions(batch([row("a")]))
        other.append_predictions(batch([row("b")]))
    (world.spools / "slot-0.db").write_bytes(b"no database" * 1000)
    for file in world.spools.glob("slot-0.db-*"):
        file.unlink()
    with world.mover() as mover:
        assert mover.move_once().predictions == 1
        assert mover.move_once().predictions == 0
        with world.spool() as heir:
            assert heir.slot == 0
            heir.append_predictions(batch([row("c")]))
        assert mover.move_once().predictions == 1
    assert sorted(world.ids()) == ["b", "c"]
    assert [file.read_bytes()[:11] for file in world.spools.glob("damaged-*")] == [b"no database"]


def test_whoever_reads_a_damaged_database_is_told_which_one_it_is(world: World) -> None:
    world.spools.mkdir()
    (world.spools / "slot-0.db").write_bytes(b"no database" * 1000)
    with pytest.raises(TrafficError, match=r"slot-0\.db cannot be read: file is not a database; where it is damaged"):
        pending(world.spools)
    tail = Tail(world.traffic, world.spools, "fraud", clock=SystemClock())
    with pytest.raises(TrafficError, match=r"slot-0\.db cannot be read"):
        tail.newest(1)


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, "one"), (1.5, "one"), (True, "one"), (True, 1), (1, 2.5), (START, "one"), (START, 1), (None, "one")],
)
def test_an_input_whose_type_changed_between_two_moves_or_within_one_stops_nothing(
    world: World, before: object, after: object
) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")], inputs=pl.DataFrame({"x": [before]})))
        spool.append_predictions(batch([row("b")], inputs=pl.DataFrame({"x": [after]})))
        spool.append_predictions(batch([row("c")], inputs=pl.DataFrame({"x": [after]}), versions=3))
        world.move()
        spool.append_predictions(batch([row("d")], inputs=pl.DataFrame({"x": [before]})))
        world.move()
    assert sorted(world.ids()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "names",
    [("amount (EUR)",), ("a,b;c{d}",), ("a\nb\tc",), ("a=b",), ("é 😀",), ("",), ("x" * 300,), ("a.b", "a`b"),
     ("event_time", "prediction_id", "scores"), ("x", "x__string")],
)  # fmt: skip
def test_any_name_of_an_input_reaches_the_log(world: World, names: tuple[str, ...]) -> None:
    with world.spool() as spool:
        for place, key in enumerate("ab"):
            spool.append_predictions(batch([row(key)], inputs=pl.DataFrame({name: [place] for name in names})))
            world.move()
    frame = world.log.predictions().collect()
    assert frame["prediction_id"].to_list() == ["a", "b"]
    for name in names:
        assert frame[f"in_{name}"].to_list() == [0, 1]


def test_names_that_differ_in_case_alone_are_kept_apart(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")], inputs=pl.DataFrame({"Amount": [1]})))
        world.move()
        spool.append_predictions(batch([row("b")], inputs=pl.DataFrame({"amount": [2], "AMOUNT": [3]})))
        world.move()
        spool.append_predictions(batch([row("c")], inputs=pl.DataFrame({"Amount": [4], "amount": [5]})))
        world.move()
    frame = world.log.predictions().collect()
    assert frame["in_Amount"].to_list() == [1, None, 4]
    assert frame["in_amount__case"].to_list() == [None, 2, 5]
    assert frame["in_AMOUNT__case__case"].to_list() == [None, 3, None]
