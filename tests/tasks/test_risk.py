from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.tasks import risk_shares


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50), st.floats(0.01, 1))
def test_the_shares_are_all_there_is(scores: list[float], threshold: float) -> None:
    shares = risk_shares(np.array(scores, dtype=np.float32), threshold)
    assert shares is not None
    assert sum(shares.to_dict().values()) == pytest.approx(1)
    assert min(shares.to_dict().values()) >= 0


def test_high_is_what_is_flagged() -> None:
    score = np.array([0.9, 0.6, 0.4, 0.2, 0.1], dtype=np.float32)
    shares = risk_shares(score, 0.6)
    assert shares is not None
    assert shares.to_dict() == pytest.approx({"high": 0.4, "medium": 0.2, "low": 0.4})
    weighted = risk_shares(score, 0.6, weight=np.array([6.0, 1, 1, 1, 1]))
    assert weighted is not None
    assert weighted.high == pytest.approx(0.7)
    assert risk_shares(np.array([]), 0.6) is None
