"""Rows that a trial's graph was not fitted on, with the columns that someone wants to look at them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from everloop.clock import Clock, from_us
from everloop.data import (
    EVENT_TIME,
    Column,
    Contract,
    FeatureTree,
    Rows,
    load_features,
    load_rows,
    read_contract,
    rows_of,
    scan,
)
from everloop.data.contract import column_type
from everloop.errors import NotEnoughData, UsageError
from everloop.experiment.rows import Part, SearchRows
from everloop.project import Model, Project, did_you_mean

__all__ = ["Unseen", "unseen_rows"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unseen:
    """part: the rows, n of them; columns: n values each, by name; notes: which rows they are, for people."""

    part: Part
    columns: Mapping[str, pl.Series]
    notes: tuple[str, ...]


def unseen_rows(
    project: Project,
    model: Model,
    rows: SearchRows,
    *,
    by: Sequence[str] | None,
    clock: Clock,
    frame: pl.DataFrame | None = None,
) -> Unseen:
    """The rows of `frame`, or of the source, that no trial of the search was fitted on for its graph.

    rows: the search's. by: columns of the rows, or features; None takes the model's segments, else every feature.
    Raises UsageError for a column that is nowhere, NotEnoughData where every row may have been learned from or what is
    left lacks a class, and what loading rows raises.
    """
    lazy = scan(model.data.source, root=project.root) if frame is None else frame.lazy()
    contract = read_contract(model)
    tree = load_features(model.features_path, contract).tree()
    wanted = _wanted(by, contract, tree, lazy.collect_schema().names())
    wider = _with_columns(contract, wanted, dict(lazy.collect_schema()))
    if frame is None:
        loaded = load_rows(model, wider, as_of=clock.now(), both_classes=False)
    else:
        loaded = rows_of(frame, model, wider, source="the frame given", as_of=clock.now(), both_classes=False)
    kept, note = _unseen(loaded, rows)
    lacking = "no rows" if kept.size == 0 else rows.task.lacks(loaded.y[kept])
    if lacking is not None:
        raise NotEnoughData(f"{loaded.source} has {lacking} that the trial was not fitted on; {note}")
    X = tree.matrix(loaded.frame)[kept]
    places = {name: at for at, name in enumerate(tree.names)}
    columns = {
        name: loaded.frame[name][kept.tolist()] if name in loaded.frame.columns else pl.Series(X[:, places[name]])
        for name in wanted
    }
    return Unseen(part=Part(X=X, y=loaded.y[kept], weight=loaded.weight[kept]), columns=columns, notes=(note,))


def _wanted(by: Sequence[str] | None, contract: Contract, tree: FeatureTree, names: Sequence[str]) -> tuple[str, ...]:
    if by is None:
        return tuple(column.name for column in contract.segment_columns) or tree.names
    asked = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    if not asked:
        raise UsageError("by=[] names no column; leave it out to look at the model's segments, or at every feature")
    known = (*names, *tree.names, EVENT_TIME)
    for name in asked:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(dict.fromkeys(known))}"
            raise UsageError(f"by: neither the rows nor the features have {name!r}{hint}")
    return asked


def _with_columns(contract: Contract, wanted: Sequence[str], schema: Mapping[str, pl.DataType]) -> Contract:
    """The contract with what is looked at kept, also where predictions do without it."""
    known = {column.name: column for column in contract.columns}
    for name in wanted:
        if name not in schema:
            continue
        if name in known and known[name].role == "ignored":
            known[name] = msgspec.structs.replace(known[name], role="segment", nullable=True)
        elif name not in known:
            kind = column_type(schema[name])
            if kind is None:
                raise UsageError(f"by: the column {name!r} holds {schema[name]}, which cannot be cut into parts")
            known[name] = Column(name=name, type=kind, role="segment", nullable=True)
    return msgspec.structs.replace(contract, columns=tuple(known.values()))


def _unseen(loaded: Rows, rows: SearchRows) -> tuple[Array, str]:
    """Places of the rows that the newest fold's fit did not have, and how that is known."""
    newest = rows.folds.newest
    times_us = loaded.frame[EVENT_TIME].to_physical().to_numpy()
    if rows.folds.by_time:
        end_us = int(rows.times_us[newest.fitted].max())
        until = f"{from_us(end_us):%Y-%m-%d %H:%M} UTC"
        return np.flatnonzero(times_us > end_us), f"rows up to {until} were fitted on and are left out"
    if np.array_equal(times_us, rows.times_us) and np.array_equal(loaded.y, rows.y):
        return np.setdiff1d(np.arange(rows.y.size), newest.fitted), "rows that were fitted on are left out"
    return np.arange(times_us.size), "folds were dealt at random: rows that were fitted on may be among these"
