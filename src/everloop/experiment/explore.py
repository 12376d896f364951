"""Phase 1 begins: what the real source looks like, and what looks wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.clock import Clock
from everloop.cores import usable_cores
from everloop.data import (
    EVENT_TIME,
    Contract,
    FeatureTree,
    Rows,
    conform,
    infer_contract,
    load_features,
    read_contract,
    scan,
)
from everloop.errors import DataError, NotEnoughData
from everloop.experiment.association import Association, associations, target_codes
from everloop.experiment.correlated import Correlated, correlated_groups
from everloop.experiment.exploration import Exploration, Looked
from everloop.experiment.importance import SAMPLE_ROWS, Importance, can_be_asked, importances
from everloop.experiment.late import copied_rows, late_categories, late_labels
from everloop.experiment.leaks import leaks
from everloop.experiment.overtime import Period, halves, periods, seasons
from everloop.experiment.survey import MEMORY_BYTES, Survey, read_once, survey
from everloop.experiment.wrong import Seen, findings
from everloop.project import Model, Project

__all__ = ["explore"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Told:
    """What the features tell of the target.

    surprising: the groups that are not just a column and what is made of it. clocks: features that grow with the time.
    """

    associations: tuple[Association, ...] = ()
    importances: tuple[Importance, ...] = ()
    groups: tuple[Correlated, ...] = ()
    surprising: tuple[Correlated, ...] = ()
    clocks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def explore(
    project: Project,
    model: Model,
    *,
    frame: pl.DataFrame | None = None,
    clock: Clock | None = None,
    out: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> Exploration:
    """Look at the model's source: rows, span, columns, target over time, what tells of it, and what looks wrong.

    frame: rows to look at instead of the source. clock: the project's where None. out: where to write the HTML page;
    None writes none. seed: of the samples. threads: the machine's cores where None; they change nothing that is found.
    memory_bytes: a source that would be larger as a frame is read in a stream, and looked at closely in a sample.
    Raises SourceError where the source cannot be read, ConfigurationError for a contract.yaml that cannot be;
    where there is no contract.yaml yet, ContractViolation for a column of model.yaml that the source lacks or that does
    not fit the task. Everything else that is wrong is a finding.
    """
    clock = project.clock() if clock is None else clock
    started_s = clock.monotonic_s()
    if out is not None:
        from everloop.pages import prepare_scripts

        prepare_scripts()
    as_of = clock.now()
    lazy = scan(model.data.source, root=project.root) if frame is None else frame.lazy()
    lazy = read_once(lazy, model.data.source, memory_bytes=memory_bytes)
    contract = _contract(lazy, model)
    read = survey(lazy, model, contract, as_of=as_of, seed=seed, memory_bytes=memory_bytes)
    told = _told(model, read, seed=seed, threads=usable_cores() if threads is None else threads)
    near = None if read.buckets is None else read.buckets.near()
    over_time = () if near is None else periods(near)
    found = Exploration(
        model=model.name,
        source=model.data.source if frame is None else "the frame given",
        task=str(model.task),
        rows=read.rows,
        span=read.span,
        columns=read.columns,
        target=read.target,
        periods=over_time,
        seasons=() if near is None else seasons(near, timezone=model.timezone),
        associations=told.associations,
        importances=told.importances,
        groups=told.groups,
        looked=_looked(read, told),
        findings=findings(_seen(model, read, told, over_time, due=as_of - model.outcome.delay)),
        seconds=round(clock.monotonic_s() - started_s, 3),
        page=None if out is None else str(out),
    )
    if out is not None:
        from everloop.experiment.page import write_page

        write_page(found, out)
    return found


def _contract(lazy: pl.LazyFrame, model: Model) -> Contract:
    """The contract beside model.yaml, else that of the rows; of no rows one without a column."""
    if model.contract_path.exists():
        return read_contract(model)
    try:
        return infer_contract(lazy, model)
    except NotEnoughData:
        return Contract(columns=())


def _told(model: Model, read: Survey, *, seed: int, threads: int) -> _Told:
    """What each feature tells, which move together, which only tell the time; or why the features cannot be used."""
    rows = read.usable
    if rows is None:
        return _Told()
    try:
        tree = load_features(model.features_path, read.contract).tree()
    except DataError as error:
        return _Told(problems=(str(error),))
    matrix = tree.matrix(rows.frame)
    names = tree.names
    clocks = tuple(name for at, name in enumerate(names) if _only_grows(matrix[:, at]))
    categories = {one.name: one.categories or () for one in read.contract.feature_columns if one.type == "string"}
    groups = correlated_groups(matrix, names, categorical=frozenset(categories), seed=seed)
    surprising = tuple(
        group for group in groups if not _of_one_column(group, tree) and not set(group.features) <= set(clocks)
    )
    numeric = read.target is not None and read.target.numeric
    if np.ptp(rows.y) == 0:
        return _Told(clocks=clocks, groups=groups, surprising=surprising)
    times = rows.frame[EVENT_TIME]
    split, classes = target_codes(rows.y, rows.weight) if numeric else (rows.y, None)
    alone = associations(
        matrix,
        names,
        split,
        weight=rows.weight,
        later=(times > times.median()).to_numpy(),
        classes=classes,
        categories=categories,
        seed=seed,
        threads=threads,
    )
    together: tuple[Importance, ...] = ()
    if can_be_asked():
        together = importances(matrix, names, rows.y, weight=rows.weight, numeric=numeric, seed=seed, threads=threads)
    return _Told(associations=alone, importances=together, groups=groups, surprising=surprising, clocks=clocks)


def _of_one_column(group: Correlated, tree: FeatureTree) -> bool:
    """Whether the features of a group are all made of the same columns, as a number and its logarithm are."""
    return len({frozenset(tree.only((name,)).columns) for name in group.features}) == 1


def _looked(read: Survey, told: _Told) -> Looked:
    rows = 0 if read.usable is None else read.usable.frame.height
    return Looked(
        streamed=read.streamed,
        rows=rows,
        importance_rows=min(rows, SAMPLE_ROWS) if told.importances else 0,
        why_no_importances=None if told.importances or not told.associations else _why_none(),
    )


def _why_none() -> str:
    if not can_be_asked():
        return "importances need the libraries that fit: pip install 'everloop[train]'"
    return "there are too few rows for importances"


def _seen(model: Model, read: Survey, told: _Told, over_time: Sequence[Period], *, due: datetime) -> Seen:
    """What the rules look at. due: until when a row's outcome should be known by now."""
    seen = Seen(
        rows=read.rows,
        columns=read.columns,
        target=read.target,
        span=read.span,
        time_missing=read.time_missing,
        backward=read.backward,
        duplicates=read.duplicates,
        repeated_ids=read.repeated_ids,
        far=0 if read.buckets is None else read.buckets.rows - read.buckets.near().rows,
        estimated=read.streamed,
        problems=(*read.problems, *told.problems),
    )
    rows = read.usable
    if rows is None:
        return seen
    return replace(
        seen,
        halves=halves(
            rows.frame[EVENT_TIME], rows.y, weight=rows.weight, numeric=read.target is not None and read.target.numeric
        ),
        associations=told.associations,
        groups=told.surprising,
        clocks=told.clocks,
        weights=None if model.data.weight is None else (float(rows.weight.min()), float(rows.weight.max())),
        weight_column="weight" if model.data.weight is None else model.data.weight.column or "data.weight.negative",
        blocked=read.blocked,
        unmatured=read.unmatured,
        **_suspicions(model, read, rows, over_time, due=due),
    )


def _suspicions(
    model: Model, read: Survey, rows: Rows, over_time: Sequence[Period], *, due: datetime
) -> dict[str, Any]:
    """What only the later rows have, and what looks filled in afterwards."""
    contract = read.contract
    numeric = read.target is not None and read.target.numeric
    positive = target_codes(rows.y, rows.weight)[0] if numeric else rows.y
    return {
        "late_categories": late_categories(rows, contract),
        "copied": copied_rows(rows, contract),
        "late_labels": late_labels(() if numeric else over_time, *_outcomes(model, read, due=due)),
        "leaks": leaks(rows, contract, positive),
    }


def _outcomes(model: Model, read: Survey, *, due: datetime) -> tuple[pl.Series | None, pl.Series | None]:
    """Which of the kept rows up to `due` lack an outcome, in order of time, and their times."""
    target, time = read.contract.only("target"), read.contract.only("time")
    if target is None or time is None or target.name not in read.frame.columns:
        return None, None
    values = read.frame[target.name]
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if not values.null_count() or model.outcome.absent == "negative":
        return None, None
    times = conform(read.frame, read.contract, names=(time.name,))[EVENT_TIME]
    known = pl.DataFrame({"at": times, "missing": values.is_null()}).filter(pl.col("at") <= due)
    ordered = known.sort("at", maintain_order=True)
    return ordered["missing"], ordered["at"]


def _only_grows(column: np.ndarray) -> bool:
    """Whether a feature never falls along the time, and takes enough values for that to be no accident."""
    steps = np.diff(column)
    return bool((steps >= 0).all() and (steps > 0).sum() >= 50)
