"""Phase 1 begins: what the real source looks like, and what looks wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from everloop.clock import Clock
from everloop.data import (
    EVENT_TIME,
    Contract,
    Rows,
    collect,
    conform,
    infer_contract,
    load_features,
    read_contract,
    rows_of,
    scan,
    violations,
)
from everloop.errors import DataError
from everloop.experiment.association import Association, associations
from everloop.experiment.columns import column_summaries
from everloop.experiment.exploration import Exploration
from everloop.experiment.overtime import Period, Span, halves, periods
from everloop.experiment.wrong import Seen, TargetSummary, findings
from everloop.project import Model, Project

__all__ = ["explore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raw:
    """The source as it is: every row and column, in the file's order. times: UTC, None where they cannot be read."""

    frame: pl.DataFrame
    contract: Contract
    times: pl.Series | None
    problems: tuple[str, ...]


def explore(project: Project, model: Model, *, clock: Clock | None = None, out: Path | None = None) -> Exploration:
    """Look at the model's source: rows, span, columns, target over time, what tells of it, and what looks wrong.

    clock: the project's where None. out: where to write the HTML page; None writes none.
    Raises SourceError where the source cannot be read, ConfigurationError for a contract.yaml that cannot be;
    everything else that is wrong is a finding.
    """
    clock = project.clock() if clock is None else clock
    started_s = clock.monotonic_s()
    raw = _read(project, model)
    rows, problems = _usable(raw, model, as_of=clock.now())
    seen, over_time = _seen(raw, model, rows, problems)
    found = Exploration(
        model=model.name,
        source=model.data.source,
        rows=raw.frame.height,
        span=seen.span,
        columns=seen.columns,
        target=seen.target,
        periods=over_time,
        associations=seen.associations,
        findings=findings(seen),
        seconds=round(clock.monotonic_s() - started_s, 3),
        page=None if out is None else str(out),
    )
    if out is not None:
        from everloop.experiment.page import write_page

        write_page(found, out)
    return found


def _read(project: Project, model: Model) -> _Raw:
    lazy = scan(model.data.source, root=project.root)
    contract = read_contract(model) if model.contract_path.exists() else infer_contract(lazy, model)
    frame = collect(lazy, model.data.source)
    broken = violations(frame, contract)
    time = contract.only("time")
    readable = time is not None and all(one.column != time.name for one in broken)
    times = conform(frame, contract, names=(time.name,))[EVENT_TIME] if time is not None and readable else None
    return _Raw(frame=frame, contract=contract, times=times, problems=tuple(f"{one.sentence}." for one in broken))


def _usable(raw: _Raw, model: Model, *, as_of: datetime) -> tuple[Rows | None, tuple[str, ...]]:
    """The rows as a search would see them, or why it would not."""
    if raw.problems or raw.frame.height == 0:
        return None, raw.problems
    try:
        source = model.data.source
        return rows_of(raw.frame, model, raw.contract, source=source, as_of=as_of, both_classes=False), ()
    except DataError as error:
        return None, (str(error),)


def _seen(raw: _Raw, model: Model, rows: Rows | None, problems: Sequence[str]) -> tuple[Seen, tuple[Period, ...]]:
    known = None if raw.times is None else raw.times.drop_nulls()
    seen = Seen(
        rows=raw.frame.height,
        columns=column_summaries(raw.frame, roles={column.name: column.role for column in raw.contract.columns}),
        target=_target(raw, rows),
        span=_span(known),
        time_missing=0 if raw.times is None else raw.times.null_count(),
        backward=0 if known is None else int((known.diff() < timedelta(0)).sum()),
        duplicates=_duplicates(raw),
        repeated_ids=_repeated_ids(raw),
        problems=tuple(problems),
    )
    if rows is None:
        over_time = () if known is None else periods(known, None, weight=np.ones(len(known)))
        return seen, over_time
    times, y, weight = rows.frame[EVENT_TIME], rows.y, rows.weight
    found, clocks, problem = _told(model, raw.contract, rows)
    seen = replace(
        seen,
        halves=halves(times, y, weight=weight),
        associations=found,
        clocks=clocks,
        weights=None if model.data.weight is None else (float(weight.min()), float(weight.max())),
        weight_column="weight" if model.data.weight is None else model.data.weight.column or "data.weight.negative",
        blocked=rows.left_out.get("blocked", 0),
        unmatured=rows.left_out.get("unmatured", 0),
        problems=(*problems, *problem),
    )
    return seen, periods(times, y, weight=weight)


def _target(raw: _Raw, rows: Rows | None) -> TargetSummary | None:
    target = raw.contract.only("target")
    if target is None or target.name not in raw.frame.columns:
        return None
    values = raw.frame[target.name]
    positive = 1 if raw.contract.positive is None else raw.contract.positive
    others = [value for value in values.unique().drop_nulls().sort() if value != positive]
    is_positive = values.cast(pl.String) == str(positive) if isinstance(positive, str) else values == positive
    positives = int(is_positive.fill_null(False).sum())
    known = len(values) - values.null_count()
    rate = positives / known if known else 0.0
    if rows is not None:
        rate = float(np.average(rows.y, weights=rows.weight))
    return TargetSummary(
        column=target.name,
        rows=len(values),
        missing=values.null_count(),
        positives=positives,
        rate=rate,
        positive=str(positive),
        other_values=tuple(str(value) for value in others[:8]) if len(others) > 1 else (),
    )


def _span(times: pl.Series | None) -> Span | None:
    if times is None or times.is_empty():
        return None
    start, end = times.min(), times.max()
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    return Span(start=start, end=end)


def _hashable(frame: pl.DataFrame) -> list[str]:
    return [name for name, dtype in frame.schema.items() if not dtype.is_nested() and dtype != pl.Object]


def _duplicates(raw: _Raw) -> int:
    """Rows that equal an earlier one in every column but the id."""
    identity = raw.contract.only("id")
    names = [name for name in _hashable(raw.frame) if identity is None or name != identity.name]
    return raw.frame.height - raw.frame.select(names).hash_rows().n_unique() if names and raw.frame.height else 0


def _repeated_ids(raw: _Raw) -> int:
    identity = raw.contract.only("id")
    if identity is None or identity.name not in raw.frame.columns:
        return 0
    known = raw.frame[identity.name].drop_nulls()
    return len(known) - known.n_unique()


def _told(
    model: Model, contract: Contract, rows: Rows
) -> tuple[tuple[Association, ...], tuple[str, ...], tuple[str, ...]]:
    """What each feature tells, and which only tell the time; or, where the features cannot be used, why."""
    try:
        tree = load_features(model.features_path, contract).tree()
    except DataError as error:
        return (), (), (str(error),)
    matrix = tree.matrix(rows.frame)
    clocks = tuple(name for at, name in enumerate(tree.names) if _only_grows(matrix[:, at]))
    if rows.positives in (0, rows.frame.height):
        return (), clocks, ()
    times = rows.frame[EVENT_TIME]
    found = associations(
        matrix,
        tree.names,
        rows.y,
        weight=rows.weight,
        later=(times > times.median()).to_numpy(),
        categorical=frozenset(column.name for column in contract.feature_columns if column.type == "string"),
    )
    return found, clocks, ()


def _only_grows(column: np.ndarray) -> bool:
    """Whether a feature never falls along the time, and takes enough values for that to be no accident."""
    steps = np.diff(column)
    return bool((steps >= 0).all() and (steps > 0).sum() >= 50)
