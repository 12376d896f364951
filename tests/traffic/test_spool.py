"""An id is recorded once, an answer given again, and nothing is written by halves."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.errors import IdConflict, StorageFull, TrafficError
from everloop.traffic import PredictionBatch, pending_rows, row_digest
from everloop.traffic.records import row_digests
from everloop.traffic.spool import connect

from .world import MODEL, START, World, batch, hours, row


def test_the_same_id_with_the_same_row_gets_the_recorded_answer(world: World) -> None:
    with world.spool() as spool:
        assert spool.append_predictions(batch([row("a"), row("b")])).rows == 2
        again = spool.append_predictions(batch([row("c"), row("a")], answer="second"))
        assert again.rows == 1
        assert again.earlier == {1: b"a first"}
        assert not again.conflicts
        assert spool.answers_for(MODEL, ["b", "none"])["b"].answer == b"b first"
    world.move()
    assert sorted(world.ids()) == ["a", "b", "c"]


def test_the_same_id_with_another_row_is_a_conflict_and_its_neighbours_are_recorded(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")]))
        done = spool.append_predictions(batch([row("a", amount=2.0), row("b")]))
    assert done.rows == 1
    assert isinstance(done.conflicts[0], IdConflict)
    assert "one id names one row" in str(done.conflicts[0])


def test_an_id_twice_in_one_batch(world: World) -> None:
    with world.spool() as spool:
        done = spool.append_predictions(batch([row("a"), row("a"), row("a", amount=3.0)]))
    assert (done.rows, done.earlier, list(done.conflicts)) == (1, {1: b"a first"}, [2])


def test_ids_are_known_on_every_slot_after_the_move_and_to_a_new_owner(world: World) -> None:
    with world.spool() as one, world.spool() as other:
        assert (one.slot, other.slot) == (0, 1)
        one.append_predictions(batch([row("a")]))
        assert other.append_predictions(batch([row("a")], answer="other")).earlier == {0: b"a first"}
    world.move()
    with world.spool() as heir:
        assert heir.slot == 0
        assert heir.append_predictions(batch([row("a")], answer="heir")).earlier == {0: b"a first"}
    with world.spool(slot=5) as far:
        assert far.append_predictions(batch([row("a")], answer="far")).earlier == {0: b"a first"}


def test_the_digests_of_a_frame_are_those_of_its_rows() -> None:
    """The fast twin: whole numbers as such, whatever the names and the types."""
    floats = [0.0, -0.0, 7.0, 7.5, 2.0**53, -(2.0**53) + 1, 1e300, None, 0.1, float(np.float32(0.1))]
    n = len(floats)
    frame = pl.DataFrame(
        {
            "z": floats,
            "a": pl.Series(floats, dtype=pl.Float32),
            "\u00e9": range(n),
            'Z "quoted"': [None, "", "x", "\u00fc", '"', "7", "7.0", "a/b", "\n", "\U0001f600"],
            "\U0001f600": [True, None] * (n // 2),
            "\uffee": [START + hours(at) for at in range(n)],
        }
    )
    assert row_digests(frame) == [row_digest(one) for one in frame.iter_rows(named=True)]
    assert row_digests(frame.reverse()[:1]) == [row_digest(frame.row(n - 1, named=True))]
    assert row_digests(frame.clear()) == row_digests(pl.DataFrame()) == []


def test_models_do_not_share_ids(world: World) -> None:
    with world.spool() as spool:
        spool.append_predictions(batch([row("a")]))
        assert spool.append_predictions(batch([row("a", amount=5.0)], model="churn")).rows == 1


def test_a_held_slot_is_refused(world: World) -> None:
    with world.spool(slot=2), pytest.raises(TrafficError, match="slot 2"):
        world.spool(slot=2)


def test_a_full_spool_refuses_whole_and_takes_up_again(world: World) -> None:
    def some(turn: int) -> PredictionBatch:
        return batch([row(f"{turn}-{i}") for i in range(200)])

    with world.spool(limit_bytes=400_000) as spool:
        kept, turn = 0, 0
        while not kept or pending_rows(world.spools) < 1_000:
            kept += spool.append_predictions(some(turn)).rows
            turn += 1
        with pytest.raises(StorageFull, match="nothing of it was written"):
            spool.append_predictions(batch([row(f"much-{i}") for i in range(5_000)]))
        assert pending_rows(world.spools) == kept
        assert not spool.answers_for(MODEL, ["much-0"])
        world.move()
        assert spool.append_predictions(some(turn)).rows == 200
        world.move()
    assert len(world.ids()) == kept + 200


def test_ids_are_forgotten_beyond_the_horizon_and_not_before(world: World) -> None:
    with world.spool() as spool, world.mover(keep_s=3600.0, keep_rows=40) as mover:
        for turn in range(64):
            spool.append_predictions(batch([row(f"t{turn}")]))
            mover.move_once()
            world.clock.advance(timedelta(minutes=3))
        known = spool.answers_for(MODEL, [f"t{turn}" for turn in range(64)])
        # One hour is 20 turns.
        assert sorted(known) == sorted(f"t{turn}" for turn in range(43, 64))
    with world.spool() as spool, world.mover(keep_rows=5) as mover:
        for turn in range(64):
            spool.append_predictions(batch([row(f"u{turn}")]))
            mover.move_once()
        assert len(spool.answers_for(MODEL, [f"u{turn}" for turn in range(64)])) == 5


def test_a_time_the_calendar_lacks_is_refused_before_it_can_stop_the_log(world: World) -> None:
    with world.spool() as spool, pytest.raises(TrafficError, match="event_time lies outside"):
        spool.append_predictions(batch([row("a")], event_time_us=np.array([2**62])))


@pytest.mark.parametrize("name", ["plain", "with space", "what?mode=ro#x", "50%20"])
def test_a_database_is_opened_wherever_it_lies_and_never_made_by_a_reader(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "slot-0.db"
    path.parent.mkdir()
    with pytest.raises(FileNotFoundError, match="slot-0"):
        connect(path, durability="process", read_only=True)
    assert list(path.parent.iterdir()) == []
    connect(path, durability="process").close()
    connect(path, durability="process", read_only=True).close()
    assert pending_rows(path.parent) == 0
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_row_is_the_same_in_any_order_of_its_keys() -> None:
    assert row_digest({"a": 1, "b": {"c": 2, "d": None}}) == row_digest({"b": {"d": None, "c": 2}, "a": 1})
    assert row_digest({"a": 1.0}) != row_digest({"a": 1.5})


def test_a_row_is_the_same_however_its_numbers_are_written() -> None:
    row = {"a": 7.0, "b": -0.0, "c": "7.0", "d": 2.5}
    assert row_digest(row) == row_digest({"a": 7, "b": 0, "c": "7.0", "d": 2.5})
    assert row == {"a": 7.0, "b": 0.0, "c": "7.0", "d": 2.5}, "the row itself is left as it came"
    assert isinstance(row["a"], float)
    assert row_digest({"a": "x.0,y"}) != row_digest({"a": "x,y"})
    assert row_digest({"a": 2.0**53}) != row_digest({"a": 2**53 + 1})
    assert row_digest({"a": True}) != row_digest({"a": 1})
