import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats import above_zero
from everloop.stats.betting import log_stake


def test_looking_after_every_hundred_rows_is_free_at_rare_positives():
    rng = np.random.default_rng(7)
    share, alpha, rounds = 0.002, 0.05, 300
    wrong = 0
    for _ in range(rounds):
        hits = np.cumsum(rng.random(20_000) < share)[99::100]
        rows = np.arange(100, 20_001, 100)
        wrong += any(
            above_zero((1 - share, -share), (int(k), int(n - k)), alpha=alpha) for k, n in zip(hits, rows, strict=True)
        )
    assert wrong <= rounds * alpha + 3 * math.sqrt(rounds * alpha * (1 - alpha))


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3), st.lists(st.integers(0, 50), min_size=3, max_size=3))
def test_the_stake_depends_on_counts_alone(one, two):
    values = (1.0, -3.0, -2.0)
    both = [left + right for left, right in zip(one, two, strict=True)]
    assert log_stake(values, both) == log_stake(values, [right + left for left, right in zip(two, one, strict=True)])


def test_what_cannot_be_below_zero_is_proven_by_one_sight():
    assert log_stake((0.0, 1.0), (5, 0)) == 0.0
    assert log_stake((0.0, 1.0), (5, 1)) == math.inf
