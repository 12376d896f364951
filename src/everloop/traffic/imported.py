"""Predictions that were made elsewhere, put into the log: each once, and never over what is there.

A file's rows come in chapters. Each is one commit to either table that carries the import's name and the chapter's
number as an application transaction, so that an import that was killed goes on behind the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.traffic.delta import DeltaLog
from everloop.traffic.moving import alone_with_the_tables
from everloop.traffic.place import TrafficRoot
from everloop.traffic.records import storable
from everloop.traffic.spooled import each_waiting
from everloop.traffic.tables import OUTCOMES, PREDICTIONS, Table, fit, open_table

__all__ = ["IMPORTED", "IMPORT_POINTS", "Differing", "ImportLog", "Sorted", "prediction_rows"]

IMPORTED: Final = "imported"
"""The side of rows that another system answered: no routing of ours picked them."""
IMPORT_POINTS: Final = ("predictions written", "predictions committed", "outcomes committed")
_COMPARED: Final = ("event_time", "entity", "answered_version", "score", "decision")


def prediction_rows(
    *,
    ids: pl.Series,
    event_time: pl.Series,
    entity: pl.Series,
    score: pl.Series,
    decision: pl.Series,
    threshold: float | None,
    version: int,
    recorded_at: datetime,
    inputs: pl.DataFrame,
    features: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of the predictions table: those of `version`, each answered alone, under no routing (revision 0).

    All of one height. score: Float32. decision: Boolean, null where nothing is decided. features: named as they are.
    """
    one = pl.DataFrame(
        {"version": pl.Series([version], dtype=pl.Int32).new_from_index(0, len(ids)),
         "score": score, "decision": decision}
    ).to_struct("scores")  # fmt: skip
    frame = pl.DataFrame(
        {
            "prediction_id": ids,
            "event_time": event_time,
            "recorded_at": pl.Series([recorded_at], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(ids)),
            "entity": entity,
            "answered_version": one.struct.field("version"),
            "side": pl.Series([IMPORTED]).new_from_index(0, len(ids)),
            "propensity": pl.Series([1.0]).new_from_index(0, len(ids)),
            "score": score,
            "decision": decision,
            "threshold": pl.Series([threshold], dtype=pl.Float64).new_from_index(0, len(ids)),
            "scores": one.reshape((len(ids), 1)).cast(pl.List(one.dtype)),
            "routing_revision": pl.Series([0], dtype=pl.Int64).new_from_index(0, len(ids)),
            "schema_version": pl.Series([1], dtype=pl.Int32).new_from_index(0, len(ids)),
        }
    )
    held = pl.DataFrame([storable(column) for column in inputs.get_columns() if column.dtype != pl.Null])
    derived = features.select(pl.all().name.prefix("f_"))
    return pl.concat([frame, held, derived], how="horizontal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """A row whose id the traffic has with other content. place: in the frame, from 0."""

    place: int
    prediction_id: str
    column: str
    here: Any
    there: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A frame against what is recorded. new: places of rows to add. repeated: of rows that are there as they are.

    imported: how many of the repeated another system answered. differing: rows that may not be added.
    """

    new: pl.Series
    repeated: pl.Series
    imported: int
    differing: tuple[Differing, ...]


class ImportLog:
    """Both tables of a model, for one import.

    application: what its commits are known by. crash: called at each of `IMPORT_POINTS`, for tests that die there.
    """

    def __init__(
        self,
        root: TrafficRoot,
        spool: Path,
        model: str,
        *,
        application: str,
        flush: bool = False,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._spool = spool
        self._model = model
        self._application = application
        self._crash = crash
        self._predictions = open_table(root, model, PREDICTIONS, flush=flush)
        self._outcomes = open_table(root, model, OUTCOMES, flush=flush)

    @property
    def chapters(self) -> int:
        """How many chapters are in both tables."""
        return min(_chapters(self._predictions, self._application), _chapters(self._outcomes, self._application))

    @property
    def begun(self) -> int:
        """How many chapters are in the table of predictions, and so at least begun."""
        return _chapters(self._predictions, self._application)

    def sort_out(self, frame: pl.DataFrame) -> Sorted:
        """Which rows are new, by id: all of the log is asked, and the spools of this machine. Ids are distinct."""
        compared = [*_COMPARED, *(name for name in frame.columns if name.startswith("in_"))]
        there = self._recorded(frame["prediction_id"], compared)
        known = frame["prediction_id"].is_in(there["prediction_id"].implode())
        both = frame.select("prediction_id", *compared).with_row_index("place").filter(known)
        both = both.join(there, on="prediction_id", how="left", suffix="__there", maintain_order="left")
        same = [_same(name, both.schema) for name in compared]
        differs = both.filter(~pl.all_horizontal(same))
        repeated = both.filter(pl.all_horizontal(same))
        return Sorted(
            new=(~known).arg_true(),
            repeated=repeated["place"],
            imported=int((repeated["side"] == IMPORTED).sum()),
            differing=tuple(_differing(row, compared) for row in differs.iter_rows(named=True)),
        )

    def add(self, chapter: int, predictions: pl.DataFrame, outcomes: pl.DataFrame) -> None:
        """Commit a chapter (from 1) to both tables; what is there of it already is left alone.

        predictions: of `prediction_rows`. outcomes: the columns of their table but the day.
        """
        with alone_with_the_tables(self._spool):
            self._commit(self._predictions, PREDICTIONS, chapter, predictions)
            self._crash("predictions committed")
            self._commit(self._outcomes, OUTCOMES, chapter, outcomes)
            self._crash("outcomes committed")

    def unknown(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """Of these outcomes those that the log does not have just so, with the same time of observation."""
        self._outcomes.refresh()
        there = self._outcomes.scan(list(self._outcomes.files.values())).join(
            outcomes.lazy().select("prediction_id"), on="prediction_id", how="semi"
        )
        same = ["prediction_id", "name", "value", "observed_at"]
        return outcomes.join(there.select(same).collect(engine="streaming"), on=same, how="anti", maintain_order="left")

    def _commit(self, log: DeltaLog, table: Table, chapter: int, frame: pl.DataFrame) -> None:
        if not log.exists:
            log.create()
        log.refresh()
        if _chapters(log, self._application) >= chapter:
            return
        files = log.write(fit(frame, log)) if frame.height else []
        if table is PREDICTIONS:
            self._crash("predictions written")
        log.commit(add=files, transactions={self._application: chapter}, once=True)

    def _recorded(self, ids: pl.Series, compared: list[str]) -> pl.DataFrame:
        """What the traffic has under these ids, an id once: `prediction_id`, `side`, and what is compared."""
        wanted = ["prediction_id", "side", *compared]
        asked = ids.alias("prediction_id").to_frame()
        frames = []
        for frame in each_waiting(self._spool, self._model, "predictions"):
            frames.append(frame.join(asked, on="prediction_id", how="semi"))
        self._predictions.refresh()
        rows = self._predictions.scan(list(self._predictions.files.values()))
        # Most imports meet nothing: of all the columns one is read then.
        hits = rows.select("prediction_id").join(asked.lazy(), on="prediction_id", how="semi")
        found = hits.unique().collect(engine="streaming")
        if found.height:
            frames.append(rows.join(found.lazy(), on="prediction_id", how="semi").collect(engine="streaming"))
        if not frames:
            return pl.DataFrame(
                schema={"prediction_id": pl.String, "side": pl.String, **dict.fromkeys(compared, pl.Null)}
            )
        joined = pl.concat(frames, how="diagonal_relaxed")
        lacking = [pl.lit(None).alias(name) for name in wanted if name not in joined.columns]
        first = joined.sort("recorded_at").unique("prediction_id", keep="first", maintain_order=True)
        return first.with_columns(lacking).select(wanted)


def _chapters(log: DeltaLog, application: str) -> int:
    if not log.exists:
        return 0
    found = log.transaction(application)
    return 0 if found is None else found


def _same(name: str, schema: pl.Schema) -> pl.Expr:
    """Whether a column holds the same here and there; numbers as numbers, what is of unlike types as texts."""
    here, there = pl.col(name), pl.col(f"{name}__there")
    types = schema[name], schema[f"{name}__there"]
    if types[0] != types[1] and not (types[0].is_numeric() and types[1].is_numeric()):
        here, there = here.cast(pl.String), there.cast(pl.String)
    return here.eq_missing(there)


def _differing(row: dict[str, Any], compared: list[str]) -> Differing:
    name = next(name for name in compared if row[name] != row[f"{name}__there"])
    return Differing(
        place=row["place"],
        prediction_id=row["prediction_id"],
        column=name.removeprefix("in_"),
        here=row[name],
        there=row[f"{name}__there"],
    )
