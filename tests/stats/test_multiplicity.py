from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.stats import holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@settings(deadline=None)
@given(p_values)
def test_holm_keeps_the_order_and_its_least_is_as_many_times_the_least(values: list[float]) -> None:
    adjusted = holm(values)
    assert adjusted.min() == pytest.approx(min(1.0, len(values) * min(values)))
    assert (adjusted >= np.array(values)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_a_check_that_could_not_be_asked_counts_as_quiet() -> None:
    assert holm([float("nan"), 0.01]).tolist() == [1.0, 0.02]
    with pytest.raises(ValueError, match="k ≥ 1"):
        holm([])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([2.0])
