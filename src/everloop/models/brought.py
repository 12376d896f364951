"""An estimator that someone fitted in a notebook → a graph that says the same, or one sentence why there is none.

It may be scikit-learn's, XGBoost's or LightGBM's, or a pipeline of them, fitted on the model's features: on a matrix
with one column for each, in order, or on a frame with their names, all or some, in any order.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.bundle.graph import Graph
from everloop.errors import GraphDisagrees, Refused
from everloop.models.agreement import AGREEMENT, checked_scores, compared_rows
from everloop.models.converters import teach_converters
from everloop.models.graphs import serving_graph
from everloop.models.missing import filled, fills
from everloop.models.regression.graph import numeric_graph
from everloop.models.regression.target_scale import TargetScale

__all__ = ["BroughtGraph", "brought_graph"]

_ROW_BLOCK: Final = 16
_UNNAMED: Final = re.compile(r"Column_\d+")  # what LightGBM calls the columns of a matrix
_INPUT: Final = "all_features"


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtGraph:
    """The graph, over all of the model's features.

    features: those that it reads, in its order. agreement: the largest difference of graph and estimator on the rows
    compared; of a number in the target's usual distances. fills_missing: whether the graph fills missing values with
    the medians of the fitted rows, because the estimator, or its graph, has no way with them.
    """

    graph: bytes
    features: tuple[str, ...]
    agreement: float
    fills_missing: bool


def brought_graph(
    estimator: Any,
    *,
    features: Sequence[str],
    fitted: np.ndarray,
    compared: np.ndarray,
    y: np.ndarray,
    task: str,
    seed: int = 0,
) -> BroughtGraph:
    """The graph of `estimator`, which agrees with it on `compared`.

    features: the model's, k of them. fitted, compared: float32, shape (n, k), the search's rows to fit on and to
    validate on. y: shape (m,), the target of the fitted rows. Raises Refused with the reason.
    """
    kind = type(estimator).__name__
    _refuse_unusable(estimator, kind, task)
    read = _columns_read(estimator, kind, tuple(features))
    model = _Brought(
        estimator=estimator,
        places=tuple(list(features).index(name) for name in read.names),
        names=read.names if read.named else None,
        columns=len(features),
        task=task,
    )
    converted = _converted(model, kind)
    unit = 1.0 if task != "regression" else TargetScale.of(y, np.ones(len(y))).spread
    rows = compared_rows(compared, seed=seed)
    reasons: list[str] = []
    for reads_missing in (True, False):
        fill = np.full(len(features), np.nan, dtype=np.float32) if reads_missing else fills(fitted, reads_missing=False)
        try:
            graph = _served(converted, fill, task)
            gaps = np.abs(Graph(graph).scores(rows) - checked_scores(model, filled(rows, fill))) / unit
        except GraphDisagrees as error:
            raise Refused(f"{kind} was refused: {error}") from error
        except Exception as error:  # an estimator raises what it likes of rows it cannot read, a runtime of a graph
            reasons.append(_first_line(error))
            continue
        worst = float(gaps.max())
        if worst <= AGREEMENT:
            return BroughtGraph(graph=graph, features=read.names, agreement=worst, fills_missing=not reads_missing)
        wrong = int((~(gaps <= AGREEMENT)).sum())
        reasons.append(
            f"its ONNX graph and it differ by up to {worst:.2g} on {wrong:,} of {len(rows):,} rows, and {AGREEMENT:g} "
            "is allowed"
        )
    raise Refused(f"{kind} was refused: {reasons[-1]}; what is served must say what was fitted: take another estimator")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """The estimator over the model's whole matrix. names: those of its columns, None where it was fitted on none."""

    estimator: Any
    places: tuple[int, ...]
    names: tuple[str, ...] | None
    columns: int
    task: str

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The probability of the positive class, or the number, float64, shape (n,), by the estimator's own code."""
        own = np.ascontiguousarray(X[:, list(self.places)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a matrix has no names
            if self.names is None:
                return self._of(own)
            try:
                return self._of(own)
            except ValueError:
                return self._of(_frame(own, self.names))

    def onnx(self) -> Any:
        """The estimator as an `onnx.ModelProto` over the whole matrix."""
        return _over_all(_as_onnx(self), self)

    def _of(self, rows: Any) -> np.ndarray:
        if self.task == "regression":
            return np.asarray(self.estimator.predict(rows), dtype=np.float64).reshape(len(rows))
        return np.asarray(self.estimator.predict_proba(rows)[:, 1], dtype=np.float64)


def _frame(rows: np.ndarray, names: Sequence[str]) -> Any:
    """Rows with names, for a pipeline that asks for columns by them: pandas where there is one, else Polars."""
    try:
        import pandas as pd
    except ImportError:
        import polars as pl

        return pl.DataFrame(rows, schema=list(names))
    return pd.DataFrame(rows, columns=list(names))


def _refuse_unusable(estimator: Any, kind: str, task: str) -> None:
    """Whatever can be said before anything is converted."""
    asked = "predict" if task == "regression" else "predict_proba"
    if not callable(getattr(estimator, asked, None)):
        hint = (
            "; wrap it in CalibratedClassifierCV, which has one"
            if hasattr(estimator, "decision_function")
            else "; give a fitted classifier or pipeline"
        )
        raise Refused(f"{kind} was refused: it has no {asked}{'' if task == 'regression' else hint}")
    if getattr(estimator, "n_features_in_", None) is None:
        raise Refused(f"{kind} was refused: it is not fitted, or does not say on how many columns (n_features_in_)")
    if task == "regression":
        return
    classes = [item.item() if hasattr(item, "item") else item for item in getattr(estimator, "classes_", ())]
    if classes not in ([0, 1], [0.0, 1.0], [False, True]):
        raise Refused(
            f"{kind} was refused: its classes are {', '.join(map(repr, classes)) or 'unknown'}, and 0 and 1 are needed "
            "so that the second is the positive one; fit it on `training().y`"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """The features that an estimator reads, in its order, and whether it knows them by name."""

    names: tuple[str, ...]
    named: bool


def _columns_read(estimator: Any, kind: str, features: tuple[str, ...]) -> _Read:
    count = int(estimator.n_features_in_)
    names = _names(estimator)
    if names is None:
        if count != len(features):
            raise Refused(
                f"{kind} was refused: it was fitted on {count} columns without names, and the model has "
                f"{len(features)} features; fit it on `training().X`, whose columns have names"
            )
        return _Read(names=features, named=False)
    unknown = [name for name in names if name not in features]
    if unknown:
        from everloop.project import did_you_mean

        told = ", ".join(f"{name!r}{did_you_mean(name, features)}" for name in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise Refused(
            f"{kind} was refused: it was fitted on columns that are no features of the model: {told}{more}; "
            "yield them in features.py, or fit it on `training().X`"
        )
    return _Read(names=names, named=True)


def _names(estimator: Any) -> tuple[str, ...] | None:
    try:
        found = tuple(str(name) for name in estimator.feature_names_in_)
    except AttributeError:
        return None
    return None if all(_UNNAMED.fullmatch(name) for name in found) else found


def _converted(model: _Brought, kind: str) -> Any:
    """The estimator as an `onnx.ModelProto` whose one input is the whole matrix. Raises Refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.onnx()
    except Exception as error:  # converters raise whatever they come upon
        raise Refused(
            f"{kind} was refused: it cannot be made into an ONNX graph, which is what is served: {_first_line(error)}"
        ) from error


def _as_onnx(model: _Brought) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    teach_converters()
    options = {} if model.task == "regression" else {"options": {"zipmap": False}}
    estimator = _without_names(model.estimator)

    def converted(inputs: list[tuple[str, Any]]) -> Any:
        return convert_sklearn(
            estimator, initial_types=inputs, target_opset={"": 17, "ai.onnx.ml": 1}, **copy.deepcopy(options)
        )

    whole = [("x", FloatTensorType([None, len(model.places)]))]
    if model.names is None:
        return converted(whole)
    try:
        return converted(whole)
    except Exception:  # a pipeline that picks columns by name wants an input for each
        return converted([(name, FloatTensorType([None, 1])) for name in model.names])


def _over_all(onnx_model: Any, model: _Brought) -> Any:
    """The same model with one input, the matrix of all features, from which its own inputs are gathered."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    inputs = [item.name for item in onnx_model.graph.input]
    if len(inputs) == 1 and model.places == tuple(range(model.columns)):
        return onnx_model
    wide = ModelProto()
    wide.CopyFrom(onnx_model)
    graph = wide.graph
    wanted = {inputs[0]: model.places} if len(inputs) == 1 else dict(zip(inputs, _each(model, inputs), strict=True))
    gathers = []
    for at, (name, places) in enumerate(wanted.items()):
        graph.initializer.append(numpy_helper.from_array(np.array(places, dtype=np.int64), f"places_{at}"))
        gathers.append(helper.make_node("Gather", [_INPUT, f"places_{at}"], [name], name=f"gather_{at}", axis=1))
    nodes = [*gathers, *graph.node]
    del graph.node[:]
    del graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [None, model.columns]))
    return wide


def _each(model: _Brought, inputs: Sequence[str]) -> list[tuple[int, ...]]:
    """The place of every input, by its name; a converter leaves inputs out that nothing reads."""
    assert model.names is not None
    by_name = dict(zip(model.names, model.places, strict=True))
    return [(by_name[name],) for name in inputs]


def _served(converted: Any, fill: np.ndarray, task: str) -> bytes:
    if task == "regression":
        as_it_is = TargetScale(centre=0.0, spread=1.0)
        return numeric_graph(converted, scale=as_it_is, fill=fill, row_block=_ROW_BLOCK)
    return serving_graph(converted, fill=fill, row_block=_ROW_BLOCK)


def _without_names(estimator: Any) -> Any:
    """A copy whose XGBoost models have forgotten their columns' names: their converter knows `f0`, `f1` … alone."""
    copied = copy.deepcopy(estimator)
    parts = [copied, *(part for _, part in getattr(copied, "steps", ()))]
    for part in parts:
        if type(part).__module__.startswith("xgboost") and callable(getattr(part, "get_booster", None)):
            part.get_booster().feature_names = None
    return copied


def _first_line(error: BaseException) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said[:200].rstrip('.')}" if said else type(error).__name__
