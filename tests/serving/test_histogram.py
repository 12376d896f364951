import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.serving.histogram import Bins, Histogram

EDGES = (-1.0, 0.0, 0.5, 2.0)
VALUES = st.lists(st.one_of(st.sampled_from(EDGES), st.floats(-5, 5)), max_size=60)


@given(VALUES)
def test_many_at_once_are_counted_as_one_by_one(values):
    slow, fast = Histogram(EDGES), Histogram(EDGES)
    for value in values:
        slow.add(value)
    fast.add_many(np.array(values, dtype=np.float64))
    assert fast.bins().counts == slow.bins().counts
    assert fast.bins().total == pytest.approx(slow.bins().total, abs=1e-9)
    below = [sum(value <= edge for value in values) for edge in EDGES]
    assert np.cumsum(fast.bins().counts).tolist() == [*below, len(values)]


def test_it_goes_on_where_it_was_and_not_from_other_edges():
    before = Histogram(EDGES)
    before.add(0.25, times=3)
    after = Histogram(EDGES, before.bins())
    after.add(0.25)
    assert after.bins() == Bins(counts=(0, 0, 4, 0, 0), total=1.0)
    assert Histogram((1.0,), before.bins()).bins() == Bins(counts=(0, 0))
    assert (before.bins() + after.bins()).counts == (0, 0, 7, 0, 0)
