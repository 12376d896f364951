import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.traffic import Window, windows

TIMES = st.datetimes(datetime(2001, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(start=TIMES, days=st.integers(0, 40), every_h=st.sampled_from([1, 6, 24, 36, 168]))
def test_windows_are_whole_and_adjacent_and_the_same_for_everyone(start: datetime, days: int, every_h: int) -> None:
    every, end = timedelta(hours=every_h), start + timedelta(days=days)
    found = windows(start, end, every)
    assert all(start <= w.start and w.end == w.start + every <= end for w in found)
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    assert len(found) >= timedelta(days=days) // every - 1
    later = windows(start + timedelta(hours=5), end, every)
    assert set(later) <= set(found)


def test_days_begin_at_midnight_and_weeks_on_monday() -> None:
    start, end = datetime(2026, 3, 4, 13, tzinfo=UTC), datetime(2026, 3, 17, 1, tzinfo=UTC)
    assert windows(start, end, timedelta(days=1))[0].start == datetime(2026, 3, 5, tzinfo=UTC)
    (week,) = windows(start, end, timedelta(days=7))
    assert week == Window(start=datetime(2026, 3, 9, tzinfo=UTC), end=datetime(2026, 3, 16, tzinfo=UTC))
    assert week.matured(as_of=datetime(2026, 3, 18, tzinfo=UTC), delay=timedelta(days=2))
    assert not week.matured(as_of=datetime(2026, 3, 17, 23, tzinfo=UTC), delay=timedelta(days=2))


def test_a_window_needs_a_length() -> None:
    with pytest.raises(ValueError, match="no length"):
        windows(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), timedelta(0))
