"""The names of metrics and learners that may stand in a model.yaml.

How they are computed belongs to tasks/ and models/; so do the ways of calibration.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["LEARNERS", "METRICS", "TASK_LEARNERS", "Calibrate", "MetricName", "did_you_mean", "metric_name"]

LEARNERS: Final = ("constant", "logistic", "random_forest", "xgboost", "lightgbm", "neural_network")
"""Of classification."""

TASK_LEARNERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "classification": LEARNERS,
        "regression": ("constant", "linear", "random_forest", "xgboost", "lightgbm", "neural_network"),
    }
)
"""By task, its constant first."""

Calibrate = Literal["none", "logistic", "isotonic", "auto"]
"""How scores become probabilities; `auto` as the validation rows surely ask for, `none` leaves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricName:
    """A metric's name, the task it belongs to, whether more is better, and whether it lies from 0 to 1.

    of_decisions: whether it judges decisions, so that it moves with the threshold.
    """

    name: str
    task: str
    maximise: bool
    is_share: bool = False
    of_decisions: bool = False


_SHARES: Final = frozenset(
    ("accuracy", "precision", "recall", "f1", "average_precision", "roc_auc", "brier", "ndcg", "mrr", "hit_rate")
)


_OF_DECISIONS: Final = frozenset(("accuracy", "precision", "recall", "f1", "cost"))


def _names(task: str, *, up: str, down: str = "") -> Iterable[tuple[str, MetricName]]:
    for words, maximise in ((up, True), (down, False)):
        for name in words.split():
            yield (
                name,
                MetricName(
                    name=name,
                    task=task,
                    maximise=maximise,
                    is_share=name in _SHARES,
                    of_decisions=name in _OF_DECISIONS,
                ),
            )


METRICS: Final[dict[str, MetricName]] = dict(
    [
        *_names(
            "classification",
            up="accuracy precision recall f1 average_precision roc_auc",
            down="log_loss brier cost",
        ),
        *_names("regression", up="r2", down="mape mae rmse pinball"),
        *_names("ranking", up="ndcg mrr hit_rate revenue"),
    ]
)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `allowed`, or nothing where none is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def metric_name(word: str) -> MetricName:
    """What is known of the metric `word` (`ndcg@10` is `ndcg`). Raises ValueError naming the likely one."""
    known = METRICS.get(re.sub(r"@\d+$", "", word))
    if known is None:
        hint = did_you_mean(word, METRICS)
        raise ValueError(f"{word!r} is not a metric{hint or ' (one of ' + ', '.join(METRICS) + ')'}")
    return known
