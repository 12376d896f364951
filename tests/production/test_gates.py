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
    assert refusal(verdicts) == "recall 0.71 [0.64, 0.77] is below 0.80"


@pytest.mark.parametrize(
    ("caught", "gate", "says"),
    [
        (796, "recall >= 0.80", "recall 0.796 [0.770, 0.820] is below 0.80"),
        (800, "recall >= 0.80", "recall 0.80 [0.77, 0.82] is at least 0.80"),
        (840, "recall >= 0.855", "recall 0.840 [0.816, 0.861] is below 0.855"),
        (800, "recall >= 0.774 at 95%", "recall 0.8000 [0.7741, 0.8236] is at least 0.774"),
        (999, "recall >= 0.90", "recall 0.999 [0.994, 1.000] is at least 0.90"),
        (1000, "recall >= 0.90", "recall 1.00 [1.00, 1.00] is at least 0.90"),
        (800, "cost <= 0.05", "cost 0.10 [0.09, 0.11] is above 0.05"),
    ],
)
def test_a_sentence_has_the_decimals_that_tell_the_number_from_its_bound(caught: int, gate: str, says: str) -> None:
    (answer,) = judge_gates([parse_gate(gate)], evidence(evaluation(caught=caught, missed=1000 - caught)))
    assert answer.verdict.sentence == says


def test_below_30_positives_is_undecided_which_refuses() -> None:
    given = evidence(evaluation(caught=29))
    assert outcome("recall >= 0.10", given) == "undecided"
    assert refusal(judge_gates([parse_gate("recall >= 0.10")], given)) is not None
    against = evidence(
        evaluation(caught=29), champion=evaluation(caught=29), yardsticks={"logistic": evaluation(caught=29)}
    )
    for gate in ("beats yardstick", "beats champion", "not worse than champion by 0.5", "recall >= 0.10 at 95%"):
        assert outcome(gate, against) == "undecided", gate


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
    (answer,) = judge_gates([parse_gate("beats yardstick")], evidence(same, yardsticks={"logistic": same}))
    assert answer.verdict.sentence == (
        "recall at precision >= 0.80 comes to 0.750 and does not beat the yardstick logistic's 0.750"
    )


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
    assert answer.verdict.sentence == (
        "for country SE recall 0.40 [0.28, 0.54] is below 0.60 (not judged: FI for want of rows of a class)"
    )
    (answer,) = judge_gates([parse_gate("recall >= 0.30 for each country")], given)
    assert answer.verdict.outcome == "passed"
    assert answer.verdict.sentence == (
        "'recall >= 0.30' holds for each of 2 values of country, the least is 0.4 for SE "
        "(not judged: FI for want of rows of a class)"
    )
    assert outcome("recall >= 0.30 for each city", given) == "undecided"


def test_each_segment_is_held_against_the_champion() -> None:
    """Better on the whole, and worse for one country."""
    champion, candidate = evaluation(caught=40, missed=60), evaluation(caught=70, missed=30)
    se = [True] * 40 + [False] * 30 + [True] * 30 + [False] * 1000
    swapped = replace(candidate, score=np.where(se, 0.1, np.where(candidate.y, 0.9, 0.1)).astype(np.float32))
    country = np.where(se, "SE", "NO")
    given = evidence(swapped, champion=champion, champion_name="v1", segments={"country": country})
    assert outcome("not worse than champion by 0.40", given) == "passed"
    (answer,) = judge_gates([parse_gate("not worse than champion by 0.40 for each country")], given)
    assert answer.verdict.outcome == "failed"
    assert answer.verdict.sentence.startswith("for country SE recall differs from v1 by -0.571")
    assert "country NO" not in answer.verdict.sentence
    first = evidence(swapped, segments={"country": country})
    assert outcome("not worse than champion by 0.40 for each country", first) == "passed"


def test_what_rows_of_one_class_cannot_say_is_undecided_and_raises_nothing() -> None:
    only = evidence(evaluation(caught=40, quiet=0))
    assert outcome("roc_auc >= 0.5", only) == "undecided"
    country = np.array(["SE"] * 40 + ["NO"] * 140)
    mixed = evidence(evaluation(caught=80, quiet=100), segments={"country": country})
    (answer,) = judge_gates([parse_gate("roc_auc >= 0.5 for each country")], mixed)
    assert answer.verdict.sentence == (
        "'roc_auc >= 0.50' holds for country NO (not judged: SE for want of rows of a class)"
    )
