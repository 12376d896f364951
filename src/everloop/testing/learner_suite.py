"""The laws that a learner keeps, as tests; everloop's own learners are held to the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from everloop.bundle import Graph
from everloop.errors import NotEnoughData
from everloop.models import (
    AGREEMENT,
    Choice,
    FitRequest,
    FitResult,
    Hyperparameter,
    Learner,
    Validation,
    Value,
    defaults,
    fit_with,
    resolve_params,
)
from everloop.models.own_learner import learner_mistakes
from everloop.testing.planted_rows import COLUMNS, planted_categories, planted_numbers, planted_rows

__all__ = ["LearnerSuite"]

_ROWS: Final = 2000
_EXTREME: Final = 1e30
_BETTER: Final = 0.15
"""By how much of a pair of rows, one positive, a learner must rank better than by chance."""


class LearnerSuite:
    """Subclass it as `Test…` with a `learner`; each method is a law that pytest tries.

    learner: an instance of the class under test; its `task` says whether it is held to numbers.
    params: hyperparameters that keep its fits short. learns: False for one that is meant to know nothing of a row.
    task: of a learner that does not say its own.
    """

    learner: ClassVar[Any]
    task: ClassVar[str] = "classification"
    params: ClassVar[Mapping[str, object]] = {}
    learns: ClassVar[bool] = True
    _plain: ClassVar[FitResult | None] = None

    def fitted(self, **changes: Any) -> FitResult:
        """A fit on planted rows; changes: of the `FitRequest`."""
        kept = vars(type(self)).get("_plain")
        if not changes and isinstance(kept, FitResult):
            return kept
        X, y = self._rows(_ROWS)
        said: dict[str, Any] = {"learner": self.learner.name, "params": self.params, "X": X, "y": y, "seed": 7}
        task = "regression" if self._numeric else "classification"
        result = fit_with(self.learner, FitRequest(**(said | {"task": task} | changes)))
        if not changes:
            type(self)._plain = result
        return result

    def graph(self) -> Graph:
        """The graph of the plain fit."""
        return Graph(self.fitted().graph)

    @property
    def _numeric(self) -> bool:
        return getattr(self.learner, "task", self.task) == "regression"

    def _rows(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return planted_numbers(count, seed) if self._numeric else planted_rows(count, seed)

    def _check(self, scores: np.ndarray, rows: str) -> None:
        """Scores are numbers, and of classes lie from 0 to 1."""
        assert np.isfinite(scores).all(), f"{rows} have no score"
        assert self._numeric or ((scores >= 0) & (scores <= 1)).all(), f"{rows} have scores that are not from 0 to 1"

    def test_it_says_all_that_a_learner_has(self) -> None:
        """A name, a table of hyperparameters without two meanings for one word, a fit."""
        found = list(learner_mistakes(self.learner))
        assert found == [], "; ".join(found)

    def test_whatever_a_search_may_try_is_allowed(self) -> None:
        """The ends of every search space, and every choice, are values that a spec may say."""
        learner: Learner = self.learner
        assert resolve_params(learner, defaults(learner)) == defaults(learner), "a default is not settled"
        for item in learner.hyperparameters:
            for value in _tried(item):
                resolve_params(learner, {item.name: value})

    def test_every_name_of_a_hyperparameter_means_the_same(self) -> None:
        """Its default under an alias is its default."""
        for item in self.learner.hyperparameters:
            for name in item.aliases:
                said = resolve_params(self.learner, {name: item.default})
                assert said == defaults(self.learner), f"{name} is not another name of {item.name}"

    def test_the_same_rows_and_seed_give_the_same_bytes(self) -> None:
        """A fit draws from `training.seed` alone."""
        again = self.fitted(threads=1).graph
        assert again == self.fitted().graph, "two fits of the same rows differ: draw from training.seed alone"

    def test_threads_change_nothing(self) -> None:
        """Two threads give the graph of one."""
        wider = self.fitted(threads=2).graph
        assert wider == self.fitted().graph, "the number of threads changes what comes out"

    def test_the_graph_says_what_the_model_says(self) -> None:
        """On rows that it has not seen, a tenth of their values missing; above the bound `fit_with` itself refuses."""
        X, y = self._rows(3000, seed=1)
        X[::7, 5] = np.nan  # missing where training had nothing missing
        agreement = self.fitted(validation=Validation(X=X, y=y)).agreement
        assert agreement <= AGREEMENT, f"the graph's scores differ from the model's by {agreement:.2g}"

    def test_scores_are_probabilities_or_numbers(self) -> None:
        """float32, one per row, and of classes from 0 to 1."""
        scores = self.graph().scores(planted_rows(1000, seed=2)[0])
        assert scores.shape == (1000,), f"1,000 rows have scores of shape {scores.shape}"
        self._check(scores, "rows like those learned from")

    def test_a_row_alone_gives_the_bytes_of_a_batch(self) -> None:
        """A row's score does not depend on its neighbours."""
        graph = self.graph()
        X = planted_rows(200, seed=3)[0]
        alone = np.concatenate([graph.scores(X[at : at + 1]) for at in range(len(X))])
        assert alone.tobytes() == graph.scores(X).tobytes(), "a row alone has another score: raise row_block to 16"

    def test_missing_values_get_a_score(self) -> None:
        """Whatever is missing, nothing and infinity alike."""
        graph = self.graph()
        for nothing in (np.nan, np.inf, -np.inf):
            X = planted_rows(COLUMNS + 2, seed=4)[0]
            X[np.arange(COLUMNS), np.arange(COLUMNS)] = nothing
            X[COLUMNS] = nothing
            self._check(graph.scores(X), f"rows with {nothing}")

    def test_extreme_values_get_a_score(self) -> None:
        """A column at ±1e30, one at a time: nothing overflows into no number."""
        X = np.tile(np.float32(0.5), (2 * COLUMNS, COLUMNS))
        X[np.arange(COLUMNS), np.arange(COLUMNS)] = _EXTREME
        X[COLUMNS + np.arange(COLUMNS), np.arange(COLUMNS)] = -_EXTREME
        self._check(self.graph().scores(X), "rows with 1e30")

    def test_weights_count(self) -> None:
        """Positives, or rows above the middle, that count eight times raise the scores."""
        y = self._rows(_ROWS)[1]
        weight = np.where(_high(y), 8.0, 1.0)
        X = planted_rows(1000, seed=5)[0]
        heavier = Graph(self.fitted(weight=weight).graph).scores(X).mean()
        least = 0.02 * (np.std(y) if self._numeric else 1.0)
        assert heavier > self.graph().scores(X).mean() + least, "training.weight changes nothing: hand it to the fit"

    def test_one_outcome_alone_is_refused(self) -> None:
        """There is nothing to learn from rows that are all alike."""
        for only in (0, 1):
            try:
                self.fitted(y=np.full(_ROWS, only))
            except NotEnoughData:
                continue
            raise AssertionError(f"rows that are all {only} were fitted")

    def test_it_learns_what_is_planted(self) -> None:
        """It ranks new rows better than by chance, or is not meant to."""
        X, y = self._rows(4000, seed=6)
        ranked = _ranked(_high(y), self.graph().scores(X))
        assert ranked > 0.5 + _BETTER or not self.learns, f"it ranks {ranked:.2f} of pairs rightly, and chance 0.50"

    def test_categories_are_told_apart(self) -> None:
        """Whatever their order; one that is missing, as any that training never saw, gets a score too."""
        X, high = planted_categories(_ROWS)
        y = 20 + 10 * high if self._numeric else (np.random.default_rng(8).random(_ROWS) < high).astype(np.int8)
        graph = Graph(self.fitted(X=X, y=y, categories={0: 4}).graph)
        asked = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [np.nan, 0]], dtype=np.float32)
        scores = graph.scores(asked)
        self._check(scores, "rows of every category, and of none")
        apart = min(scores[1], scores[3]) > max(scores[0], scores[2])
        assert apart or not self.learns, f"categories that lie low, high, low, high have the scores {scores[:4]}"

    def test_where_it_stops_early_it_keeps_the_rounds_that_it_says(self) -> None:
        """With `early_stopping_rounds`, where it has that, the model says how many rounds it kept."""
        if "early_stopping_rounds" not in defaults(self.learner):
            return
        X, y = self._rows(1000, seed=7)
        stopped = self.fitted(params={**self.params, "early_stopping_rounds": 3}, validation=Validation(X=X, y=y))
        assert stopped.rounds is not None, "a model that stopped early says `rounds`"
        assert stopped.rounds >= 1


def _tried(item: Hyperparameter) -> tuple[Value, ...]:
    if isinstance(item.search, Choice):
        return item.search.options
    return (item.search.low, item.search.high)


def _high(y: np.ndarray) -> np.ndarray:
    """Which rows are positive, or of numbers lie above the middle; shape (n,), 0 or 1."""
    return np.asarray(y if y.dtype == np.int8 else y > np.median(y)).astype(np.int8)


def _ranked(y: np.ndarray, scores: np.ndarray) -> float:
    """The share of pairs, one row positive, that are ranked rightly; ties count half."""
    positive, negative = np.sort(scores[y == 1]), scores[y == 0]
    below = np.searchsorted(positive, negative, side="left"), np.searchsorted(positive, negative, side="right")
    return float(1 - (below[0] + below[1]).sum() / (2 * len(positive) * len(negative)))
