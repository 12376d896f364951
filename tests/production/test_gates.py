"""Gates as pure questions: what each asks of the evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from everloop.production import GateEvidence, judge_gates, refusal
from everloop.project import Objective, parse_gate
from everloop.tasks import Evaluation

OBJECTIVE = Objective.parse("recall at precision >= 0.80")


def evaluation(*, caught: int, missed: int = 0, false: int = 0, quiet: int = 1000) -> Evaluation:
    """An evaluation with these counts: positives first, those that are caught first of all."""
    y = np.array([1] * (caught + missed) + [0] * (false + quiet))
    flagged = np.array([1] * caught + [0] * missed + [1] * false + [0] * quiet)
    return Evaluation(y=y, score=np.where(flagged, 0.9, 0.1).astype(np.float32), threshold=0.5)


def evidence(candidate: Evaluation, **rest: object) -> GateEvidence:
    return replace(GateEvidence(task="classification", objective=OBJECTIVE, candidate=candidate, champion=None), **rest)


def outcome(gate: str, given: GateEvidence) -> str:
    (answer,) = judge_gates([parse_gate(gate)], given)
    return answer.verdict.outcome


def test_a_bound_asks_the_point_and_at_95_percent_the_lower_end() -> None:
    given = evidence(evaluation(caught=78, missed=22))
    assert outcome("recall >= 0.75", given) == "passed"
    assert outcome("recall >= 0.75 at 95%", given) == "failed"
    assert outcome("recall >= 0.65 at 95%", given) == "passed"
    assert outcome("log_loss <= 5", given) == "passed"


def test_a_refusal_reads_as_a_sentence_with_the_interval() -> None:
    verdicts = judge_gates([parse_gate("recall >= 0.80")], evidence(evaluation(caught=142, missed=58)))
    assert refusal(verdicts) == "recall 0.710 [0.644, 0.768] is below 0.8"


def test_below_30_positives_is_undecided_which_refuses() -> None:
    given = evidence(evaluation(caught=29))
    assert outcome("recall >= 0.10", given) == "undecided"
    assert refusal(judge_gates([parse_gate("recall >= 0.10")], given)) is not None


def test_every_gate_is_answered_though_the_first_failed() -> None:
    gates = [parse_gate("recall >= 0.99"), parse_gate("accuracy >= 0.5")]
    assert [one.verdict.outcome for one in judge_gates(gates, evidence(evaluation(caught=40, missed=40)))] == [
        "failed",
        "passed",
    ]


def test_calling_everything_positive_is_no_yardstick_to_fear() -> None:
    constant = evaluation(caught=60, false=1000, quiet=0)
    given = evidence(evaluation(caught=45, missed=15), yardsticks={"constant": constant})
    assert outcome("beats yardstick", given) == "passed"


def test_a_model_no_better_than_a_yardstick_is_refused() -> None:
    same = evaluation(caught=45, missed=15)
    assert outcome("beats yardstick", evidence(same, yardsticks={"logistic": same})) == "failed"
    assert outcome("beats yardstick", evidence(same)) == "undecided"


def test_a_broken_constraint_fails_the_comparison() -> None:
    """Recall of 1 with a precision of 0.1 is not what the objective asked for."""
    greedy = evaluation(caught=60, false=540, quiet=460)
    champion = evaluation(caught=30, missed=30)
    given = evidence(greedy, champion=replace(champion, y=greedy.y))
    assert outcome("not worse than champion by 0.01", given) == "failed"


@pytest.mark.parametrize(
    ("caught", "beats", "not_worse"), [(55, "passed", "passed"), (40, "failed", "passed"), (20, "failed", "failed")]
)
def test_the_champion_is_compared_on_the_same_rows(caught: int, beats: str, not_worse: str) -> None:
    champion = evaluation(caught=40, missed=20)
    given = evidence(evaluation(caught=caught, missed=60 - caught), champion=champion, champion_name="v1")
    assert outcome("beats champion", given) == beats
    assert outcome("not worse than champion by 0.02", given) == not_worse


def test_a_first_model_has_nobody_to_be_worse_than() -> None:
    assert outcome("not worse than champion by 0.01", evidence(evaluation(caught=40))) == "passed"


def test_each_segment_is_judged_where_it_has_enough_positives() -> None:
    candidate = evaluation(caught=80, missed=30, quiet=90)
    country = np.array(["NO"] * 60 + ["SE"] * 50 + ["NO"] * 40 + ["FI"] * 50)
    given = evidence(candidate, segments={"country": country})
    (answer,) = judge_gates([parse_gate("recall >= 0.60 for each country")], given)
    assert answer.verdict.outcome == "failed"
    assert "recall for country SE 0.400" in answer.verdict.sentence
    assert outcome("recall >= 0.30 for each country", given) == "passed"
    assert outcome("recall >= 0.30 for each city", given) == "undecided"
