from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.stats import bonferroni, holm, simes

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@settings(deadline=None)
@given(p_values)
def test_simes_is_never_above_bonferroni(values: list[float]) -> None:
    assert 0 <= simes(values) <= bonferroni(values) <= 1


@settings(deadline=None)
@given(p_values)
def test_holm_keeps_the_order_and_its_least_is_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    assert adjusted.min() == pytest.approx(bonferroni(values))
    assert (adjusted >= np.array(values)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_nothing_happened_is_said_right_under_no_change() -> None:
    drawn = np.random.default_rng(1).random((4000, 20))
    assert np.mean([bonferroni(row) <= 0.1 for row in drawn]) == pytest.approx(0.095, abs=0.015)
    assert np.mean([simes(row) <= 0.1 for row in drawn]) == pytest.approx(0.1, abs=0.015)


def test_a_check_that_could_not_be_asked_counts_as_quiet() -> None:
    assert bonferroni([float("nan"), 0.01]) == 0.02
    with pytest.raises(ValueError, match="k ≥ 1"):
        holm([])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        simes([2.0])
