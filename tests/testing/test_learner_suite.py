"""The suite passes what keeps the laws, and each law catches who breaks it, and no other law does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.errors import ConfigurationError, EverloopError
from everloop.models import FittedPipeline, Hyperparameter, Int, Training, own_learner
from everloop.testing import LearnerSuite, planted_rows
from tests.testing.trees import ExtraTrees

LAWS = tuple(name for name in vars(LearnerSuite) if name.startswith("test_"))


class TestExtraTrees(LearnerSuite):
    learner = ExtraTrees()


@own_learner
class TreesOf:
    """ExtraTrees, with something done to the rows it learns from."""

    name = "trees_of"
    hyperparameters = ExtraTrees.hyperparameters

    def __init__(self, change: Callable[[Training], Training]) -> None:
        self.change = change

    def fit(self, training: Training) -> Any:
        return ExtraTrees().fit(self.change(training))


class Broken(ExtraTrees):
    """One thing set that ought to be otherwise."""

    def __init__(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)


class Shifted(FittedPipeline):
    """A model that is not what its graph says."""

    def scores(self, X: np.ndarray) -> np.ndarray:
        return np.clip(super().scores(X) + 0.01, 0, 1)


class Disagreeing(ExtraTrees):
    def fit(self, training: Training) -> Any:
        return Shifted(super().fit(training).estimator)


def broken_laws(item: Any) -> set[str]:
    """The laws that `item` breaks."""

    class Suite(LearnerSuite):
        learner = item

    found = set()
    for law in LAWS:
        try:
            getattr(Suite(), law)()
        except (AssertionError, EverloopError):
            found.add(law)
    return found


def drawn(training: Training) -> Training:
    return replace(training, seed=int(np.random.default_rng().integers(1 << 31)))


def by_threads(training: Training) -> Training:
    return replace(training, seed=training.threads)


def unweighted(training: Training) -> Training:
    return replace(training, weight=np.ones(len(training.y)))


def noise(training: Training) -> Training:
    return replace(training, X=np.random.default_rng(0).permuted(training.X))


def without_categories(training: Training) -> Training:
    X = training.X.copy()
    X[:, list(training.categories)] = 0
    return replace(training, X=X)


DOUBLED = (*ExtraTrees.hyperparameters, Hyperparameter(name="trees", search=Int(1, 5), default=3))
SEEDED = (*ExtraTrees.hyperparameters, Hyperparameter(name="random_state", search=Int(1, 5), default=3))


@pytest.mark.parametrize(
    ("item", "law"),
    [
        (TreesOf(by_threads), "test_threads_change_nothing"),
        (TreesOf(unweighted), "test_weights_count"),
        (TreesOf(without_categories), "test_categories_are_told_apart"),
        (Broken(name="extra trees"), "test_it_says_all_that_a_learner_has"),
        (Broken(row_block=3), "test_it_says_all_that_a_learner_has"),
        (Broken(hyperparameters=SEEDED), "test_it_says_all_that_a_learner_has"),
    ],
)
def test_each_law_catches_who_breaks_it_and_no_other_does(item: Any, law: str) -> None:
    assert broken_laws(item) == {law}


def test_a_fit_that_draws_from_elsewhere_is_caught() -> None:
    bytes_and_threads = {"test_the_same_rows_and_seed_give_the_same_bytes", "test_threads_change_nothing"}
    assert broken_laws(TreesOf(drawn)) == bytes_and_threads


def test_one_that_learns_noise_is_caught() -> None:
    learning = {"test_it_learns_what_is_planted", "test_categories_are_told_apart"}
    assert broken_laws(TreesOf(noise)) == learning


def test_a_word_with_two_meanings_is_caught() -> None:
    names = {"test_it_says_all_that_a_learner_has", "test_every_name_of_a_hyperparameter_means_the_same"}
    assert broken_laws(Broken(hyperparameters=DOUBLED)) == names


def test_a_graph_of_something_else_is_caught() -> None:
    assert "test_the_graph_says_what_the_model_says" in broken_laws(Disagreeing())


def test_a_suite_without_pytest_imports() -> None:
    """What is shipped asks for no test runner until it is run."""
    program = "import sys; sys.modules['pytest'] = None; import everloop.testing"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_the_planted_rows_are_always_the_same() -> None:
    (X, y), (again, truth) = planted_rows(100, seed=3), planted_rows(100, seed=3)
    assert X.tobytes() == again.tobytes()
    assert y.tolist() == truth.tolist()
    assert 0.1 < y.mean() < 0.5


def test_the_mark_is_for_classes() -> None:
    with pytest.raises(ConfigurationError, match="'drawn' is none"):
        own_learner(drawn)  # type: ignore[type-var]
