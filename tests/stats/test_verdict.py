from __future__ import annotations

import json

import numpy as np
import pytest

from everloop.stats import Verdict, jsonable, wilson


def test_evidence_is_json_all_through() -> None:
    verdict = Verdict.failed("recall 0.71 is below 0.80", recall=wilson(71, 100), counts=np.arange(3), n=np.int64(7))
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert verdict.evidence["counts"] == [0, 1, 2]
    assert verdict.is_failed
    assert not verdict.is_passed
    assert not verdict.is_undecided


def test_what_json_has_no_word_for_is_null() -> None:
    assert jsonable({"a": float("nan"), "b": (np.float32("inf"), None, True)}) == {"a": None, "b": [None, None, True]}


def test_evidence_that_cannot_be_stored_is_a_bug() -> None:
    with pytest.raises(TypeError, match="evidence holds a object"):
        Verdict.passed("fine", thing=object())


def test_there_is_a_third_answer() -> None:
    with pytest.raises(TypeError, match="three answers"):
        bool(Verdict.undecided("12 positives say nothing"))
    with pytest.raises(ValueError, match="not 'maybe'"):
        Verdict(outcome="maybe", sentence="")  # type: ignore[arg-type]
