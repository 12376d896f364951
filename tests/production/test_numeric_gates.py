"""Gates of a regression: smaller errors pass, rows count as positives do, and a segment is judged by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from everloop.production.gates import GateEvidence, judge_gates
from everloop.production.judged import estimates
from everloop.project import Objective, parse_gate
from everloop.tasks import NumericEvaluation

RNG = np.random.default_rng(0)
Y = RNG.gamma(4.0, 4.0, 2_000)
LEVELS = (0.1, 0.5, 0.9)


def predicted(spread: float) -> NumericEvaluation:
    score = Y + spread * np.random.default_rng(1).standard_normal(Y.size)
    quantiles = score[:, None] + spread * np.array([-1.2816, 0.0, 1.2816])
    return NumericEvaluation(y=Y, score=score, quantiles=quantiles, levels=LEVELS)


EVIDENCE = GateEvidence(
    task="regression",
    objective=Objective.parse("mae"),
    candidate=predicted(2.0),
    champion=predicted(2.2),
    champion_name="v1",
    yardsticks={"constant": NumericEvaluation(y=Y, score=np.full(Y.size, np.median(Y))), "linear": predicted(3.0)},
    segments={"zone": np.where(np.arange(Y.size) < 1_980, "north", "south")},
)


@pytest.mark.parametrize(
    ("gate", "outcome", "sentence"),
    [
        ("mae <= 2", "passed", "mae 1.6"),
        ("mae <= 1.5", "failed", "is above 1.50"),
        ("mae <= 1.62 at 95%", "failed", "is above 1.62"),
        ("mape <= 25%", "passed", "is at most 0.25"),
        ("r2 >= 0.5", "passed", "is at least 0.50"),
        ("pinball <= 1", "passed", "pinball 0."),
        ("beats yardstick", "passed", "beats the yardstick linear's"),
        ("beats champion", "passed", "mae differs from v1 by -0.1"),
        ("not worse than champion by 0.1", "passed", "mae differs from v1"),
        ("mae <= 2 for each zone", "passed", "holds for zone north (not judged: south for want of rows)"),
    ],
)
def test_a_gate_is_answered_in_a_sentence(gate: str, outcome: str, sentence: str) -> None:
    (answer,) = judge_gates([parse_gate(gate)], EVIDENCE)
    assert answer.verdict.outcome == outcome
    assert sentence in answer.verdict.sentence


def test_a_worse_one_does_not_pass() -> None:
    worse = replace(EVIDENCE, candidate=predicted(3.5))
    answers = judge_gates([parse_gate("beats yardstick"), parse_gate("not worse than champion by 0.1")], worse)
    assert [answer.verdict.outcome for answer in answers] == ["failed", "failed"]
    assert "more than 0.1 worse" in answers[1].verdict.sentence


def test_few_rows_are_undecided() -> None:
    few = replace(EVIDENCE, candidate=EVIDENCE.candidate.of_rows(np.arange(20)), champion=None)
    (answer,) = judge_gates([parse_gate("mae <= 2")], few)
    assert answer.verdict.outcome == "undecided"
    assert "cannot be judged on 20 rows; at least 30 are needed" in answer.verdict.sentence


def test_what_was_measured_has_intervals_and_the_quantiles_coverage() -> None:
    found = estimates(EVIDENCE.candidate, seed=0)
    assert tuple(found) == ("mae", "mape", "rmse", "r2", "pinball", "coverage")
    assert found["coverage"]["low"] <= 0.8 <= found["coverage"]["high"]
    assert found["mae"]["rows"] == found["mae"]["positives"] == 2_000
    assert "coverage" not in estimates(EVIDENCE.yardsticks["constant"], seed=0)
