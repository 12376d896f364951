"""One fit: rows and hyperparameters in, a graph that agrees with its model out. The model itself stays here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from everloop.clock import SystemClock
from everloop.errors import NotEnoughData
from everloop.models.agreement import COMPARED_ROWS, largest_difference
from everloop.models.class_weight import BALANCED, balance
from everloop.models.early_stopping import check_validation
from everloop.models.graphs import serving_graph
from everloop.models.learner import Learner, Training, Validation, target_type
from everloop.models.missing import filled, fills
from everloop.models.params import resolve_params, told_params
from everloop.models.registry import learner as find_learner
from everloop.models.regression import check_quantiles, fit_numbers, refuse_one_outcome
from everloop.models.space import Value

__all__ = ["FitRequest", "FitResult", "checked", "fit_here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """What is to be fitted.

    learner: its name, such as `xgboost`.
    params: hyperparameters by canonical or native name; what is not said has its default.
    X: float32, shape (n, k). y: shape (n,), 0 or 1, of a regression numbers. weight: shape (n,), positive; None is 1
        for every row.
    validation: rows not in X, by which a fit may stop early, and the first of which graph and model are compared on;
        where there are none, rows of X are compared.
    seed: with the rest it determines the graph, to the byte. threads: never changes what comes out.
    quantiles: levels in (0, 1), rising, that a regression's graph gives beside its score; they need validation rows.
    """

    learner: str
    params: Mapping[str, object]
    X: np.ndarray
    y: np.ndarray
    seed: int
    weight: np.ndarray | None = None
    validation: Validation | None = None
    threads: int = 1
    task: str = "classification"
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Validation rows that are none are no validation."""
        if self.validation is not None and len(self.validation.y) == 0:
            object.__setattr__(self, "validation", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What came out.

    graph: the ONNX graph's bytes, for `bundle.Graph`. params: hyperparameters by canonical name; those that no search
        tries only where they are not their defaults.
    agreement: the largest difference of a graph's and its model's score on the rows compared.
    fit_s: what the fit alone took. rounds: how many trees or epochs were kept, None where it did not stop early.
    """

    graph: bytes
    fit_s: float
    agreement: float
    params: dict[str, Value]
    rounds: int | None = None


def fit_here(request: FitRequest) -> FitResult:
    """Fit in this process: for a worker that is already apart. `fit` does the same in a child that can be stopped.

    Raises ConfigurationError for the hyperparameters, NotEnoughData for one class only, GraphDisagrees.
    """
    from threadpoolctl import threadpool_limits

    item, params = checked(request)
    fill = fills(request.X, reads_missing=item.reads_missing)
    training = _training(request, params, fill)
    rows = request.X if request.validation is None else request.validation.X[:COMPARED_ROWS]
    clock = SystemClock()
    started_s = clock.monotonic_s()
    # BLAS adds up in another order with more threads, so it always has one
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if request.task == "regression":
            numbers = fit_numbers(item, training, request.quantiles)
            model, fit_s = numbers.model, clock.monotonic_s() - started_s
            graph = numbers.graph(fill=fill, row_block=item.row_block)
            agreement = numbers.largest_difference(graph, rows, fill=fill, seed=request.seed)
        else:
            model = item.fit(training)
            fit_s = clock.monotonic_s() - started_s
            graph = serving_graph(model.onnx(), fill=fill, row_block=item.row_block)
            agreement = largest_difference(graph, model, rows, fill=fill, seed=request.seed)
    return FitResult(
        graph=graph,
        fit_s=fit_s,
        agreement=agreement,
        params=told_params(item, params),
        rounds=getattr(model, "rounds", None),
    )


def checked(request: FitRequest) -> tuple[Learner, dict[str, Value]]:
    """The learner of `request` and all its hyperparameters. Raises ConfigurationError with every mistake of them."""
    item = find_learner(request.learner, task=request.task)
    params = resolve_params(item, request.params)
    check_validation(request.learner, params, request.validation)
    check_quantiles(request.learner, request.quantiles, request.validation, task=request.task)
    return item, params


def _training(request: FitRequest, params: dict[str, Value], fill: np.ndarray) -> Training:
    y = np.asarray(request.y).astype(target_type(request.task))
    if request.task == "regression":
        refuse_one_outcome(request.learner, y)
    else:
        _refuse_one_class(request.learner, y)
    weight = np.ones(len(y)) if request.weight is None else np.asarray(request.weight, dtype=np.float64)
    if params.get("scale_pos_weight") == BALANCED:
        params = params | {"scale_pos_weight": balance(y, weight)}
    return Training(
        X=filled(request.X, fill),
        y=y,
        weight=weight,
        params=params,
        seed=request.seed,
        threads=request.threads,
        validation=_filled(request.validation, fill, request.task),
    )


def _refuse_one_class(learner: str, y: np.ndarray) -> None:
    positives = int(y.sum())
    if positives == 0 or positives == len(y):
        only = "positive" if positives else "negative"
        raise NotEnoughData(
            f"{learner} has {len(y):,} rows to learn from, all of them {only}; it needs both classes: "
            "take a longer span, or look at the target"
        )


def _filled(validation: Validation | None, fill: np.ndarray, task: str) -> Validation | None:
    """The validation rows as a learner gets them."""
    if validation is None:
        return None
    y = np.asarray(validation.y).astype(target_type(task))
    return Validation(X=filled(np.asarray(validation.X), fill), y=y, weight=validation.weights)
