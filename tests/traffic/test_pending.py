from datetime import UTC, datetime

import pytest

from everloop.clock import to_us
from everloop.traffic import Pending, pending
from everloop.traffic.records import encode_outcomes, encode_predictions, recorded_at_us

from .world import MODEL, START, World, batch, hours, row, said


def test_what_waits_is_counted_over_all_slots_until_it_has_moved(world: World) -> None:
    assert pending(world.spools) == Pending(rows=0, size_bytes=0, oldest_us=None)
    with world.spool() as one, world.spool() as other:
        one.append_predictions(batch([row("a"), row("b")]))
        first = pending(world.spools)
        assert (first.rows, first.oldest_us) == (2, to_us(START))
        world.clock.advance(hours(2))
        other.append_outcomes(MODEL, [said("a", True, START)])
        one.append_predictions(batch([row("c")]))
        second = pending(world.spools)
        assert (second.rows, second.oldest_us) == (4, to_us(START)), "the age is that of the oldest"
        assert second.size_bytes > first.size_bytes > 100
        world.move()
        assert pending(world.spools) == Pending(rows=0, size_bytes=0, oldest_us=None)


@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), START, datetime(9999, 1, 1, tzinfo=UTC)])
def test_a_block_tells_in_its_first_bytes_when_it_was_recorded(at: datetime) -> None:
    for us in (to_us(at), to_us(at) + 1, to_us(at) + 70_000):
        assert recorded_at_us(encode_predictions(batch([row("a")]), recorded_at_us=us)[:32]) == us
        assert recorded_at_us(encode_outcomes([said("a", 1.0, START)], recorded_at_us=us)[:32]) == us
