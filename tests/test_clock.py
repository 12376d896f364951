"""Time that is passed in: to the microsecond, UTC, and never back."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.clock import SharedClock, SimulatedClock, SystemClock, from_us, open_clock, to_us

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=9))])))
def test_a_time_survives_as_microseconds(at: datetime) -> None:
    assert from_us(to_us(at)) == at
    assert from_us(to_us(at)).tzinfo is UTC


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        to_us(START.replace(tzinfo=None))


def test_the_systems_clock_is_utc_and_its_monotonic_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    seen = [clock.monotonic_s() for _ in range(100)]
    assert seen == sorted(seen)


def test_a_simulated_clock_stands_until_it_is_moved_and_does_not_go_back() -> None:
    clock = SimulatedClock(START)
    assert clock.now() == clock.now() == START
    clock.advance(timedelta(hours=1))
    assert clock.now() == START + timedelta(hours=1)
    with pytest.raises(ValueError, match="does not go back"):
        clock.set(START)
    assert clock.now() == START + timedelta(hours=1)


def test_another_process_follows_a_shared_clock(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock = SimulatedClock(START, path)
    clock.advance(timedelta(days=40, microseconds=7))
    assert open_clock(f"shared:{path}").now() == SharedClock(path).now() == clock.now()
    program = f"from everloop.clock import open_clock; print(open_clock('shared:{path}').now().isoformat())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == clock.now().isoformat()


@pytest.mark.parametrize("address", ["", "shared:", "file:/tmp/x", "shared"])
def test_what_is_no_clock_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not 'shared:PATH'"):
        open_clock(address)


def test_without_an_address_it_is_the_machines_own() -> None:
    assert isinstance(open_clock(None), SystemClock)
