"""Where a batch goes from its run's folder: the tables of results and rejects, and the traffic log; each row once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock
from everloop.data import EVENT_TIME, is_remote
from everloop.errors import AlreadyRunning, SourceError, StorageFull, WorkflowError, no_room
from everloop.production.batch import Batch, result_columns
from everloop.tasks import get_task
from everloop.traffic import Durability, Mover, PredictionBatch, Spool, TrafficLog, TrafficRoot, row_digests

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["REJECTS", "SIDE", "capture", "is_begun", "write_tables"]

SIDE: Final = "batch"
"""The side of rows that were scored in batch, in the traffic log."""
REJECTS: Final = "-rejected"
"""What the name of the table of rejects ends in."""
_SLICE: Final = 10_000
_encode = msgspec.json.Encoder().encode
Crash = Callable[[str], None]


def write_tables(
    batch: Batch,
    bundle: Bundle,
    *,
    folder: Path,
    root: Path,
    stop: Callable[[], bool] = lambda: False,
    crash: Crash = lambda _point: None,
) -> None:
    """Append the batch to its tables, a commit for each of its files, those that are there already left out.

    A commit carries the batch's name and the file's number as an application transaction, so it is known again, also
    by who writes the same batch at the same time. stop: asked before each file; raises WorkflowError where it says yes.
    """
    target, aside = _tables(batch, root)
    for number, part in enumerate(batch.parts, start=1):
        _go_on(stop, target)
        _append(target, batch.id, number, partial(_results, bundle, batch, folder / part.file), crash)
    for number, part in enumerate(batch.rejects, start=1):
        _go_on(stop, aside)
        _append(aside, batch.id, number, partial(pl.read_parquet, folder / part.file), crash)


def is_begun(batch: Batch, *, root: Path) -> bool:
    """Whether a file of the batch is in its tables already. Raises SourceError where they cannot be read."""
    from deltalake.exceptions import DeltaError

    for target in _tables(batch, root):
        try:
            if _holds(_found(target), batch.id, 1):
                return True
        except (DeltaError, OSError) as error:
            raise SourceError(f"{target} cannot be read: {' '.join(str(error).split()):.300}") from error
    return False


def _tables(batch: Batch, root: Path) -> tuple[str, str]:
    """The addresses of the tables of results and rejects."""
    target = batch.target if is_remote(batch.target) else str((root / batch.target).absolute())
    return target, f"{target.rstrip('/')}{REJECTS}"


def _go_on(stop: Callable[[], bool], target: str) -> None:
    if stop():
        raise WorkflowError(f"writing {target} was stopped; the next run goes on with it")


def _append(target: str, application: str, number: int, rows: Callable[[], pl.DataFrame], crash: Crash) -> None:
    from deltalake import CommitProperties, Transaction, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        if _holds(_found(target), application, number):
            return
        frame = rows()
        table = _found(target) or _made(target, frame)
        if _holds(table, application, number):
            return
        crash(f"writing {number}")
        mark = CommitProperties(app_transactions=[Transaction(application, number)])
        try:
            # On the version that was looked at: where the same was committed since then, Delta refuses this one.
            write_deltalake(table, frame, mode="append", schema_mode="merge", commit_properties=mark)
        except CommitFailedError:
            if not _holds(_found(target), application, number):
                raise
        crash(f"wrote {number}")
    except (DeltaError, OSError) as error:
        said = " ".join(str(error).split())
        if no_room(error):
            raise StorageFull(f"no room for {target}: {said:.300}. Free some space there") from error
        raise SourceError(f"{target} cannot be written: {said:.300}") from error


def _found(target: str) -> DeltaTable | None:
    """The table as it is now; None where there is none."""
    from deltalake import DeltaTable

    return DeltaTable(target) if DeltaTable.is_deltatable(target) else None


def _made(target: str, frame: pl.DataFrame) -> DeltaTable:
    """A table without rows, by whoever makes it first: only on one that is there can two commits be told apart."""
    from deltalake import DeltaTable, write_deltalake
    from deltalake.exceptions import DeltaError

    try:
        write_deltalake(target, frame.clear(), mode="append", schema_mode="merge")
    except DeltaError:
        if not DeltaTable.is_deltatable(target):
            raise
    return DeltaTable(target)


def _holds(table: DeltaTable | None, application: str, number: int) -> bool:
    """Whether the version of the table that was opened has the batch's file."""
    there = None if table is None else table.transaction_version(application)
    return there is not None and there >= number


def _results(bundle: Bundle, batch: Batch, path: Path) -> pl.DataFrame:
    """A file's rows as the result has them."""
    held = ["id", EVENT_TIME, "score", "decided", "source", *(f"q_{name}" for name in bundle.quantiles)]
    frame = pl.read_parquet(path, columns=held)
    labels = pl.when("decided").then(pl.lit(bundle.label(True))).otherwise(pl.lit(bundle.label(False)))
    return frame.with_columns(
        labels.cast(pl.String).alias("decision"),
        *(pl.col(f"q_{name}").alias(name) for name in bundle.quantiles),
        pl.lit(batch.version, dtype=pl.Int32).alias("version"),
        pl.lit(batch.as_of, dtype=pl.Datetime("us", "UTC")).alias("scored_at"),
    ).select(result_columns(bundle))


def capture(
    batch: Batch,
    bundle: Bundle,
    *,
    folder: Path,
    spool: Path,
    traffic: TrafficRoot,
    clock: Clock,
    durability: Durability,
    crash: Crash = lambda _point: None,
) -> None:
    """Record the batch's rows as predictions, each id once: what the log has, or has on its way, is left as it is.

    Where no mover runs, what was recorded is moved here, a file at a time, so that the spool never holds them all.
    """
    log = TrafficLog(traffic, batch.model)
    for number, part in enumerate(batch.parts, start=1):
        with Spool.open(spool, clock=clock, durability=durability) as opened:
            for predictions in _new_predictions(batch, bundle, log, folder / part.file):
                crash(f"recording {number}")
                opened.append_predictions(predictions)
                crash(f"recorded {number}")
        _move(spool, traffic, clock, durability)


def _move(spool: Path, traffic: TrafficRoot, clock: Clock, durability: Durability) -> None:
    with (
        suppress(AlreadyRunning),
        Mover.open(spool=spool, traffic=traffic, clock=clock, durability=durability) as mover,
    ):
        mover.move_once()


def _new_predictions(batch: Batch, bundle: Bundle, log: TrafficLog, path: Path) -> Iterator[PredictionBatch]:
    """The rows of a file whose ids the log does not have yet, some thousand at a time."""
    # By time, so that a commit of the log has few days, and a day few files.
    frame = pl.read_parquet(path).sort(EVENT_TIME, "id")
    # What the mover took away may no longer be known to the spool; it has the event time it was recorded with.
    times: Any = frame[EVENT_TIME]
    known = log.recorded_ids(frame["id"], start=times.min(), end=times.max() + timedelta(microseconds=1))
    if len(known):
        frame = frame.filter(~pl.col("id").is_in(known.implode()))
    for rows in frame.iter_slices(_SLICE):
        yield _predictions(batch, bundle, rows)


def _predictions(batch: Batch, bundle: Bundle, rows: pl.DataFrame) -> PredictionBatch:
    inputs = rows.select(
        pl.col(name).alias(name.removeprefix("in_")) for name in rows.columns if name.startswith("in_")
    )
    features = [f"f_{name}" for name in bundle.features.names]
    height = rows.height
    return PredictionBatch(
        model=batch.model,
        routing_revision=batch.revision,
        ids=rows["id"].to_list(),
        digests=row_digests(inputs),
        answers=_answers(bundle, batch, rows),
        event_time_us=rows[EVENT_TIME].to_physical().to_numpy(),
        entities=rows["entity"].to_list(),
        versions=(batch.version,),
        thresholds=(bundle.threshold,),
        scores=rows["score"].to_numpy().reshape(height, 1),
        decisions=rows["decided"].to_numpy().reshape(height, 1),
        answered=np.zeros(height, dtype=np.int64),
        sides=[SIDE] * height,
        propensities=np.ones(height),
        inputs=inputs,
        feature_names=bundle.features.names,
        features=rows.select(features).to_numpy().astype(np.float32),
    )


def _answers(bundle: Bundle, batch: Batch, rows: pl.DataFrame) -> list[bytes]:
    """What the endpoint would say where the same row is sent to it later, a row each."""
    decides = get_task(bundle.manifest.task).decides
    labels = {decided: bundle.label(decided) for decided in (True, False)}
    columns = rows.select("id", "score", "decided", *(f"q_{name}" for name in bundle.quantiles))
    answers = []
    for prediction_id, score, decided, *quantiles in columns.iter_rows():
        told: dict[str, Any] = {"id": prediction_id, "score": score}
        if quantiles:
            told["quantiles"] = dict(zip(bundle.quantiles, quantiles, strict=True))
        if decides:
            told["decision"] = labels[decided]
        answers.append(_encode(told | {"version": batch.version, "side": SIDE}))
    return answers
