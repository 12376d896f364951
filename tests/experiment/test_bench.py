"""What the benchmarks compute of what they measured: differences with their intervals, claims that were not kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench.card import recall_at
from bench.cases import CASES, lay_out, made_project
from bench.difference import METRICS, difference
from bench.explore import broken as explore_broken
from bench.explore import cards
from bench.search import broken
from sklearn.metrics import average_precision_score

from ..data.projects import shared_file


def test_a_side_compared_with_itself_is_no_better() -> None:
    rng = np.random.default_rng(0)
    y, weight = rng.random(500) < 0.1, rng.uniform(1, 9, 500)
    scores = [rng.random(500) for _ in range(3)]
    assert difference("average_precision", y, weight, scores, scores) == {"point": 0.0, "low": 0.0, "high": 0.0}
    assert difference("mae", y.astype(float), weight, scores, scores) == {"point": 0.0, "low": 0.0, "high": 0.0}


def test_a_smaller_error_is_a_share_above_zero() -> None:
    y, weight = np.zeros(100), np.ones(100)
    gap = difference("mae", y, weight, [np.full(100, 0.9)], [np.full(100, 1.0)])
    assert gap == pytest.approx({"point": 0.1, "low": 0.1, "high": 0.1})


def test_the_interval_holds_what_many_rows_say_as_often_as_it_should() -> None:
    rng, held, of = np.random.default_rng(1), 0, 60
    for seed in range(of):
        truth = rng.standard_normal(300)
        ours = [truth + rng.normal(0, 1.0, 300) for _ in range(3)]
        theirs = [truth + rng.normal(0, 1.1, 300) for _ in range(3)]
        gap = difference("mae", truth, np.ones(300), ours, theirs, seed=seed)
        held += gap["low"] <= 1 - 1 / 1.1 <= gap["high"]
    assert held >= 0.8 * of  # three seeds drawn from three say a little less than 95 %


def test_average_precision_is_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    y, score, weight = rng.random(400) < 0.2, np.round(rng.random(400), 2), rng.uniform(1, 5, 400)
    of, more = METRICS["average_precision"]
    assert more
    assert of(y, score)(weight) == pytest.approx(average_precision_score(y, score, sample_weight=weight))


def test_recall_at_a_share_of_false_positives() -> None:
    y = np.r_[np.zeros(200), np.ones(4)]
    score = np.r_[np.arange(200) / 200, 0.5, 0.991, 0.9901, 0.999]
    assert recall_at(y, score, false_positives=0.01) == 0.75  # two of 200 are let through: above 0.985
    assert recall_at(y, score, false_positives=0.5) == 1.0


def test_what_is_not_kept_is_said() -> None:
    assert broken({"bench": "search", "fits_ratio": 0.05, "speedup_2_jobs": 1.7}) == []
    best = {"point": 0.84, "low": 0.80, "high": 0.88}
    document = {
        "fits_ratio": 0.06,
        "grid_best": best,
        "score_minus_grid_best": {"point": -0.05, "low": -0.06, "high": -0.04},
        "vs_flaml": {"elec2": {"point": -0.011, "low": -0.03, "high": 0.01}},
        "vs_optuna": {"elec2": {"point": -0.001, "low": -0.03, "high": 0.01}},
        "speedup_2_jobs": 1.5,
        "same_best": False,
    }
    assert len(broken(document)) == 5
    assert explore_broken({"rows": 9, "seconds": 2.5, "first_page_s": 2.9, "peak_mb": 999.0, "streamed": True}) == []
    late = {"rows": 9, "seconds": 2.5, "first_page_s": 3.1, "peak_mb": 999.0, "streamed": True}
    assert explore_broken(late) == ["9 rows took 3.1 s"]
    bad = {"rows": 9, "seconds": 3.1, "first_page_s": 3.4, "peak_mb": 1001.0, "streamed": False}
    assert len(explore_broken(bad)) == 3


def test_generated_cards_have_the_columns_of_the_card_file() -> None:
    frame = cards(20_000)
    assert frame.columns == ["Time", *(f"V{at}" for at in range(1, 29)), "Amount", "Class"]
    assert frame.shape == (20_000, 31)
    assert 0 < frame["Class"].sum() < 100


def test_every_side_gets_the_rows_that_the_search_has(tmp_path: Path) -> None:
    path = shared_file(CASES["creditcard"].file)
    case = CASES["creditcard"]
    project, model = made_project(case, case.read(path.parents[1]), tmp_path / "project", learners="logistic")
    rows = lay_out(project, model, tmp_path / "rows")
    X, y, newest = (np.load(tmp_path / "rows" / f"{name}.npy") for name in ("X", "y", "newest"))
    np.testing.assert_array_equal(np.load(tmp_path / "rows" / "X_test.npy"), rows.test.X)
    assert len(X) + rows.folds.test.size == len(rows.y)
    np.testing.assert_array_equal(y[newest], rows.y[rows.folds.newest.judged])
    assert json.loads((tmp_path / "project" / "creditcard" / "model.yaml").read_text())["objective"] == case.objective
