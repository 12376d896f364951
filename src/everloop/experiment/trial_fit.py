"""One trial, in a worker process: fit, make the graph, choose the threshold and judge, all on rows the worker is given.

A worker gets training and validation rows. It never sees a test row, so no threshold can come from one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from everloop.bundle import Graph
from everloop.errors import EverloopError
from everloop.experiment.judging import judged
from everloop.experiment.trials import Trial
from everloop.models import FitRequest, FitResult, Validation, Value, fit_here
from everloop.project import Objective

__all__ = ["TrialTask", "part", "run_trial", "write_part"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """What one worker does. rows: the folder of the parts; graph: where the fitted graph goes.

    parent: the process that searches; a worker ends with it. calibration: as model.yaml's search says it.
    own: the model's learners.py, where it has one.
    quantiles: levels that the objective asks for, else none: each costs a fit.
    """

    number: int
    kind: Literal["trial", "yardstick"]
    learner: str
    params: Mapping[str, Value]
    seed: int
    objective: Objective
    task: str
    rows: Path
    graph: Path
    parent: int = 0
    calibration: str = "none"
    quantiles: tuple[float, ...] = ()
    own: Path | None = None


def write_part(folder: Path, name: str, *, X: Array, y: Array, weight: Array) -> None:
    """Lay a part of the rows where workers read them."""
    for what, array in (("X", X), ("y", y), ("weight", weight)):
        np.save(folder / f"{name}-{what}.npy", array, allow_pickle=False)


def part(folder: Path, name: str) -> tuple[Array, Array, Array]:
    """Features, target and weights of a part, read as they are needed."""
    X, y, weight = (
        np.load(folder / f"{name}-{what}.npy", mmap_mode="r", allow_pickle=False) for what in ("X", "y", "weight")
    )
    return X, y, weight


def run_trial(task: TrialTask) -> Trial:
    """The trial's result; a fit that fails is one too, with the sentence that says why."""
    _end_with(task.parent)
    fields: dict[str, Any] = {"number": task.number, "kind": task.kind, "learner": task.learner}
    try:
        return _tried(task, fields)
    except EverloopError as error:
        sentence = str(error)
    except (
        Exception
    ) as error:  # a worker's loop: whatever a library raises is this trial's result, not the search's end
        sentence = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return Trial(**fields, hyperparameters=dict(task.params), status="failed", sentence=sentence)


@cache
def _end_with(parent: int) -> None:
    """From now on this process, a worker of `parent`, ends where that one is killed: once for each."""
    if os.getppid() == parent:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    waiting = threading.Event()
    while os.getppid() == parent:
        waiting.wait(0.5)
    os._exit(1)


def _tried(task: TrialTask, fields: dict[str, Any]) -> Trial:
    X, y, weight = map(np.asarray, part(task.rows, "train"))
    X_validation, truth, weights = map(np.asarray, part(task.rows, "validation"))
    request = FitRequest(
        learner=task.learner,
        params=task.params,
        X=X,
        y=y,
        weight=weight,
        validation=Validation(X=X_validation, y=truth, weight=weights),
        seed=task.seed,
        task=task.task,
        calibration=task.calibration,
        quantiles=task.quantiles,
        own=task.own,
    )
    result: FitResult = fit_here(request)
    scores, quantiles = Graph(result.graph).predictions(X_validation)
    found = judged(
        task.objective,
        truth,
        scores,
        weights,
        seed=task.seed,
        task=task.task,
        quantiles=quantiles,
        levels=task.quantiles,
    )
    _write(task.graph, result.graph)
    return Trial(
        **fields,
        hyperparameters=result.params,
        status="done",
        value=found.value,
        interval=found.interval.to_dict(),
        threshold=found.threshold,
        metrics=found.metrics,
        fit_s=round(result.fit_s, 3),
        rows=len(y),
        rounds=result.rounds,
        calibration=None if result.calibration is None else result.calibration.method,
    )


def _write(path: Path, graph: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(graph)
    draft.replace(path)
