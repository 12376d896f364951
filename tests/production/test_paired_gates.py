"""The champion by paired intervals: three answers, and how often each is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from everloop.production import GateEvidence, judge_gates, refusal
from everloop.project import Objective, parse_gate
from everloop.stats import Verdict
from everloop.tasks import Evaluation, NumericEvaluation, paired_interval

from .test_gates import evaluation, evidence

QUIET = 1_500


def pair(
    positives: int, *, only_champion: float, only_candidate: float, both: float = 0.6, seed: int = 0
) -> tuple[Evaluation, Evaluation]:
    """Candidate and champion on the same rows; each positive is caught by both, one or none, with these chances."""
    chances = [both, only_champion, only_candidate, 1 - both - only_champion - only_candidate]
    kind = np.random.default_rng(seed).choice(4, size=positives, p=chances)
    y = np.r_[np.ones(positives), np.zeros(QUIET)]
    caught = [np.r_[np.isin(kind, which), np.zeros(QUIET)].astype(np.float32) for which in ((0, 2), (0, 1))]
    # scores that are equal to the last bit are one model, so one of them has another scale
    first, second = caught[0] * 0.8 + 0.1, caught[1] * 0.7 + 0.15
    return Evaluation(y=y, score=first, threshold=0.5), Evaluation(y=y, score=second, threshold=0.5)


def answer(gate: str, candidate: Evaluation, champion: Evaluation, **rest: object) -> Verdict:
    given = evidence(candidate, champion=champion, champion_name="v1", objective=Objective.parse("recall"), **rest)
    (found,) = judge_gates([parse_gate(gate)], given)
    return found.verdict


@pytest.mark.parametrize(
    ("caught", "outcome", "sentence"),
    [
        (480, "passed", "recall differs from v1 by -0.033 [-0.048, -0.018]"),
        (450, "undecided", ", which leaves open whether it is more than 0.1 worse"),
        (380, "failed", ", more than 0.1 worse"),
    ],
)
def test_the_interval_decides_and_what_it_leaves_open_is_undecided(caught: int, outcome: str, sentence: str) -> None:
    """Of 600 positives the champion catches 500: where the margin lies in the interval, no number decides."""
    found = answer(
        "not worse than champion by 0.1",
        evaluation(caught=caught, missed=600 - caught),
        replace(evaluation(caught=500, missed=100), score=evaluation(caught=500, missed=100).score * np.float32(0.99)),
    )
    assert found.outcome == outcome
    assert sentence in found.sentence
    assert found.evidence["rows"] == 1_600


def test_undecided_refuses_unless_the_gate_says_otherwise() -> None:
    candidate, champion = pair(60, only_champion=0.1, only_candidate=0.1)
    given = evidence(candidate, champion=champion, objective=Objective.parse("recall"))
    strict, lenient = (parse_gate(f"not worse than champion by 0.01{end}") for end in ("", ", undecided passes"))
    assert [one.verdict.outcome for one in judge_gates([strict, lenient], given)] == ["undecided", "undecided"]
    assert refusal(judge_gates([lenient], given)) is None
    assert "leaves open" in str(refusal(judge_gates([strict], given)))
    # for that gate alone, and a failed one refuses whatever its gate says
    assert refusal(judge_gates([lenient, strict], given)) is not None
    worse = replace(given, candidate=pair(600, only_champion=0.3, only_candidate=0.0)[0])
    worse = replace(worse, champion=pair(600, only_champion=0.3, only_candidate=0.0)[1])
    assert refusal(judge_gates([lenient], worse)) is not None


def test_beats_champion_is_sure_or_says_that_it_is_not() -> None:
    for only, outcome in ((0.25, "passed"), (0.02, "undecided")):
        candidate, champion = pair(150, only_champion=0.02, only_candidate=only, seed=1)
        assert answer("beats champion", candidate, champion).outcome == outcome
    candidate, champion = pair(150, only_champion=0.25, only_candidate=0.02, seed=1)
    assert answer("beats champion", candidate, champion).sentence.endswith(", which is not better")


def test_the_same_model_is_surely_not_worse_and_does_not_beat_itself() -> None:
    same = evaluation(caught=35, missed=5)
    assert answer("not worse than champion by 0", same, same).outcome == "passed"
    assert answer("beats champion", same, same).outcome == "failed"


@pytest.mark.parametrize("positives", [30, 60, 150])
@pytest.mark.parametrize(("margin", "discordant"), [(0.02, 0.021), (0.02, 0.08), (0.1, 0.12), (0.1, 0.3)])
def test_a_model_worse_by_the_margin_rarely_passes_also_on_few_positives(
    positives: int, margin: float, discordant: float
) -> None:
    """False alarms: 2.5 % are promised of each side; without the rows added, 55 % of the first case passed."""
    only_candidate = (discordant - margin) / 2
    passed = failed = 0
    for seed in range(200):
        both = pair(positives, only_champion=discordant - only_candidate, only_candidate=only_candidate, seed=seed)
        found = answer(f"not worse than champion by {margin}", *both, seed=seed)
        passed, failed = passed + found.is_passed, failed + found.is_failed
    assert passed <= 0.08 * 200
    assert failed <= 0.08 * 200


def test_enough_rows_tell_an_equal_model_and_a_worse_one() -> None:
    """Power: at 800 positives that differ on one in twenty, a margin of 0.03 is told nearly always."""
    equal = [pair(800, only_champion=0.025, only_candidate=0.025, seed=seed) for seed in range(60)]
    worse = [pair(800, only_champion=0.08, only_candidate=0.0, seed=seed) for seed in range(60)]
    assert np.mean([answer("not worse than champion by 0.03", *one).is_passed for one in equal]) > 0.9
    assert np.mean([answer("not worse than champion by 0.03", *one).is_failed for one in worse]) > 0.9


def test_one_segment_of_many_is_not_called_worse_by_chance() -> None:
    """Twenty equal countries: at 95 % each, one of them would fail in every third training."""
    alarms = 0
    for seed in range(60):
        candidate, champion = pair(1_200, only_champion=0.1, only_candidate=0.1, seed=seed)
        country = np.array([f"c{place % 20:02d}" for place in range(candidate.rows)])
        found = answer("not worse than champion by 0", candidate, champion, segments={"country": country}, seed=seed)
        assert not found.is_passed
        each = answer(
            "not worse than champion by 0 for each country", candidate, champion, segments={"country": country}
        )
        alarms += each.is_failed
    assert alarms <= 0.1 * 60


def test_what_a_level_asks() -> None:
    candidate, champion = pair(300, only_champion=0.05, only_candidate=0.05, seed=3)
    wide, narrow = (answer(f"not worse than champion by 0.01 at {level}%", candidate, champion) for level in (99, 60))
    assert (wide.outcome, narrow.outcome) == ("undecided", "passed")
    assert (wide.evidence["level"], narrow.evidence["level"]) == (0.99, 0.6)


def test_another_metric_than_the_objectives_can_be_held() -> None:
    champion = evaluation(caught=90, missed=10)
    sloppy = replace(evaluation(caught=90, missed=10, false=60, quiet=940), y=champion.y)
    assert answer("not worse than champion by 0.01", sloppy, champion).outcome != "failed"
    found = answer("precision not worse than champion by 0.1", sloppy, champion)
    assert found.is_failed
    assert found.sentence.startswith("precision differs from v1 by -0.4")
    assert answer("log_loss not worse than champion by 0.01", sloppy, champion).is_failed


def test_numbers_and_costs_have_their_own_direction() -> None:
    y = np.random.default_rng(0).gamma(4.0, 4.0, 3_000)
    near, far = (
        NumericEvaluation(y=y, score=y + spread * np.random.default_rng(1).standard_normal(y.size))
        for spread in (2.0, 2.6)
    )
    given = GateEvidence(task="regression", objective=Objective.parse("mae"), candidate=far, champion=near)
    gates = [
        parse_gate(text)
        for text in ("not worse than champion by 0.2", "not worse than champion by 1", "beats champion")
    ]
    assert [one.verdict.outcome for one in judge_gates(gates, given)] == ["failed", "passed", "failed"]
    better = replace(given, candidate=near, champion=far)
    assert [one.verdict.outcome for one in judge_gates(gates, better)] == ["passed"] * 3


def test_the_same_scores_with_other_quantiles_are_another_model() -> None:
    y = np.random.default_rng(0).gamma(4.0, 4.0, 500)
    narrow, wide = (
        NumericEvaluation(y=y, score=y, quantiles=np.stack([y - off, y + off], axis=1), levels=(0.1, 0.9))
        for off in (1.0, 5.0)
    )
    given = GateEvidence(task="regression", objective=Objective.parse("pinball"), candidate=wide, champion=narrow)
    (found,) = judge_gates([parse_gate("not worse than champion by 0.1")], given)
    assert found.verdict.is_failed
    (same,) = judge_gates([parse_gate("not worse than champion by 0")], replace(given, candidate=narrow))
    assert same.verdict.is_passed


def test_weights_widen_the_interval() -> None:
    candidate, champion = pair(400, only_champion=0.05, only_candidate=0.05, seed=5)
    weight = np.random.default_rng(0).choice([1.0, 20.0], size=candidate.rows)
    heavy = [replace(one, weight=weight) for one in (candidate, champion)]
    plain = paired_interval("recall", candidate, champion, prior=0.5)
    assert paired_interval("recall", *heavy, prior=0.5).width > 1.2 * plain.width


def test_the_prior_only_widens_and_keeps_the_point() -> None:
    candidate, champion = pair(80, only_champion=0.05, only_candidate=0.02, seed=6)
    for metric in ("recall", "precision", "f1", "accuracy", "cost"):
        plain, wide = (paired_interval(metric, candidate, champion, prior=prior) for prior in (0.0, 0.5))
        assert plain.point == wide.point
        assert wide.width > 0
