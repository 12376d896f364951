from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.errors import NotEnoughData
from everloop.project import Objective
from everloop.tasks import Evaluation, choose_threshold, decided, get_task

RECALL = Objective.parse("recall at precision >= 0.80")
TASK = get_task("classification")


def payments(rng: np.random.Generator, n: int, *, gap: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """0.2 % fraud, and scores that tell it apart well but not fully."""
    y = rng.random(n) < 0.002
    return y, (1 / (1 + np.exp(-(rng.normal(-6, 1.5, n) + gap * y)))).astype(np.float32)


def judged(objective: Objective, y: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> Evaluation:
    return Evaluation(
        y=y, score=score, weight=weight, threshold=choose_threshold(objective, y, score, weight), costs=objective.costs
    )


def test_the_precision_asked_for_is_kept_on_rows_not_seen() -> None:
    rng = np.random.default_rng(1)
    fresh_y, fresh = payments(rng, 1_000_000)
    precisions, recalls = [], []
    for _ in range(30):
        threshold = choose_threshold(RECALL, *payments(rng, 50_000))
        live = Evaluation(y=fresh_y, score=fresh, threshold=threshold)
        precisions.append(live.value("precision"))
        recalls.append(live.value("recall"))
    assert np.mean(precisions) >= 0.80
    assert np.min(precisions) >= 0.70
    assert np.mean(recalls) >= 0.65


@pytest.mark.parametrize("text", ["accuracy", "f1", "cost(fn=100, fp=1)", "cost(fn=5, fp=1, tp=-2)"])
@settings(deadline=None, max_examples=40)
@given(pairs=st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=30))
def test_no_other_threshold_is_better(text: str, pairs: list[tuple[bool, int, int]]) -> None:
    objective = Objective.parse(text)
    y = np.array([True, False, *(p[0] for p in pairs)])
    score = np.array([15, 5, *(p[1] for p in pairs)], dtype=np.float32) / 20
    weight = np.array([1, 1, *(p[2] for p in pairs)], dtype=np.float64)
    best = judged(objective, y, score, weight)
    value, sign = best.value(objective.metric), 1 if objective.maximise else -1
    for threshold in [0.0, *np.unique(score).tolist(), 2.0]:
        assert sign * replace(best, threshold=threshold).value(objective.metric) <= sign * value + 1e-9


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=40))
def test_a_threshold_lies_between_two_scores(pairs: list[tuple[bool, float]]) -> None:
    y = np.array([True, False, *(p[0] for p in pairs)])
    score = np.array([0.7, 0.3, *(p[1] for p in pairs)], dtype=np.float32)
    threshold = choose_threshold(Objective.parse("f1"), y, score)
    assert float(np.float32(threshold)) == threshold
    flagged = decided(score, threshold)
    if flagged.any() and not flagged.all():
        assert score[~flagged].max() < threshold <= score[flagged].min()


def test_neighbouring_floats_stay_apart() -> None:
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    threshold = choose_threshold(Objective.parse("f1"), np.array([0, 1]), np.array([low, high]))
    assert decided(np.array([low, high]), threshold).tolist() == [False, True]


def test_one_more_false_alarm_must_fit() -> None:
    # 7 of 8 are right as seen, with one alarm more it is 7 of 9, too few; 6 of 6 become 6 of 7, which holds.
    y = np.array([1] * 6 + [0] + [1] + [0] * 20)
    score = np.linspace(0.9, 0.1, y.size, dtype=np.float32)
    assert int(decided(score, choose_threshold(RECALL, y, score)).sum()) == 6


def test_an_unreachable_bound_takes_what_loses_least_and_says_so() -> None:
    rng = np.random.default_rng(2)
    y, score = payments(rng, 30_000, gap=2.0)
    weak = judged(RECALL, y, score)
    assert weak.value("precision") < 0.8
    assert 0 < TASK.objective_value(RECALL, weak) < weak.value("recall")


def test_a_constant_wins_nothing() -> None:
    rng = np.random.default_rng(3)
    y, score = payments(rng, 30_000)
    constant = judged(RECALL, y, np.full(y.size, 0.002, dtype=np.float32))
    model = judged(RECALL, y, score)
    assert model.value("precision") >= 0.8
    assert TASK.objective_value(RECALL, model) == model.value("recall")
    assert TASK.objective_value(RECALL, constant) < 0.01


def test_a_hair_below_the_bound_costs_a_hair() -> None:
    y = np.array([1] * 79 + [0] * 21 + [1] * 21 + [0] * 879)
    near = Evaluation(y=y, score=(np.arange(1000) < 100).astype(np.float32), threshold=0.5)
    assert near.value("precision") == 0.79
    assert TASK.objective_value(RECALL, near) == pytest.approx(0.79 * 0.79 / 0.80)


def test_a_metric_to_be_kept_small_grows_with_what_is_missing() -> None:
    capped = Objective.parse("brier at recall >= 0.80")
    y, score = np.array([1, 1, 0, 0]), np.array([0.9, 0.2, 0.3, 0.1], dtype=np.float32)
    half = Evaluation(y=y, score=score, threshold=0.5)
    assert TASK.objective_value(capped, half) == pytest.approx(half.value("brier") / (0.5 / 0.8))
    none = replace(half, threshold=2.0)
    assert TASK.objective_value(capped, none) == float("inf")
    cheap = Objective.parse("recall at cost <= 0.1")
    assert TASK.objective_value(cheap, half) == pytest.approx(0.5 * 0.1 / 0.25)


def test_costs_of_the_objective_are_used() -> None:
    objective = Objective.parse("cost(fn=100, fp=1)")
    y, score = payments(np.random.default_rng(4), 20_000)
    chosen = TASK.evaluate(y, score, threshold=TASK.choose_threshold(objective, y, score))
    strict = TASK.evaluate(y, score, threshold=TASK.choose_threshold(RECALL, y, score))
    assert TASK.objective_value(objective, chosen) < TASK.objective_value(objective, strict)


@pytest.mark.parametrize("text", ["recall", "precision", "average_precision", "roc_auc", "log_loss", "brier"])
def test_what_has_no_best_threshold_takes_that_of_f1(text: str) -> None:
    y, score = payments(np.random.default_rng(5), 20_000)
    assert choose_threshold(Objective.parse(text), y, score) == choose_threshold(Objective.parse("f1"), y, score)


def test_one_class_is_said_in_a_sentence() -> None:
    with pytest.raises(NotEnoughData, match="0 positive of 3"):
        choose_threshold(RECALL, np.zeros(3), np.array([0.1, 0.2, 0.3], dtype=np.float32))
