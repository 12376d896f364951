"""One person's rows leave the traffic: log and spools, with their outcomes, and the files that held them.

Outcomes go first, for of most nothing but the predictions tells whose they are; the log's predictions go last. So
whatever process dies in between, the same request finds what is left, and finishes. Nobody of this machine moves or
rewrites rows meanwhile; capture goes on. What another machine rewrites at that time shows as a Conflict, and is looked
at anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from everloop.errors import Conflict, TrafficError
from everloop.traffic.delta import DataFile, DeltaLog
from everloop.traffic.moving import alone_with_the_tables
from everloop.traffic.place import TrafficRoot
from everloop.traffic.spooled import (
    erase_answers,
    erase_outcomes,
    erase_predictions,
    scrub,
    waiting_of,
)
from everloop.traffic.tables import OUTCOMES, PREDICTIONS, open_table

__all__ = ["FORGET_POINTS", "Forgetting", "OfEntity"]

FORGET_POINTS: Final = (
    "a file of outcomes rewritten",
    "outcomes gone",
    "spools gone",
    "a file of predictions rewritten",
    "predictions gone",
)
_FILES_AT_ONCE: Final = 32
_TRIES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OfEntity:
    """What of an entity there is: rows of the log, and rows that wait in the spools of this machine."""

    predictions: int
    outcomes: int
    waiting: int


class Forgetting:
    """An entity of a model, and what is to go.

    alone: no other machine writes to the tables. crash: called at each of `FORGET_POINTS`, for tests that die there.
    """

    def __init__(
        self,
        root: TrafficRoot,
        spool: Path,
        model: str,
        entity: str,
        *,
        alone: bool,
        flush: bool = False,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._spool = spool
        self._model = model
        self._entity = entity
        self._alone = alone
        self._crash = crash
        self._predictions = open_table(root, model, PREDICTIONS, flush=flush)
        self._outcomes = open_table(root, model, OUTCOMES, flush=flush)

    def found(self) -> OfEntity:
        """What there is now."""
        waiting = waiting_of(self._spool, self._model, self._entity)
        ids = self._ids() | waiting
        said = erase_outcomes(self._spool, self._model, ids, self._entity, dry_run=True)
        return OfEntity(
            predictions=sum(count for _, count in _holding(self._predictions, self._is_theirs)),
            outcomes=sum(count for _, count in _holding(self._outcomes, self._told_of(ids))),
            waiting=len(waiting) + said,
        )

    def ids(self) -> pl.Series:
        """The ids of their predictions, in the log and in the spools."""
        found = self._ids() | waiting_of(self._spool, self._model, self._entity)
        return pl.Series("id", sorted(found), dtype=pl.String)

    def erase(self) -> list[str]:
        """Delete all of it, and the files that held it; says what could not be reached. Again, it deletes what is left.

        Raises TrafficError where others rewrite the tables over and over.
        """
        with alone_with_the_tables(self._spool):
            ids = self._ids() | waiting_of(self._spool, self._model, self._entity)
            self._rewrite(self._outcomes, self._told_of(ids), "a file of outcomes rewritten")
            erase_outcomes(self._spool, self._model, ids, self._entity)
            self._crash("outcomes gone")
            if ids:
                erase_answers(self._spool, self._model, ids)
                erase_predictions(self._spool, self._model, self._entity)
                self._crash("spools gone")
                self._rewrite(self._predictions, self._is_theirs, "a file of predictions rewritten")
                self._crash("predictions gone")
            return self._purge()

    @property
    def _is_theirs(self) -> pl.Expr:
        return pl.col("entity") == self._entity

    def _told_of(self, ids: set[str]) -> pl.Expr:
        """Outcomes of these predictions, and those told by the entity, whose prediction may not be here yet."""
        self._outcomes.refresh()
        of_them = pl.col("prediction_id").is_in(pl.Series(sorted(ids), dtype=pl.String).implode())
        # a table of an earlier version has outcomes by id alone
        return of_them | self._is_theirs if "entity" in self._outcomes.schema else of_them

    def _ids(self) -> set[str]:
        self._predictions.refresh()
        rows = self._predictions.scan(list(self._predictions.files.values())).filter(self._is_theirs)
        return set(rows.select("prediction_id").collect(engine="streaming")["prediction_id"])

    def _rewrite(self, log: DeltaLog, theirs: pl.Expr, point: str) -> None:
        """Put each file that has rows of theirs in its own place without them, a commit each."""
        for _ in range(_TRIES):
            holding = _holding(log, theirs)
            if not holding:
                return
            try:
                for file, _ in holding:
                    left = log.scan([file]).filter(~theirs.fill_null(False)).collect()
                    log.commit(add=log.write(left) if left.height else [], remove=[file], deletes=True)
                    self._crash(point)
            except Conflict:
                continue  # another machine has rewritten a file: look which holds the rows now
        raise TrafficError("the tables are rewritten by another machine all the time; ask for it again")

    def _purge(self) -> list[str]:
        unreached = []
        for name, log in (("predictions", self._predictions), ("outcomes", self._outcomes)):
            left = log.purge(alone=self._alone) if log.exists else 0
            if left:
                many = "a file" if left == 1 else f"{left} files"
                unreached.append(
                    f"{many} of {name} that no commit names, and that another machine may be about to name; asked for "
                    "again in an hour, it goes too"
                )
        unreached += [f"{name} in the spool's folder is in use: ask again" for name in scrub(self._spool)]
        damaged = sorted(path.name for path in self._spool.glob("damaged-*.db")) if self._spool.is_dir() else []
        return [*unreached, *(f"{name} in the spool's folder is damaged and cannot be looked into" for name in damaged)]


def _holding(log: DeltaLog, theirs: pl.Expr) -> list[tuple[DataFile, int]]:
    """The files that have rows of theirs, with how many; some files are asked at a time."""
    log.refresh()
    found: list[tuple[DataFile, int]] = []
    files = list(log.files.values())
    for first in range(0, len(files), _FILES_AT_ONCE):
        some = files[first : first + _FILES_AT_ONCE]
        if _count(log, some, theirs):
            counted = [(file, _count(log, [file], theirs)) for file in some]
            found += [(file, count) for file, count in counted if count]
    return found


def _count(log: DeltaLog, files: Sequence[DataFile], theirs: pl.Expr) -> int:
    count: int = log.scan(files).filter(theirs).select(pl.len()).collect(engine="streaming").item()
    return count
