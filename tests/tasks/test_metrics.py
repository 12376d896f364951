"""Our metrics are scikit-learn's, weighted or not, with ties or without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.errors import NotEnoughData
from everloop.tasks import Evaluation, get_task, paired_interval

KINDS = ["plain", "weighted", "tied", "few positives"]


def rows(kind: str, n: int = 3000) -> Evaluation:
    rng = np.random.default_rng(KINDS.index(kind))
    y = rng.random(n) < (0.01 if kind == "few positives" else 0.3)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + 2 * y - 1)))
    if kind == "tied":
        score = score.round(1).clip(0.1, 0.9)
    weight = rng.choice([1.0, 7.5, 60.0], size=n) if kind != "plain" else None
    return Evaluation(y=y, score=score.astype(np.float32), weight=weight, threshold=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_scikit_learns(kind: str) -> None:
    from sklearn import metrics as sk

    judged = rows(kind)
    y, score, w, flagged = judged.y, judged.score.astype(np.float64), judged.weights, judged.decision
    expected = {
        "accuracy": sk.accuracy_score(y, flagged, sample_weight=w),
        "precision": sk.precision_score(y, flagged, sample_weight=w),
        "recall": sk.recall_score(y, flagged, sample_weight=w),
        "f1": sk.f1_score(y, flagged, sample_weight=w),
        "average_precision": sk.average_precision_score(y, score, sample_weight=w),
        "roc_auc": sk.roc_auc_score(y, score, sample_weight=w),
        "log_loss": sk.log_loss(y, score, sample_weight=w),
        "brier": sk.brier_score_loss(y, score, sample_weight=w),
        "cost": np.average(flagged != y, weights=w),
    }
    assert set(expected) == set(get_task("classification").metrics)
    for name, value in expected.items():
        assert judged.value(name) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_are_those_of_a_bootstrap_of_rows(kind: str) -> None:
    judged, rng = rows(kind, 1000), np.random.default_rng(3)
    for name in ("recall", "f1", "average_precision", "roc_auc", "log_loss"):
        drawn = []
        for _ in range(200):
            weight = judged.weights * rng.poisson(1.0, size=judged.rows)
            if weight[judged.y].sum() > 0:
                drawn.append(Evaluation(y=judged.y, score=judged.score, weight=weight, threshold=0.5).value(name))
        low, high = np.quantile(drawn, [0.025, 0.975])
        interval = judged.interval(name, seed=1)
        assert interval.holds(judged.value(name))
        assert interval.point == pytest.approx(judged.value(name))
        if 0 < interval.point < 1:  # a bootstrap of rows that are all right knows no doubt
            assert interval.width == pytest.approx(high - low, rel=0.45), name
    assert judged.interval("f1", seed=1) == judged.interval("f1", seed=1)


def test_no_interval_of_a_loss_begins_below_0() -> None:
    """One row that weighs much leaves the mean loss wide open, but not below nothing."""
    judged = Evaluation(
        y=np.array([1, 0, 0, 0]), score=np.array([0.9, 0.0, 0.0, 0.7], np.float32), weight=np.array([1, 60, 60, 60])
    )
    for name in ("brier", "log_loss"):
        interval = judged.interval(name)
        assert interval.low == 0.0 < interval.point < interval.high


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=40))
def test_ranking_metrics_do_not_depend_on_calibration(pairs: list[tuple[bool, int]]) -> None:
    y = np.array([True, False, *(truth for truth, _ in pairs)])
    score = np.array([1, 2, *(level for _, level in pairs)], dtype=np.float32) / 6
    plain, squeezed = Evaluation(y=y, score=score), Evaluation(y=y, score=(score**3 / 9).astype(np.float32))
    for name in ("average_precision", "roc_auc"):
        assert plain.value(name) == pytest.approx(squeezed.value(name))
    turned = Evaluation(y=y, score=1 - score)
    assert plain.value("roc_auc") + turned.value("roc_auc") == pytest.approx(1)


def test_many_distinct_scores_of_a_balanced_problem() -> None:
    rng = np.random.default_rng(1)
    judged = Evaluation(y=rng.random(50_000) < 0.5, score=rng.random(50_000).astype(np.float32))
    interval = judged.interval("roc_auc")
    assert interval.width == pytest.approx(4 * 0.2887 * 2**0.5 / 25_000**0.5, rel=0.25)


def test_pairing_makes_a_small_difference_visible() -> None:
    rng = np.random.default_rng(2)
    y = rng.random(20_000) < 0.05
    score = (1 / (1 + np.exp(-(rng.normal(size=y.size) + 3 * y - 2)))).astype(np.float32)
    # The second never catches what the first misses, and misses a few more.
    worse = np.where(y & (rng.random(y.size) < 0.03), 0.0, score).astype(np.float32)
    first = Evaluation(y=y, score=score, threshold=0.5)
    second = Evaluation(y=y, score=worse, threshold=0.5)
    for name in ("recall", "f1", "accuracy", "average_precision"):
        difference = paired_interval(name, first, second)
        assert 0 < difference.low < difference.high, name
        assert difference.width < first.interval(name).width
    assert paired_interval("log_loss", first, second).high < 0
    assert paired_interval("cost", first, second).high < 0
    assert paired_interval("recall", first, first).width == 0
    with pytest.raises(ValueError, match="same rows"):
        paired_interval("recall", first, Evaluation(y=~y, score=score, threshold=0.5))


def test_one_class_is_said_in_a_sentence() -> None:
    score = np.array([0.1, 0.2], dtype=np.float32)
    negative = Evaluation(y=np.zeros(2), score=score, threshold=0.5)
    for name in ("recall", "f1", "average_precision", "roc_auc"):
        with pytest.raises(NotEnoughData, match="all 2 are negative"):
            negative.value(name)
    assert negative.value("precision") == 0
    assert negative.interval("precision").width == 1
    assert negative.value("accuracy") == 1
    with pytest.raises(NotEnoughData, match="all 2 are positive"):
        Evaluation(y=np.ones(2), score=score).value("roc_auc")
    with pytest.raises(NotEnoughData, match="no rows"):
        Evaluation(y=np.array([]), score=np.array([]))


def test_mistakes_are_named() -> None:
    y, score = np.array([0, 1]), np.array([0.2, 0.9], dtype=np.float32)
    with pytest.raises(ValueError, match="'mape' is not a metric of classification"):
        Evaluation(y=y, score=score).value("mape")
    with pytest.raises(ValueError, match="needs a threshold"):
        Evaluation(y=y, score=score).value("recall")
    with pytest.raises(ValueError, match="one shape"):
        Evaluation(y=y, score=score[:1])
    with pytest.raises(ValueError, match="0 and 1"):
        Evaluation(y=y + 1, score=score)
    with pytest.raises(ValueError, match="finite"):
        Evaluation(y=y, score=np.array([0.2, np.nan], dtype=np.float32))
    with pytest.raises(ValueError, match="weights must be"):
        Evaluation(y=y, score=score, weight=np.array([1.0, -1.0]))


def test_cost_takes_its_prices() -> None:
    judged = Evaluation(
        y=np.array([1, 1, 0, 0]),
        score=np.array([0.9, 0.1, 0.8, 0.2], dtype=np.float32),
        threshold=0.5,
        costs={"fn": 100, "fp": 1, "tp": -3},
    )
    assert judged.value("cost") == pytest.approx((100 + 1 - 3) / 4)
    assert judged.interval("cost").holds(24.5)
    assert judged.flagged == 2
