"""Leases: one holder, who must say in time that it lives, whatever the calendar says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from everloop.clock import SimulatedClock
from everloop.errors import Conflict
from everloop.ledger import Ledger


def test_one_holder_at_a_time(ledger: Ledger) -> None:
    held = ledger.acquire_lease("mover", "one", ttl_s=60)
    assert held is not None
    assert held.alive
    assert 50 < held.remaining_s <= 60
    assert ledger.acquire_lease("mover", "two", ttl_s=60) is None
    ledger.release_lease("mover", "two")
    again = ledger.lease("mover")
    assert again is not None
    assert again.holder == "one"
    ledger.release_lease("mover", "one")
    assert ledger.lease("mover") is None
    assert ledger.acquire_lease("mover", "two", ttl_s=60) is not None


def test_a_lease_that_ran_out_is_taken_and_the_old_holder_told(ledger: Ledger) -> None:
    old = ledger.acquire_lease("mover", "one", ttl_s=0)
    new = ledger.acquire_lease("mover", "two", ttl_s=60)
    assert old is not None
    assert new is not None
    assert not old.alive
    assert new.token > old.token
    assert ledger.facts(kind="lease.acquired")[-1].payload["taken_from"] == "one"
    with pytest.raises(Conflict, match="two holds it"):
        ledger.renew_lease("mover", "one", ttl_s=60)


def test_a_heartbeat_is_no_fact(ledger: Ledger) -> None:
    ledger.acquire_lease("mover", "one", ttl_s=1)
    renewed = ledger.renew_lease("mover", "one", ttl_s=120)
    assert renewed.remaining_s > 100
    assert ledger.acquire_lease("mover", "one", ttl_s=60) is not None
    assert len(ledger.facts()) == 1


def test_the_calendar_does_not_end_a_lease(ledger: Ledger, clock: SimulatedClock) -> None:
    ledger.acquire_lease("mover", "one", ttl_s=60)
    clock.advance(timedelta(days=90))
    held = ledger.lease("mover")
    assert held is not None
    assert held.alive
    assert 0 < held.deadline_s - clock.monotonic_s() <= 60


def test_a_lease_outlives_a_replay(ledger: Ledger) -> None:
    ledger.acquire_lease("mover", "one", ttl_s=60)
    ledger.rebuild_state()
    held = ledger.lease("mover")
    assert held is not None
    assert held.alive
