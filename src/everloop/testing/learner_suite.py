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
from everloop.testing.planted_rows import COLUMNS, planted_rows

__all__ = ["LearnerSuite"]

_ROWS: Final = 2000
_EXTREME: Final = 1e30
_BETTER: Final = 0.15
"""By how much of a pair of rows, one positive, a learner must rank better than by chance."""


class LearnerSuite:
    """Subclass it as `Test…` with a `learner`; each method is a law that pytest tries.

    learner: an instance of the class under test. params: hyperparameters that keep its fits short.
    learns: False for one that is meant to know nothing of a row.
    """

    learner: ClassVar[Any]
    params: ClassVar[Mapping[str, object]] = {}
    learns: ClassVar[bool] = True
    _plain: ClassVar[FitResult | None] = None

    def fitted(self, **changes: Any) -> FitResult:
        """A fit on planted rows; changes: of the `FitRequest`."""
        kept = vars(type(self)).get("_plain")
        if not changes and isinstance(kept, FitResult):
            return kept
        X, y = planted_rows(_ROWS)
        said: dict[str, Any] = {"learner": self.learner.name, "params": self.params, "X": X, "y": y, "seed": 7}
        result = fit_with(self.learner, FitRequest(**(said | changes)))
        if not changes:
            type(self)._plain = result
        return result

    def graph(self) -> Graph:
        """The graph of the plain fit."""
        return Graph(self.fitted().graph)

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
        X, y = planted_rows(3000, seed=1)
        X[::7, 5] = np.nan  # missing where training had nothing missing
        agreement = self.fitted(validation=Validation(X=X, y=y)).agreement
        assert agreement <= AGREEMENT, f"the graph's scores differ from the model's by {agreement:.2g}"

    def test_scores_are_probabilities(self) -> None:
        """float32, one per row, from 0 to 1."""
        scores = self.graph().scores(planted_rows(1000, seed=2)[0])
        assert scores.shape == (1000,), f"1,000 rows have scores of shape {scores.shape}"
        assert ((scores >= 0) & (scores <= 1)).all(), "scores are to lie from 0 to 1"

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
            assert np.isfinite(graph.scores(X)).all(), f"a row with {nothing} has no score"

    def test_extreme_values_get_a_score(self) -> None:
        """A column at ±1e30, one at a time: nothing overflows into no number."""
        X = np.tile(np.float32(0.5), (2 * COLUMNS, COLUMNS))
        X[np.arange(COLUMNS), np.arange(COLUMNS)] = _EXTREME
        X[COLUMNS + np.arange(COLUMNS), np.arange(COLUMNS)] = -_EXTREME
        scores = self.graph().scores(X)
        assert ((scores >= 0) & (scores <= 1)).all(), f"rows with 1e30 have the scores {scores}"

    def test_weights_count(self) -> None:
        """Positives that count eight times raise the scores."""
        weight = np.where(planted_rows(_ROWS)[1] == 1, 8.0, 1.0)
        X = planted_rows(1000, seed=5)[0]
        heavier = Graph(self.fitted(weight=weight).graph).scores(X).mean()
        assert heavier > self.graph().scores(X).mean() + 0.02, "training.weight changes nothing: hand it to the fit"

    def test_one_class_alone_is_refused(self) -> None:
        """There is nothing to learn from rows that are all alike."""
        for only in (0, 1):
            try:
                self.fitted(y=np.full(_ROWS, only))
            except NotEnoughData:
                continue
            raise AssertionError(f"rows that are all {only} were fitted")

    def test_it_learns_what_is_planted(self) -> None:
        """It ranks new rows better than by chance, or is not meant to."""
        X, y = planted_rows(4000, seed=6)
        ranked = _ranked(y, self.graph().scores(X))
        assert ranked > 0.5 + _BETTER or not self.learns, f"it ranks {ranked:.2f} of pairs rightly, and chance 0.50"

    def test_where_it_stops_early_it_keeps_the_rounds_that_it_says(self) -> None:
        """With `early_stopping_rounds`, where it has that, the model says how many rounds it kept."""
        if "early_stopping_rounds" not in defaults(self.learner):
            return
        X, y = planted_rows(1000, seed=7)
        stopped = self.fitted(params={**self.params, "early_stopping_rounds": 3}, validation=Validation(X=X, y=y))
        assert stopped.rounds is not None, "a model that stopped early says `rounds`"
        assert stopped.rounds >= 1


def _tried(item: Hyperparameter) -> tuple[Value, ...]:
    if isinstance(item.search, Choice):
        return item.search.options
    return (item.search.low, item.search.high)


def _ranked(y: np.ndarray, scores: np.ndarray) -> float:
    """The share of pairs, one row positive, that are ranked rightly; ties count half."""
    positive, negative = np.sort(scores[y == 1]), scores[y == 0]
    below = np.searchsorted(positive, negative, side="left"), np.searchsorted(positive, negative, side="right")
    return float(1 - (below[0] + below[1]).sum() / (2 * len(positive) * len(negative)))
