"""What every step of a run reads: its model and spec, its rows and how they are cut, its graphs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from everloop.data import (
    EVENT_TIME,
    TARGET,
    FeatureTree,
    Split,
    load_features,
    read_contract,
    retrain_split,
    time_split,
)
from everloop.errors import Refused
from everloop.models import learners
from everloop.project import Model, Spec
from everloop.tasks import get_task
from everloop.workflows import RunContext, State

if TYPE_CHECKING:
    from everloop.production.pipeline import PipelineResources

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "FITTING",
    "HELD_OUT",
    "JUDGED",
    "JUDGED_VALIDATION",
    "ROWS",
    "champion_of",
    "decided_split",
    "features_of",
    "freeze_rows",
    "graph_of",
    "model_of",
    "resources_of",
    "run_place",
    "run_rows",
    "spec_of",
    "split_of",
    "write_frame",
    "yardsticks_of",
]

CANDIDATE = "candidate"
CHAMPION = "champion"
FITTING = "fitting"
HELD_OUT = "held out"
JUDGED = "judged.parquet"  # outcome, weight and every model's score of the test rows
JUDGED_VALIDATION = "validation.parquet"  # the candidate's scores of the validation rows
ROWS = "rows"
_SNAPSHOT = "snapshot.parquet"


def resources_of(context: RunContext) -> PipelineResources:
    """What the steps work with."""
    resources: PipelineResources = context.resources
    return resources


def model_of(context: RunContext, state: State) -> Model:
    """The model that the run is about, as its file is now."""
    return resources_of(context).model(state["model"])


def spec_of(context: RunContext, state: State) -> Spec:
    """The spec as it was approved: a file that was changed while the run was going on is refused."""
    spec = model_of(context, state).spec(state["spec"])
    if spec.hash != state["spec_hash"]:
        raise Refused(f"{spec.name} was changed after this run began; approve it again and start another run")
    return spec


def write_frame(frame: pl.DataFrame, path: Path, *, compression: Literal["zstd", "uncompressed"] = "zstd") -> None:
    """Write a frame as Parquet, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    frame.write_parquet(draft, compression=compression)
    draft.replace(path)


def run_place(context: RunContext) -> str:
    """The run's folder, from the project's root."""
    return os.path.relpath(context.workdir, resources_of(context).project.root)


def run_rows(context: RunContext, columns: Sequence[str] | None = None, *, skipped: int = 0) -> pl.DataFrame:
    """The rows that were frozen when the run began, in order of event time.

    columns: those that are read; None for all. skipped: how many of the oldest rows are not read.
    """
    held: HeldRows | None = context.at_hand.look(ROWS)
    lazy = pl.scan_parquet(context.workdir / _SNAPSHOT) if held is None else held.frame.lazy()
    return (lazy if columns is None else lazy.select(columns)).slice(skipped).collect()


def freeze_rows(context: RunContext, frame: pl.DataFrame) -> None:
    """Write the rows that the rest of the run reads, and keep them at hand for the steps up to the fit."""
    # read by most of the steps, so quick rather than small
    write_frame(frame, context.workdir / _SNAPSHOT, compression="uncompressed")
    context.at_hand.keep(ROWS, HeldRows(frame))


@dataclass(slots=True)
class HeldRows:
    """The frozen rows in this process's memory."""

    frame: pl.DataFrame

    def close(self) -> None:
        """Let them go."""
        self.frame = self.frame.clear()


def features_of(model: Model, spec: Spec) -> FeatureTree:
    """The features that the spec asks for; all where it names none."""
    tree = load_features(model.features_path, read_contract(model)).tree()
    return tree.only(spec.features) if spec.features else tree


def decided_split(context: RunContext, state: State) -> Split:
    """Where the run's rows are to be cut by time; of the rows no more than that takes is read."""
    frame = run_rows(context, [EVENT_TIME, TARGET])
    if champion_of(context, state) is None:
        return time_split(frame)
    model = model_of(context, state)
    return retrain_split(frame, model.train.holdout, numeric=not get_task(model.task).decides)


def split_of(
    context: RunContext, state: State, *, columns: Sequence[str] | None = None, held_out: bool = False
) -> Split:
    """The run's rows, cut where the step `split` decided.

    columns: those that are read; None for all. held_out: the rows that were fitted on are not read, and the part of
    them is empty.
    """
    train, validation = (state["split"][part]["rows"] for part in ("train", "validation"))
    if held_out:
        rows = run_rows(context, columns, skipped=train)
        return Split(train=rows[:0], validation=rows[:validation], test=rows[validation:])
    rows = run_rows(context, columns)
    return Split(train=rows[:train], validation=rows[train : train + validation], test=rows[train + validation :])


def champion_of(context: RunContext, state: State) -> int | None:
    """The version that answers now, and that can score; None also where someone said that its bundle is lost.

    One that something else serves is met on live rows, in the rollout.
    """
    routing = context.ledger.routing(state["model"])
    if routing is None or routing.champion is None or state.get("without_champion"):
        return None
    external = context.ledger.version(state["model"], routing.champion).external
    return None if external else routing.champion


def graph_of(context: RunContext, name: str) -> bytes:
    """The graph that the step `fit` left under this name."""
    return (context.workdir / f"{name}.onnx").read_bytes()


def yardsticks_of(model: Model) -> tuple[str, ...]:
    """The learners that are there to be beaten, by name."""
    return tuple(name for name, item in learners(model.task).items() if item.yardstick)
