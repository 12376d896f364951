"""One fit: rows and hyperparameters in, a graph that agrees with its model out. The model itself stays here."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from everloop.bundle.graph import Graph
from everloop.clock import SystemClock
from everloop.errors import EverloopError, FitFailed, NotEnoughData
from everloop.models.agreement import COMPARED_ROWS, compared_rows, largest_difference, refuse_disagreement
from everloop.models.blend import Member, blend_params, each_member
from everloop.models.blend_graph import blended
from everloop.models.calibration import Calibrated, Calibration, calibrated, check_calibration
from everloop.models.class_weight import BALANCED, balance
from everloop.models.early_stopping import check_validation
from everloop.models.graphs import serving_graph
from everloop.models.learner import BLEND, FittedModel, Learner, Training, Validation, target_type
from everloop.models.missing import filled, fills
from everloop.models.own_learner import fit_mistake
from everloop.models.params import resolve_params, told_params
from everloop.models.registry import learner as find_learner
from everloop.models.registry import own_content
from everloop.models.regression import check_quantiles, fit_numbers, refuse_one_outcome
from everloop.models.score_map import ScoreMap, check_map
from everloop.models.space import Value

__all__ = ["FitRequest", "FitResult", "check_request", "fit_here", "fit_with"]

Graphs = TypeVar("Graphs")
Model = TypeVar("Model")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """What is to be fitted.

    learner: its name, such as `xgboost`; `blend` is the mean of the members that `params` say: see `models.blend`.
    params: hyperparameters by canonical or native name; what is not said has its default.
    X: float32, shape (n, k). y: shape (n,), 0 or 1, of a regression numbers. weight: shape (n,), positive; None is 1
        for every row.
    validation: rows not in X, by which a fit may stop early, and on which graph and model are compared; where there are
        none, rows of X are.
    calibration: `none`, `logistic`, `isotonic` or `auto`: see `CALIBRATIONS`; all but none are fitted on `validation`.
    compared_rows: how many rows graph and model are compared on at most.
    own: the learners.py that defines the learner, where it is none of everloop's.
    categories: place of a column → how many categories it holds the places of; NaN, as any missing value, is none.
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
    calibration: str = "none"
    compared_rows: int = COMPARED_ROWS
    own: Path | None = None
    categories: Mapping[int, int] = field(default_factory=dict)

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
    calibration: what was found, None where none was asked for.
    held: the validation rows' scores to judge a calibrated graph by, float32, shape (n,): each by a map that was not
        fitted on it, where the graph's own was fitted on all. None where the graph's own scores are such.
    """

    graph: bytes
    fit_s: float
    agreement: float
    params: dict[str, Value]
    rounds: int | None = None
    calibration: Calibration | None = None
    held: np.ndarray | None = field(default=None, compare=False, repr=False)


def fit_here(request: FitRequest, *, fitted: Callable[[], None] | None = None) -> FitResult:
    """Fit in this process: for a worker that is already apart. `fit` does the same in a child that can be stopped.

    fitted: called once the model is fitted and only its graph is to be made and compared; of a blend it is not.
    Raises ConfigurationError for what was asked, NotEnoughData for one class only or too few rows to calibrate on,
    GraphDisagrees.
    """
    if request.learner == BLEND:
        return _fit_blend(request)
    return fit_with(_found_learner(request), request, fitted=fitted)


def check_request(request: FitRequest) -> None:
    """Raise ConfigurationError for what cannot be fitted as it is asked, before anything is."""
    if request.learner == BLEND:
        check_calibration(request.calibration, request.validation, task=request.task)
        each_member(request.params, lambda member: check_request(_of_member(request, member)))
    else:
        _checked_params(_found_learner(request), request)


def fit_with(item: Learner, request: FitRequest, *, fitted: Callable[[], None] | None = None) -> FitResult:
    """Fit `item`, whatever name the request has for it. fitted: as `fit_here` has it, as what is raised."""
    from threadpoolctl import threadpool_limits

    params = _checked_params(item, request)
    fill = fills(
        request.X,
        reads_missing=item.reads_missing,
        categories=request.categories,
        one_hot=item.one_hot,
        threads=request.threads,
    )
    training = _training(request, params, fill)
    # BLAS adds up in another order with more threads, so it always has one
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, graph, agreement, fit_s, calibration = (
            _of_numbers(request, item, training, fill, fitted)
            if request.task == "regression"
            else _of_classes(request, item, training, fill, fitted)
        )
    return FitResult(
        graph=graph,
        fit_s=fit_s,
        agreement=agreement,
        params=told_params(item, params),
        rounds=getattr(model, "rounds", None),
        calibration=None if calibration is None else calibration.said,
        held=None if calibration is None else calibration.held,
    )


def _of_member(request: FitRequest, member: Member) -> FitRequest:
    """The fit of a blend's member: its graph alone, for what is calibrated is the mean."""
    return replace(request, learner=member.learner, params=member.params, calibration="none")


def _fit_blend(request: FitRequest) -> FitResult:
    """Every member fitted, and the mean of their graphs, calibrated."""
    check_request(request)
    requests = each_member(request.params, lambda member: _of_member(request, member))
    results = [fit_here(one) for one in requests]
    graphs = [result.graph for result in results]
    graph = blended(graphs)
    rows = compared_rows(_compared(request), most=request.compared_rows, seed=request.seed)
    mean = np.mean([Graph(one).scores(rows) for one in graphs], axis=0, dtype=np.float64)
    off = refuse_disagreement(np.abs(Graph(graph).scores(rows) - mean) / np.maximum(1.0, np.abs(mean)))
    graph, calibration = _calibrated(request, graph, rows, lambda found: blended(graphs, calibration=found))
    return FitResult(
        graph=graph,
        fit_s=sum(result.fit_s for result in results),
        agreement=max(result.agreement for result in results) + off,
        params=blend_params((one.learner, result.params) for one, result in zip(requests, results, strict=True)),
        calibration=None if calibration is None else calibration.said,
        held=None if calibration is None else calibration.held,
    )


_Made = tuple[FittedModel, bytes, float, float, Calibrated | None]
"""A model, its graph, how far they differ, the seconds of the fit, and how the scores were calibrated."""


def _of_classes(
    request: FitRequest, item: Learner, training: Training, fill: np.ndarray, fitted: Callable[[], None] | None
) -> _Made:
    model, fit_s = _timed(lambda: _model(item, request, training), fitted)
    converted, graph = _graph(item, lambda: _served(item, model, fill))
    rows = _compared(request)
    agreement = largest_difference(graph, model, rows, fill=fill, most=request.compared_rows, seed=request.seed)
    graph, calibration = _calibrated(
        request,
        graph,
        rows[: request.compared_rows],
        lambda found: serving_graph(converted, fill=fill, row_block=item.row_block, calibration=found),
    )
    return model, graph, agreement, fit_s, calibration


def _of_numbers(
    request: FitRequest, item: Learner, training: Training, fill: np.ndarray, fitted: Callable[[], None] | None
) -> _Made:
    numbers, fit_s = _timed(
        lambda: fit_numbers(item, training, request.quantiles, fit=partial(_model, item, request)), fitted
    )
    graph = _graph(item, lambda: numbers.graph(fill=fill, row_block=item.row_block))
    agreement = numbers.largest_difference(
        graph, _compared(request), fill=fill, most=request.compared_rows, seed=request.seed
    )
    return numbers.model, graph, agreement, fit_s, None


def _timed(fit: Callable[[], Model], fitted: Callable[[], None] | None) -> tuple[Model, float]:
    """What `fit` gives, and the seconds that it took; whoever waits for it is told that it is there."""
    clock = SystemClock()
    started_s = clock.monotonic_s()
    model = fit()
    fit_s = clock.monotonic_s() - started_s
    if fitted is not None:
        fitted()
    return model, fit_s


def _compared(request: FitRequest) -> np.ndarray:
    """The rows that graph and model are compared on, or drawn from."""
    return request.X if request.validation is None else request.validation.X


def _calibrated(
    request: FitRequest, graph: bytes, rows: np.ndarray, mapped: Callable[[ScoreMap], bytes]
) -> tuple[bytes, Calibrated | None]:
    """The graph that is served, and what was found on the validation rows' scores; as it is where nothing was asked.

    mapped: the graph with a map at its end, which is compared with the map on `rows`.
    """
    if request.calibration == "none" or request.validation is None:
        return graph, None
    before = Graph(graph)
    found = calibrated(request.calibration, before.scores(np.asarray(request.validation.X)), request.validation)
    if found.map is None:
        return graph, found
    graph = mapped(found.map)
    check_map(graph, before, found.map, rows)
    return graph, found


def _found_learner(request: FitRequest) -> Learner:
    """The learner that the request names. Raises ConfigurationError that names the likely one."""
    return find_learner(request.learner, task=request.task, own=request.own)


def _checked_params(item: Learner, request: FitRequest) -> dict[str, Value]:
    """Every hyperparameter of `item`. Raises ConfigurationError for what cannot be fitted as it is asked."""
    params = resolve_params(item, request.params)
    check_validation(item.name, params, request.validation)
    check_quantiles(item.name, request.quantiles, request.validation, task=request.task)
    check_calibration(request.calibration, request.validation, task=request.task)
    return params


def _model(item: Learner, request: FitRequest, training: Training) -> FittedModel:
    try:
        model = item.fit(training)
    except (EverloopError, MemoryError):
        raise
    except Exception as error:
        if request.own is None or own_content([item.name], own=request.own) is None:
            raise
        raise fit_mistake(request.own, item.name, error) from error
    ready_made = "FittedRegressor" if request.task == "regression" else "FittedPipeline"
    if not all(callable(getattr(model, method, None)) for method in ("scores", "onnx")):
        raise FitFailed(
            f"fitting {item.name} gave a {type(model).__name__}, which has no scores(X) and onnx(); "
            f"where it is scikit-learn's, return {ready_made}(estimator)"
        )
    return model


def _served(item: Learner, model: FittedModel, fill: np.ndarray) -> tuple[Any, bytes]:
    """The converter's model and the graph that is served."""
    converted = model.onnx()
    return converted, serving_graph(converted, fill=fill, row_block=item.row_block)


def _graph(item: Learner, made: Callable[[], Graphs]) -> Graphs:
    """What `made` makes of the item's model. Raises FitFailed with what a converter came upon."""
    try:
        with _nothing_collected():
            return made()
    except MemoryError:
        raise
    except Exception as error:  # converters raise whatever they come upon
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise FitFailed(
            f"the model of {item.name} could not be made into an ONNX graph, which is what is served: "
            f"{type(error).__name__}: {said[:200].rstrip('.')}; take an estimator that its converter knows"
        ) from error


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """No garbage collection: with a converter's many small objects, that of large trees takes a quarter longer."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _training(request: FitRequest, params: dict[str, Value], fill: np.ndarray) -> Training:
    y = np.asarray(request.y).astype(target_type(request.task))
    if request.task == "regression":
        refuse_one_outcome(request.learner, y)
    else:
        _refuse_one_class(request.learner, y)
    weight = np.ones(len(y)) if request.weight is None else np.asarray(request.weight, dtype=np.float64)
    if params.get("scale_pos_weight") == BALANCED:
        params = params | {"scale_pos_weight": balance(y, weight)}
    X = filled(request.X, fill)
    return Training(
        X=X.copy() if X is request.X and request.own is not None else X,  # someone's own may write into its rows
        y=y,
        weight=weight,
        params=params,
        seed=request.seed,
        threads=request.threads,
        validation=_filled(request.validation, fill, request.task),
        categories=request.categories,
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
