"""The newest traffic: every row once, whether it waits, is on its way or is in the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from everloop.traffic import Tail, TailRow

from .world import MODEL, START, World, batch, hours, row, said

SECOND = timedelta(seconds=1)


def record(world: World, *ids: str, hour: float = 0) -> None:
    """One batch, a second after the one before."""
    world.clock.advance(SECOND)
    with world.spool() as spool:
        spool.append_predictions(batch([row(one, at=START + hours(hour)) for one in ids]))


def tail(world: World, *kinds: str) -> Tail:
    return Tail(world.traffic, world.spools, MODEL, clock=world.clock, kinds=kinds or ("predictions",))  # type: ignore[arg-type]


def ids(rows: Sequence[TailRow]) -> list[str]:
    return [one.row["prediction_id"] for one in rows]


def test_the_newest_are_those_recorded_last_wherever_they_are(world: World) -> None:
    record(world, "a", "b", hour=9)
    world.move()
    record(world, "c", hour=5)
    world.move()
    record(world, "d", hour=1)
    assert ids(tail(world).newest(3)) == ["b", "c", "d"]
    assert ids(tail(world).newest(9)) == ["a", "b", "c", "d"]
    assert tail(world).newest(0) == []
    with world.mover() as mover:
        mover.move_once()
        mover.compact()
    assert ids(tail(world).newest(3)) == ["b", "c", "d"]


def test_a_row_in_spool_and_log_is_told_once(world: World) -> None:
    """As it is between a commit and the deletion of its block."""

    def die(point: str) -> None:
        if point == "committed":
            raise KeyboardInterrupt

    record(world, "a", "b")
    with world.mover(crash=die) as mover, pytest.raises(KeyboardInterrupt):
        mover.move_once()
    assert ids(tail(world).newest(5)) == ["a", "b"]


def test_what_follows_is_told_once_each_whatever_the_mover_does(world: World) -> None:
    record(world, "old")
    world.move()
    record(world, *(f"waits{n}" for n in range(5)))
    follower = tail(world)
    assert ids(follower.newest(1)) == ["waits4"]
    assert list(follower.more()) == []
    world.move()  # what waited when it began comes to the log, and is no news
    assert list(follower.more()) == []
    record(world, "new")
    assert ids(list(follower.more())) == ["new"]
    world.move()
    record(world, "moved before it was seen")
    world.move()
    with world.mover() as mover:
        mover.compact()
    assert ids(list(follower.more())) == ["moved before it was seen"]
    assert list(follower.more()) == []


def test_a_tail_begun_before_there_is_anything_sees_the_first_row(world: World) -> None:
    follower = tail(world)
    assert follower.newest(10) == []
    record(world, "first")
    assert ids(list(follower.more())) == ["first"]
    other = tail(world)
    other.newest(10)
    world.move()
    assert ids(list(follower.more())) == []


def test_outcomes_come_among_predictions_in_the_order_of_recording(world: World) -> None:
    record(world, "a")
    world.clock.advance(SECOND)
    with world.spool() as spool:
        spool.append_outcomes(MODEL, [said("a", True, START + hours(1))])
    record(world, "b")
    found = tail(world, "predictions", "outcomes").newest(10)
    assert [(one.kind, one.row["prediction_id"]) for one in found] == [
        ("predictions", "a"),
        ("outcomes", "a"),
        ("predictions", "b"),
    ]
    assert found[1].row["value"] == "true"
