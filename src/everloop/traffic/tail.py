"""The newest traffic, from the log and the spools together, and what comes after it as it comes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.clock import Clock, SystemClock, to_us
from everloop.errors import TrafficError
from everloop.traffic.delta import DataFile, DeltaLog
from everloop.traffic.place import TrafficRoot
from everloop.traffic.spooled import SpoolPlaces, last_blocks, waiting_rows, waiting_since
from everloop.traffic.tables import TABLES, Kind, open_table

__all__ = ["Tail", "TailRow"]

_KEYS: Final[dict[Kind, tuple[str, ...]]] = {
    "predictions": ("prediction_id",),
    "outcomes": ("prediction_id", "entity", "event_time", "name", "value", "observed_at"),
}
# Rows between their spool and the log; where more wait there, one may be told twice.
_REMEMBERED: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRow:
    """A row of the traffic, with the columns of its table. at: when it was recorded, UTC."""

    kind: Kind
    at: datetime
    row: Mapping[str, Any]


class Tail:
    """The end of one model's traffic. Other machines' spools are not seen; their rows are, once they are in the log.

    clock: the project's. kinds: which tables are followed.
    """

    def __init__(
        self, root: TrafficRoot, spool: Path, model: str, *, clock: Clock, kinds: Sequence[Kind] = ("predictions",)
    ) -> None:
        self._spool = spool
        self._model = model
        self._kinds = tuple(kinds)
        self._logs: dict[Kind, DeltaLog] = {kind: open_table(root, model, TABLES[kind]) for kind in self._kinds}
        # A file holds nothing that was recorded after it was added, where both times are of one clock.
        self._dated = isinstance(clock, SystemClock)
        self._seen: dict[Kind, SpoolPlaces] = {}
        self._versions: dict[Kind, int] = {}
        self._begun: dict[Kind, datetime | None] = {}
        self._told: OrderedDict[int, None] = OrderedDict()

    def newest(self, n: int) -> list[TailRow]:
        """The `n` rows that were recorded last, oldest first; what comes later is what `more` tells."""
        found = [row for kind in self._kinds for row in self._newest(kind, n)]
        found = sorted(found, key=lambda one: one.at)
        return found[len(found) - n :] if n < len(found) else found

    def more(self) -> Iterator[TailRow]:
        """The rows that came since the last look, in about the order in which they were recorded."""
        for kind in self._kinds:
            for frame in self._fresh(kind):
                yield from self._once(kind, frame)

    def _newest(self, kind: Kind, n: int) -> list[TailRow]:
        log = self._logs[kind]
        self._seen[kind] = last_blocks(self._spool)
        waiting = waiting_rows(self._spool, self._model, kind, newest=max(n, 1))
        log.refresh()
        self._versions[kind] = log.version
        newest = _newest_of(log, max(n, 1), dated=self._dated)
        frame = _keyed(kind, pl.concat([newest, waiting], how="diagonal_relaxed"))
        frame = frame.unique(_KEYS[kind], keep="first", maintain_order=True).sort("recorded_at", maintain_order=True)
        self._begun[kind] = frame["recorded_at"][-1] if frame.height else None
        return list(self._once(kind, frame.tail(n)))

    def _fresh(self, kind: Kind) -> Iterator[pl.DataFrame]:
        yield waiting_since(self._spool, self._model, kind, self._seen[kind]).sort("recorded_at", maintain_order=True)
        log = self._logs[kind]
        log.refresh()
        for file in log.appended(self._versions[kind]):
            yield self._appended(kind, log, file)
        self._versions[kind] = log.version

    def _appended(self, kind: Kind, log: DeltaLog, file: DataFile) -> pl.DataFrame:
        """A new file's rows, but for those that waited when the tail began."""
        try:
            rows = self._since_begun(kind, log, [file])
        except TrafficError:
            # It was rewritten, and taken from the disk: what is left of it is in other files of its day.
            log.refresh()
            rows = self._since_begun(kind, log, [one for one in log.files.values() if one.day == file.day])
        return rows.sort("recorded_at", maintain_order=True)

    def _since_begun(self, kind: Kind, log: DeltaLog, files: Sequence[DataFile]) -> pl.DataFrame:
        rows, begun = log.scan(files), self._begun[kind]
        return _read(log, rows if begun is None else rows.filter(pl.col("recorded_at") > begun))

    def _once(self, kind: Kind, frame: pl.DataFrame) -> Iterator[TailRow]:
        frame = _keyed(kind, frame)
        keys = frame.select(_KEYS[kind]).rows()
        for key, row in zip(keys, frame.iter_rows(named=True), strict=True):
            mark = hash((kind, *key))
            if mark in self._told:
                continue
            self._told[mark] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            yield TailRow(kind=kind, at=row["recorded_at"], row=row)


def _keyed(kind: Kind, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with every column that tells one from another: a table of an earlier version lacks some."""
    return frame.with_columns(pl.lit(None).alias(name) for name in _KEYS[kind] if name not in frame.columns)


def _newest_of(log: DeltaLog, n: int, *, dated: bool) -> pl.DataFrame:
    """The log's `n` rows that were recorded last; of files that cannot hold one only the names are looked at."""
    best = pl.Series("recorded_at", [], dtype=pl.Datetime("us", "UTC"))
    holding: list[tuple[DataFile, datetime]] = []
    for file in sorted(log.files.values(), key=lambda one: one.added_ms or 0, reverse=True):
        if dated and len(best) >= n and file.added_ms is not None and to_us(best[-1]) > 1000 * (file.added_ms + 1):
            break
        times = _read(log, log.scan([file]).select("recorded_at"))["recorded_at"].sort(descending=True).head(n)
        if len(times):
            holding.append((file, times[0]))
            best = pl.concat([best, times]).sort(descending=True).head(n)
    if not len(best):
        return _read(log, log.scan([]))
    oldest, frames, left = best[-1], [], n
    # Of files whose newest rows are just so old any will do, once there are enough.
    for file, newest in sorted(holding, key=lambda one: one[1], reverse=True):
        if newest < oldest or (newest == oldest and left <= 0):
            break
        frames.append(_end_of(log, file, oldest, n))
        left -= frames[-1].height
    return pl.concat(frames, how="diagonal_relaxed").sort("recorded_at", maintain_order=True).tail(n)


def _end_of(log: DeltaLog, file: DataFile, oldest: datetime, n: int) -> pl.DataFrame:
    """A file's last `n` rows of those recorded since `oldest`; an import has one time for all of its rows."""
    rows = _read(log, log.scan([file]).filter(pl.col("recorded_at") >= oldest))
    return rows.sort("recorded_at", maintain_order=True).tail(n)


def _read(log: DeltaLog, rows: pl.LazyFrame) -> pl.DataFrame:
    try:
        return rows.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        said = " ".join(str(error).split())
        raise TrafficError(f"the traffic log cannot be read: {said:.300}; ask for it again") from error
