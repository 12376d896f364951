"""When an outcome was known, as it is told."""

from datetime import UTC, datetime, timedelta

import pytest

from everloop.clock import SimulatedClock, to_us
from everloop.serving.outcomes import read_outcomes
from tests.serving.place import CONTRACT

NOW = datetime(2026, 3, 4, 10, tzinfo=UTC)


@pytest.mark.parametrize(("ahead_s", "known_s"), [(None, 0), (-3600, -3600), (0, 0), (1, 0), (300, 0), (301, None)])
def test_a_clock_a_little_ahead_loses_no_outcome_and_makes_none_known_later_than_it_is_told(ahead_s, known_s):
    row = {"payment_id": "pay_1", "fraud": True}
    if ahead_s is not None:
        row["observed_at"] = (NOW + timedelta(seconds=ahead_s)).isoformat()
    told, wrong = read_outcomes(row, CONTRACT, SimulatedClock(NOW))
    if known_s is None:
        assert (told, "lies in the future" in wrong[0].detail) == ([], True)
    else:
        assert [one.observed_at_us for one in told] == [to_us(NOW + timedelta(seconds=known_s))]
