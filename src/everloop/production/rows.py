"""All that is known at a time: the source's matured rows and those that live traffic brought since."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from everloop.data import EVENT_TIME, Contract, Rows, load_rows, rows_of
from everloop.errors import NotEnoughData
from everloop.project import Model
from everloop.tasks import get_task
from everloop.traffic import TrafficLog, known_rows

__all__ = ["everything_known"]

_BOOKED_TO: Final = timedelta(milliseconds=1)
"""How exactly the log's books tell the time of its newest row."""


def everything_known(model: Model, contract: Contract, log: TrafficLog, *, as_of: datetime) -> Rows:
    """Labelled rows of source and traffic log within the newest `train.window`, each with its outcome due by `as_of`.

    The window counts back from the newest of these rows, so data that ended long ago has one too.
    A payment that is in both is taken from the traffic log: it holds what was really answered on. Without an id
    column the source's rows are taken up to its last time, and the log's after it.
    Raises NotEnoughData where one class, or a second outcome, is missing.
    """
    source = load_rows(model, contract, as_of=as_of, both_classes=False)
    window = model.train.window
    live = _live(model, contract, log, source_end=source.span[1], as_of=as_of)
    frame = source.frame if live is None else _joined(source.frame, live.frame, contract)
    if window is not None:
        frame = frame[int(frame[EVENT_TIME].search_sorted(frame[EVENT_TIME][-1] - window, side="left")) :]
    left_out = dict(source.left_out)
    for reason, count in (live.left_out if live is not None else {}).items():
        left_out[reason] = left_out.get(reason, 0) + count
    rows = Rows(
        frame=frame.rechunk(),
        left_out=left_out,
        source=model.data.source,
        numeric=source.numeric,
        read=source.read + (0 if live is None else live.read),
        broken=source.broken + (() if live is None else live.broken),
    )
    _refuse_nothing_to_learn(rows, model)
    return rows


def _live(model: Model, contract: Contract, log: TrafficLog, *, source_end: datetime, as_of: datetime) -> Rows | None:
    """The log's rows that the window can hold, without reading what it cannot.

    Its end is guessed from the table's books. Where the newest rows there have no outcome, or none that counts, the
    window reaches further back, and the log is read once more.
    """
    window = model.train.window
    if window is None:
        return _traffic(model, contract, log, start=None, as_of=as_of)
    span = log.span(as_of - model.outcome.delay)
    if span is None:
        return None
    start = max(source_end, span[1]) - window - _BOOKED_TO
    live = _traffic(model, contract, log, start=start, as_of=as_of)
    begin = (source_end if live is None else max(source_end, live.span[1])) - window
    return live if begin >= start else _traffic(model, contract, log, start=begin, as_of=as_of)


def _joined(source: pl.DataFrame, live: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Rows of both in order of event time, none of them twice."""
    identity = contract.only("id")
    if identity is None:
        live = live.filter(pl.col(EVENT_TIME) > source[EVENT_TIME][-1])
    else:
        source = source.join(live, on=identity.name, how="anti", maintain_order="left")
    return pl.concat([source, live], how="vertical_relaxed").sort(EVENT_TIME, maintain_order=True)


def _traffic(
    model: Model, contract: Contract, log: TrafficLog, *, start: datetime | None, as_of: datetime
) -> Rows | None:
    """The log's matured rows under the contract's names, or None where it has none."""
    outcome, target = model.outcome, model.data.target
    lazy = known_rows(log, as_of=as_of, delay=outcome.delay, absent=outcome.absent, target=target, start=start)
    frame = lazy.collect()
    if frame.height == 0:
        return None
    if outcome.acts is not None:
        acts = log.known(as_of, name=outcome.acts.column, within=(start, None)).collect()
        acted = acts.select("prediction_id", pl.col("outcome_text").alias(outcome.acts.column))
        frame = frame.join(acted, on="prediction_id", how="left", maintain_order="left")
    return rows_of(
        _under_contract(frame, contract), model, contract, source="the traffic log", as_of=as_of, both_classes=False
    )


def _under_contract(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The columns that the contract has, in its order; what a request does not carry is null, and a weight 1."""
    wanted: list[pl.Expr] = []
    for column in contract.kept_columns:
        if column.role == "id":  # what the caller gave, else what the endpoint did
            wanted.append(pl.col("prediction_id").alias(column.name))
        elif column.name in frame.columns:
            wanted.append(pl.col(column.name))
        elif column.role == "weight":
            wanted.append(pl.lit(1.0).alias(column.name))
        elif column.role != "outcome" and column.at_prediction is False:
            wanted.append(pl.lit(None).alias(column.name))
    return frame.select(wanted)


def _refuse_nothing_to_learn(rows: Rows, model: Model) -> None:
    task = get_task(model.task)
    if task.lacks(rows.y) is None:
        return
    positives = f" with {rows.positives:,} positives" if task.decides else " of one outcome"
    needed = "both classes are" if task.decides else "outcomes that differ are"
    raise NotEnoughData(
        f"{model.name} has {rows.frame.height:,} matured rows{positives} in its training window; {needed} needed: "
        "wait for outcomes, or widen train.window"
    )
