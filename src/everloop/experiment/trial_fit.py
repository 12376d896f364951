"""One trial, in a worker process: on every fold fit, make the graph, choose the threshold and judge.

A worker gets the rows of the folds. It never sees a test row, so no threshold can come from one.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from everloop.bundle import Graph
from everloop.errors import EverloopError
from everloop.experiment.fold_judging import judge_fold
from everloop.experiment.trial_rows import FoldRows, TrialRows, read_trial_rows
from everloop.experiment.trials import Bound, Cause, FoldScore, Trial, combined
from everloop.models import FitRequest, FitResult, Value, fit_here
from everloop.project import Objective, format_duration

__all__ = ["OUT_OF_MEMORY", "TrialResult", "TrialTask", "failed", "run_trial", "run_trial_at", "us_per_row"]

Array = np.ndarray[Any, np.dtype[Any]]

_TIMED_ROWS: Final = 2_000
# of a trial's graph and its model; training compares more
_COMPARED_ROWS: Final = 2_000
TO_END_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """What one worker does.

    bounds: for each fold but the last, what makes the next worth a fit; None where nothing is known yet.
    time_limit_s: a trial that takes longer has failed; None waits.
    calibration: as model.yaml's search says it. quantiles: levels that the objective asks for, else none.
    own: the model's learners.py, where it has one; own_source: what is in it, for a worker on another machine.
    parent: the process that searches, where it is on this machine; a worker ends with it.
    """

    number: int
    kind: Literal["trial", "yardstick"]
    learner: str
    params: Mapping[str, Value]
    seed: int
    objective: Objective
    task: str
    bounds: tuple[Bound | None, ...] = ()
    calibration: str = "none"
    quantiles: tuple[float, ...] = ()
    own: Path | None = None
    own_source: bytes | None = None
    time_limit_s: float | None = None
    parent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialResult:
    """A trial that ended. graph: the newest fold's, empty where it failed.

    predictions: float32, what `judge_fold` gives for the judged rows of every fold, one after another.
    stuck: the trial has failed, but its process cannot leave the fit, and is to be ended.
    """

    trial: Trial
    graph: bytes = b""
    predictions: Array | None = None
    stuck: bool = False


def run_trial_at(task: TrialTask, folder: Path, laid: int) -> TrialResult:
    """`run_trial` on the rows that lie in `folder`."""
    return run_trial(task, read_trial_rows(folder, laid))


def run_trial(task: TrialTask, rows: TrialRows, *, to_end_s: float = TO_END_S) -> TrialResult:
    """The trial's result; a fit that fails, or takes too long, is one too, with the sentence that says why.

    to_end_s: how long one that took too long may go on until it next runs Python, before it counts as stuck.
    """
    _end_with(task.parent)
    if task.time_limit_s is None:
        return _run(task, rows)
    return _limited(task, rows, limit_s=task.time_limit_s, to_end_s=to_end_s)


def failed(task: TrialTask, sentence: str, *, cause: Cause | None = None, stuck: bool = False) -> TrialResult:
    """What is kept of a trial that failed."""
    trial = Trial(
        number=task.number,
        kind=task.kind,
        learner=task.learner,
        hyperparameters=dict(task.params),
        status="failed",
        sentence=sentence,
        cause=cause,
        limit_s=task.time_limit_s if cause == "too long" else None,
    )
    return TrialResult(trial=trial, stuck=stuck)


OUT_OF_MEMORY: Final = "the process that fitted it ran out of memory, or died of it; try fewer or smaller trees"


def _run(task: TrialTask, rows: TrialRows) -> TrialResult:
    try:
        with _own(task) as own:
            return _tried(task, rows, own)
    except EverloopError as error:
        return failed(task, str(error))
    except MemoryError:
        return failed(task, OUT_OF_MEMORY, cause="out of memory")
    except Exception as error:  # a worker's loop: what a library raises is this trial's result, not the search's end
        return failed(task, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


class _TookTooLong(BaseException):
    """Raised in the thread that fits, once its time is over: no library's `except Exception` keeps it."""


def _limited(task: TrialTask, rows: TrialRows, *, limit_s: float, to_end_s: float) -> TrialResult:
    """`_run` in a thread of its own, which after `limit_s` is stopped where it next runs Python.

    One that never does, deep in a library, is left behind: the result says that its process is stuck.
    """
    found: list[TrialResult] = []

    def fit() -> None:
        with suppress(_TookTooLong):
            found.append(_run(task, rows))

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TookTooLong))
        thread.join(to_end_s)
    if found:
        return found[0]
    limit = format_duration(timedelta(seconds=limit_s))
    sentence = f"it took longer than {limit}, and was ended; search.trial_timeout in model.yaml gives more"
    return failed(task, sentence, cause="too long", stuck=thread.is_alive())


@contextmanager
def _own(task: TrialTask) -> Iterator[Path | None]:
    """The learners.py, also on a machine that has the project nowhere."""
    if task.own is None or task.own_source is None or task.own.exists():
        yield task.own
        return
    with tempfile.TemporaryDirectory(prefix="everloop-learners-") as folder:
        path = Path(folder) / task.own.name
        path.write_bytes(task.own_source)
        yield path


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


def _tried(task: TrialTask, rows: TrialRows, own: Path | None) -> TrialResult:
    scored: list[FoldScore] = []
    said: list[Array] = []
    newest_fit: FitResult | None = None
    given_up = ""
    for at, fold in enumerate(rows.folds):
        result, found, predictions = _fitted(task, rows, fold, own)
        newest_fit = newest_fit or result
        scored.append(found)
        said.append(predictions)
        given_up = _given_up(task, scored, at, len(rows.folds))
        if given_up:
            break
    assert newest_fit is not None
    value, interval = combined(scored)
    newest = scored[0]
    trial = Trial(
        number=task.number,
        kind=task.kind,
        learner=task.learner,
        hyperparameters=newest_fit.params,
        status="pruned" if given_up else "done",
        value=value,
        interval=interval.to_dict(),
        threshold=newest.threshold,
        metrics=_mean_metrics(scored),
        folds=tuple(scored),
        fit_s=round(sum(fold.fit_s for fold in scored), 3),
        us_per_row=us_per_row(newest_fit.graph, rows.X[rows.folds[0].judged[:_TIMED_ROWS]]),
        graph_bytes=len(newest_fit.graph),
        rows=newest.rows,
        rounds=newest.rounds,
        calibration=None if newest_fit.calibration is None else newest_fit.calibration.method,
        sentence=given_up,
    )
    return TrialResult(trial=trial, graph=newest_fit.graph, predictions=np.concatenate(said))


def _given_up(task: TrialTask, scored: Sequence[FoldScore], at: int, folds: int) -> str:
    """Why no further fold is fitted; empty where one is, or where this is the last."""
    bound = task.bounds[at] if at < len(task.bounds) else None
    if bound is None or at + 1 >= folds:
        return ""
    value, _ = combined(scored)
    behind = value < bound.value if task.objective.maximise else value > bound.value
    return f"given up after {at + 1} of {folds} folds: {value:.4g}, {bound.why}" if behind else ""


def _fitted(task: TrialTask, rows: TrialRows, fold: FoldRows, own: Path | None) -> tuple[FitResult, FoldScore, Array]:
    fitted, held = np.asarray(fold.fitted), rows.held(fold)
    result = fit_here(
        FitRequest(
            learner=task.learner,
            params=task.params,
            X=np.asarray(rows.X[fitted]),
            y=np.asarray(rows.y[fitted]),
            weight=np.asarray(fold.weight),
            validation=held,
            seed=task.seed,
            task=task.task,
            calibration=task.calibration,
            quantiles=task.quantiles,
            compared_rows=_COMPARED_ROWS,
            own=own,
            categories=rows.categories,
        )
    )
    score, predictions = judge_fold(
        result,
        held,
        objective=task.objective,
        task=task.task,
        levels=task.quantiles,
        seed=task.seed,
        fitted_rows=fitted.size,
        worth=fold.worth,
    )
    return result, score, predictions


def _mean_metrics(folds: Sequence[FoldScore]) -> dict[str, float]:
    worth = np.array([fold.worth for fold in folds])
    names = set.intersection(*(set(fold.metrics) for fold in folds))
    return {
        name: float(np.average([fold.metrics[name] for fold in folds], weights=worth))
        for name in folds[0].metrics
        if name in names
    }


def us_per_row(graph: bytes, X: Array) -> float:
    """What a row costs through the graph among many, in µs: the best of three times."""
    loaded, rows = Graph(graph), np.asarray(X)
    took_s = []
    for _ in range(3):
        started_s = time.perf_counter()
        loaded.scores(rows)
        took_s.append(time.perf_counter() - started_s)
    return round(1e6 * min(took_s) / max(1, len(rows)), 3)
