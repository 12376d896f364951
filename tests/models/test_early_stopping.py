"""Early stopping: fewer rounds where more would be worse, none lost where not, and the best round's model served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from everloop.bundle import Graph
from everloop.errors import ConfigurationError
from everloop.models import FitRequest, FitResult, Validation, fit, fit_here, learner, resolve_params, stops_early
from everloop.models.early_stopping import Patience
from everloop.models.log_loss import log_loss
from tests.models.rows import SMALL, request, rows

# large steps, so that there is a round after which it only learns by heart
HASTY: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 300, "learning_rate": 0.3},
    "lightgbm": {"n_estimators": 300, "learning_rate": 0.3},
    "neural_network": {"epochs": 60, "learning_rate": 0.01, "batch_size": 256, "hidden": "64"},
}
ROUNDS = {"xgboost": "n_estimators", "lightgbm": "n_estimators", "neural_network": "epochs"}
every_stopper = pytest.mark.parametrize("name", tuple(HASTY))


def held(count: int = 1500, seed: int = 9) -> Validation:
    X, y = rows(count, seed=seed)
    return Validation(X=X, y=y)


def hasty(name: str, patience: int, **changes: Any) -> FitRequest:
    params = HASTY[name] | {"early_stopping_rounds": patience} | changes.pop("params", {})
    return request(name, **({"params": params, "validation": held()} | changes))


@pytest.fixture(scope="module")
def stopped() -> dict[str, FitResult]:
    return {name: fit_here(hasty(name, 5)) for name in HASTY}


@every_stopper
def test_it_stops_and_is_better_for_it_on_rows_that_stopped_nothing(name: str, stopped: dict[str, FitResult]) -> None:
    found = stopped[name]
    assert found.rounds is not None
    assert 1 <= found.rounds < HASTY[name][ROUNDS[name]]
    assert found.params[ROUNDS[name]] == HASTY[name][ROUNDS[name]]  # the upper bound is what was said
    assert found.params["early_stopping_rounds"] == 5
    X, y = rows(4000, seed=10)
    losses = [log_loss(y, Graph(one.graph).scores(X), np.ones(len(y))) for one in (found, fit_here(hasty(name, 0)))]
    assert losses[0] < losses[1] - 0.003


@every_stopper
def test_more_threads_and_a_child_stop_at_the_same_round(name: str, stopped: dict[str, FitResult]) -> None:
    for other in (fit_here(hasty(name, 5, threads=2)), fit(hasty(name, 5))):
        assert (other.graph, other.rounds) == (stopped[name].graph, stopped[name].rounds)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_what_is_served_are_the_rounds_that_were_kept(name: str, stopped: dict[str, FitResult]) -> None:
    """The graph is that of a fit that was asked for as many trees: those after the best are not in it."""
    rounds = stopped[name].rounds
    same = fit_here(hasty(name, 0, params={"n_estimators": rounds}))
    assert same.graph == stopped[name].graph
    assert same.rounds is None
    assert "early_stopping_rounds" not in same.params


@every_stopper
def test_patience_is_how_long_it_waits(name: str, stopped: dict[str, FitResult]) -> None:
    """With more patience the loss on the rows that stop it is the same or less."""
    longer = fit_here(hasty(name, 40))
    validation = held()
    losses = [log_loss(validation.y, Graph(one.graph).scores(validation.X), np.ones(1500)) for one in (
        longer, stopped[name])]  # fmt: skip
    assert losses[0] <= losses[1] + 1e-6
    assert longer.rounds is not None
    assert stopped[name].rounds is not None
    assert longer.rounds >= stopped[name].rounds


@every_stopper
def test_validation_rows_change_nothing_where_nothing_stops_early(name: str, fitted: dict[str, FitResult]) -> None:
    assert fit_here(request(name, validation=held())).graph == fitted[name].graph


@every_stopper
def test_weights_of_validation_rows_count(name: str, stopped: dict[str, FitResult]) -> None:
    """Rows that weigh next to nothing stop nothing: the others do, as if they were alone."""
    validation = held()
    kept = np.arange(1500) < 700
    alone = Validation(X=validation.X[kept], y=validation.y[kept])
    weighed = Validation(X=validation.X, y=validation.y, weight=np.where(kept, 1.0, 1e-12))
    found = [fit_here(hasty(name, 5, validation=one)) for one in (alone, weighed)]
    assert found[0].graph == found[1].graph


@every_stopper
def test_positives_that_count_more_do_not_end_it_at_once(name: str) -> None:
    """They count as often in the loss that stops it; unweighted, that would rise from the start."""
    assert (fit_here(hasty(name, 5, params={"scale_pos_weight": 20.0})).rounds or 0) > 3


@every_stopper
@pytest.mark.parametrize("alias", ["early_stopping_round", "n_iter_no_change"])
def test_other_names_mean_the_same(name: str, alias: str) -> None:
    params = resolve_params(learner(name), {alias: 5})
    assert params["early_stopping_rounds"] == 5
    assert stops_early(params)
    assert not stops_early(resolve_params(learner(name), {}))


@every_stopper
def test_without_validation_rows_it_is_one_sentence(name: str) -> None:
    sentence = f"hyperparameters.early_stopping_rounds: {name} is to stop early by its loss on validation rows and has"
    none = Validation(X=np.empty((0, 6), dtype=np.float32), y=np.empty(0))
    for validation in (None, none):
        for attempt in (fit_here, fit):
            with pytest.raises(ConfigurationError, match=sentence):
                attempt(hasty(name, 5, validation=validation))


@pytest.mark.parametrize("name", ["constant", "logistic", "random_forest"])
def test_who_has_no_rounds_has_no_such_hyperparameter(name: str) -> None:
    with pytest.raises(ConfigurationError, match="has no such hyperparameter"):
        resolve_params(learner(name), SMALL[name] | {"early_stopping_rounds": 5})


def test_patience_counts_from_the_best() -> None:
    patience = Patience(2)
    told = [(patience.better(loss), patience.is_over) for loss in (0.5, 0.4, 0.4, 0.39, 0.6, float("nan"))]
    assert told == [(True, False), (True, False), (False, False), (True, False), (False, False), (False, True)]
    assert patience.best == 4
