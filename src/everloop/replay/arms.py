"""The control arms: what would have been without the loop, on the very same traffic, scored in batch.

**never**: the first version, for ever. **weekly**: its spec fitted anew every week on all that is known then, the
threshold chosen on the newest tenth, and deployed without anybody asking whether it is better.

They need nothing of the loop, so a process of its own works them out while the loop is played, at low priority:
`python -m everloop.replay.arms PLAN.json`. What it writes is joined with the traffic log by the rows' ids.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
import polars as pl

from everloop.bundle import Bundle, BundleStore, Graph
from everloop.data import EVENT_TIME, conform, fit_sample
from everloop.errors import EverloopError, NotEnoughData
from everloop.project import Model, Project, Spec
from everloop.replay.spans import Flags, Times
from everloop.replay.world import World, WorldPlan
from everloop.tasks import decided, get_task

__all__ = ["ARMS", "WEEK", "ArmsPlan", "ArmsProcess", "work_out"]

WEEK: Final = timedelta(days=7)
ARMS: Final = ("weekly", "never")
_VALIDATION_SHARE: Final = 0.1
_BLOCK_ROWS: Final = 65_536
_LOW_PRIORITY: Final = 10


class ArmsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be worked out. bundle, spec: of the first version. weekly: whether that arm is asked for."""

    world: WorldPlan
    root: str
    model: str
    bundle: str
    spec: str
    weekly: bool
    output: str


class ArmsProcess:
    """The arms' process; a context manager that ends it where nobody waited for its result."""

    def __init__(self, plan: ArmsPlan) -> None:
        self._output = Path(plan.output)
        self._log = self._output.with_suffix(".log")
        self._output.parent.mkdir(parents=True, exist_ok=True)
        path = self._output.with_suffix(".json")
        path.write_bytes(msgspec.json.encode(plan))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "everloop.replay.arms", str(path)], stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def result(self) -> pl.DataFrame:
        """`id` and a decision per arm, one row for each payment; waits for it. Raises EverloopError where it failed."""
        if self._process.wait() != 0:
            raise EverloopError(f"the control arms could not be worked out; {self._log} says why")
        return pl.read_parquet(self._output)


def work_out(plan: ArmsPlan) -> pl.DataFrame:
    """`id` and each arm's decision of every payment of the traffic, by time."""
    project = Project.open(Path(plan.root))
    model = project.model(plan.model)
    first = BundleStore.of(project).load(plan.bundle)
    rows, ids = _all_rows(plan, model, first)
    assert first.graph is not None
    decisions = {"never": decided(_scored(first.graph, rows.features[-len(ids) :]), first.threshold)}
    if plan.weekly:
        decisions["weekly"] = _weekly(plan, rows, model, model.spec(plan.spec), decisions["never"])
    found = pl.DataFrame([ids])
    return found.with_columns(pl.Series(name, decisions[name]) for name in ARMS if name in decisions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """History, then traffic, by time. features: shape (n, k), float32. usable: none whose outcome nobody will know.

    categories: as `FeatureTree.categories` gives them.
    """

    times: Times
    y: np.ndarray[Any, np.dtype[np.float64]]
    usable: Flags
    features: np.ndarray[Any, np.dtype[np.float32]]
    categories: Mapping[int, int]

    def between(self, start: np.datetime64, end: np.datetime64) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The places of the rows in [start, end)."""
        return np.arange(np.searchsorted(self.times, start), np.searchsorted(self.times, end))


def _all_rows(plan: ArmsPlan, model: Model, first: Bundle) -> tuple[_Rows, pl.Series]:
    """Everything that is paid from first to last, and the ids of the traffic among it."""
    ids: list[pl.Series] = []
    times, y, usable, features = [], [], [], []
    blocked = [] if model.outcome.acts is None else list(model.outcome.acts.blocked)
    time = first.contract.only("time")
    needed = {*first.features.columns, *([] if time is None else [time.name])}
    names = [name for name in first.contract.names_at_prediction() if name in needed]
    for is_history, frame in _days(plan.world):
        rows = conform(frame, first.contract, names=names)
        times.append(rows[EVENT_TIME].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]"))
        y.append(frame[model.data.target].to_numpy().astype(np.float64))
        usable.append(~frame["action"].is_in(blocked).to_numpy() if is_history else np.ones(frame.height, dtype=bool))
        features.append(first.features.matrix(rows))
        if not is_history:
            ids.append(frame["id"])
    joined = _Rows(
        times=np.concatenate(times),
        y=np.concatenate(y),
        usable=np.concatenate(usable),
        features=np.concatenate(features),
        categories=first.features.categories(),
    )
    return joined, pl.concat(ids)


def _days(world: WorldPlan) -> Iterator[tuple[bool, pl.DataFrame]]:
    payments = World(world).payments
    for day in range(world.history_days + world.days):
        yield day < world.history_days, payments.day(day)


def _scored(graph: Graph, features: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    parts = [graph.scores(features[at : at + _BLOCK_ROWS]) for at in range(0, len(features), _BLOCK_ROWS)]
    return np.concatenate(parts)


def _weekly(plan: ArmsPlan, rows: _Rows, model: Model, spec: Spec, first: Flags) -> Flags:
    """In its first week it is the first version; then what was fitted at the beginning of each week."""
    history = len(rows.times) - len(first)
    decision = first.copy()
    opens, closes = (np.datetime64(at.replace(tzinfo=None), "us") for at in (plan.world.opens_at, plan.world.closes_at))
    start = opens + np.timedelta64(WEEK)
    while start < closes:
        until = rows.between(start, closes) - history
        found = _retrained(rows, model, spec, as_of=start)
        if found is not None:
            graph, threshold = found
            decision[until] = False
            mine = rows.between(start, start + np.timedelta64(WEEK))
            decision[mine - history] = decided(_scored(graph, rows.features[mine]), threshold)
        start = start + np.timedelta64(WEEK)
    return decision


def _retrained(rows: _Rows, model: Model, spec: Spec, *, as_of: np.datetime64) -> tuple[Graph, float] | None:
    """The spec fitted on what is known, and its threshold; None where that lacks a class, so the last one stays."""
    from everloop.models import FitRequest, Validation, fit_here

    newest = as_of - np.timedelta64(model.outcome.delay)
    oldest = rows.times[0] if model.train.window is None else newest - np.timedelta64(model.train.window)
    known = rows.between(oldest, newest)
    known = known[rows.usable[known]]
    cut = int(len(known) * (1 - _VALIDATION_SHARE))
    train, validation = known[:cut], known[cut:]
    y = rows.y[train]
    sample = fit_sample(y, np.ones(len(y)), most=model.train.rows or len(y), seed=spec.seed)
    request = FitRequest(
        learner=spec.learner,
        params=spec.hyperparameters,
        X=rows.features[train[sample.rows]],
        y=y[sample.rows],
        weight=sample.weight,
        validation=Validation(X=rows.features[validation], y=rows.y[validation]),
        seed=spec.seed,
        own=model.own_learners,
        categories=rows.categories,
    )
    try:
        graph = Graph(fit_here(request).graph)
        scores = graph.scores(rows.features[validation])
        threshold = get_task(model.task).choose_threshold(model.objective, rows.y[validation], scores, None)
    except NotEnoughData:
        return None
    assert threshold is not None  # the demo's model is a classification
    return graph, threshold


def main() -> int:
    """Work out the plan of the file that is named, and write it whole or not at all."""
    if hasattr(os, "nice"):
        os.nice(_LOW_PRIORITY)
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ArmsPlan)
    output = Path(plan.output)
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    work_out(plan).write_parquet(draft)
    draft.replace(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
