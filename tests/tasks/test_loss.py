from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.project import Objective
from everloop.stats import BoundedSequence
from everloop.tasks import Evaluation, get_task, hits

TASK = get_task("classification")
OBJECTIVES = [
    "accuracy",
    "precision",
    "recall at precision >= 0.80",
    "f1",
    "cost(fn=100, fp=1)",
    "cost(fn=100, fp=1, tp=-20)",
    "average_precision",
    "roc_auc",
    "log_loss",
    "brier",
]


@pytest.mark.parametrize("text", OBJECTIVES)
@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=30))
def test_every_loss_has_its_bound(text: str, rows: list[tuple[bool, float, bool]]) -> None:
    y, score, decision = (np.array(column) for column in zip(*rows, strict=True))
    losses = TASK.losses(y, score.astype(np.float32), decision, objective=Objective.parse(text))
    known = losses[~np.isnan(losses)]
    assert losses.shape == y.shape
    assert ((known >= 0) & (known <= 1)).all()


def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.random(5000) < 0.1
    score = (1 / (1 + np.exp(-(rng.normal(size=5000) + 3 * y - 2)))).astype(np.float32)
    return y, score, TASK.decide(score, 0.5)


def test_mean_losses_are_the_metrics() -> None:
    y, score, decision = rows()
    judged = Evaluation(y=y, score=score, threshold=0.5, costs={"fn": 100, "fp": 1})

    def mean(text: str) -> float:
        return float(np.nanmean(TASK.losses(y, score, decision, objective=Objective.parse(text))))

    assert mean("recall") == pytest.approx(1 - judged.value("recall"))
    assert mean("accuracy") == pytest.approx(1 - judged.value("accuracy"))
    assert mean("cost(fn=100, fp=1)") == pytest.approx(judged.value("cost") / 100)
    assert mean("brier") == pytest.approx(judged.value("brier"))
    assert mean("log_loss") == pytest.approx(judged.value("log_loss") / 9.2103, rel=1e-3)
    assert mean("roc_auc") == pytest.approx(1 - judged.value("roc_auc"))
    assert mean("average_precision") == pytest.approx(1 - judged.value("average_precision"))
    assert np.mean(TASK.losses(y, score, decision)) == pytest.approx(1 - judged.value("accuracy"))


def test_hits_average_to_the_metric() -> None:
    y, score, decision = rows()
    judged = Evaluation(y=y, score=score, threshold=0.5)
    for metric in ("accuracy", "precision", "recall"):
        assert hits(metric, y, decision).mean() == pytest.approx(judged.value(metric))
    with pytest.raises(ValueError, match="'f1' is not a share of rows"):
        hits("f1", y, decision)


def test_gains_over_positives_are_the_difference_in_recall() -> None:
    y, score, champion = rows()
    challenger = TASK.decide(score, 0.3)
    objective = Objective.parse("recall at precision >= 0.80")
    gains = TASK.losses(y, score, champion, objective=objective) - TASK.losses(
        y, score, challenger, objective=objective
    )
    sequence = BoundedSequence().update(gains[~np.isnan(gains)])
    difference = hits("recall", y, challenger).mean() - hits("recall", y, champion).mean()
    assert sequence.interval().point == pytest.approx(difference)
    assert sequence.verdict().is_passed
