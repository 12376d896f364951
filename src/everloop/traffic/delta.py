"""One Delta table that a single process appends to thousands of times a day.

Tables are created, altered, checkpointed and vacuumed by `deltalake`; the commit that only adds files is written here,
as the protocol says: one JSON file, linked into place under the next version, which fails if that exists. Measured
with 75 columns: 6 ms through `deltalake` at first and 18 ms with 500 commits behind it, about 1 ms so. And the files
can be flushed to the disk before the version exists, which `durability="full"` needs. Readers follow
the log's tail in the same way. A test reads the tables with `deltalake` itself.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from everloop.clock import SystemClock, from_us, to_us
from everloop.errors import Conflict, StorageFull, TrafficError, no_room
from everloop.traffic.place import TablePlace

__all__ = ["DataFile", "DeltaLog"]

CHECKPOINT_EVERY: Final = 100
_LAST_CHECKPOINT: Final = "_delta_log/_last_checkpoint"
_TRIES: Final = 5
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One Parquet file of a table. path: relative to the table. min_us, max_us: its times, to the millisecond.

    added_ms: when it became part of the table, by the machine's own clock; None before.
    """

    path: str
    day: dt.date
    rows: int
    size_bytes: int
    min_us: int | None
    max_us: int | None
    added_ms: int | None = None

    def overlaps(self, start_us: int | None, end_us: int | None) -> bool:
        """Whether a row in [start_us, end_us) may be in it."""
        # Statistics are truncated to the millisecond by whoever wrote them.
        late = end_us is not None and self.min_us is not None and self.min_us >= end_us
        early = start_us is not None and self.max_us is not None and self.max_us + 1000 <= start_us
        return not (late or early)


class DeltaLog:
    """The state of one table, followed commit by commit: its files, schema and application transactions.

    schema: the columns it has before it exists, `partition` and `time` among them.
    """

    def __init__(self, place: TablePlace, *, schema: pl.Schema, partition: str, time: str) -> None:
        self._place = place
        self.version = -1
        self.schema = schema
        self.files: dict[str, DataFile] = {}
        self.time = time
        self._partition = partition
        self._transactions: dict[str, int | None] = {}
        self._checkpoint = -1
        self._table: Any = None

    @property
    def address(self) -> str:
        """The table as Delta's readers are told of it: a folder, or `s3://…`."""
        return self._place.uri

    @property
    def exists(self) -> bool:
        """Whether the table has been created."""
        return self.version >= 0

    def create(self) -> None:
        """Make the empty table, partitioned by day, with the schema it was opened with."""
        from deltalake import write_deltalake

        with self._library():
            write_deltalake(
                self._place.uri,
                pl.DataFrame(schema=self.schema),
                storage_options=self._options(),
                partition_by=[self._partition],
                mode="ignore",
                configuration={
                    "delta.dataSkippingStatsColumns": self.time,
                    "delta.logRetentionDuration": "interval 7 days",
                    "delta.deletedFileRetentionDuration": "interval 1 hours",
                },
            )
        self._place.flush(self._place.log_names(".json"))
        self._reopen()

    def refresh(self) -> None:
        """Read what was committed since the last look."""
        if not self.exists or self._checkpointed() > self.version:
            if self._place.exists():
                self._reopen()
            return
        while (actions := self._actions(self.version + 1)) is not None:
            self._apply(self.version + 1, actions)

    def appended(self, after: int) -> list[DataFile]:
        """The files with new rows of the versions after `after`, up to the one that was last read, in order.

        What was rewritten is none of them. Versions whose entries are no longer kept tell nothing.
        """
        found = [self._actions(version) or [] for version in range(after + 1, self.version + 1)]
        brought = [actions for actions in found if not any("remove" in action for action in actions)]
        return [self._file_added(action["add"]) for actions in brought for action in actions if "add" in action]

    def transaction(self, application: str) -> int | None:
        """The newest version an application has committed under its id, or None."""
        if application not in self._transactions:
            self._transactions[application] = self._opened().transaction_version(application)
        return self._transactions[application]

    def add_columns(self, schema: Mapping[str, pl.DataType]) -> None:
        """Add nullable columns; those that another process has added meanwhile are there already."""
        from deltalake import Schema

        for attempt in range(_TRIES):
            lacking = pl.Schema({name: dtype for name, dtype in schema.items() if name not in self.schema})
            if not lacking:
                break
            with self._library(overtaken_is_fine=attempt < _TRIES - 1):
                self._opened().alter.add_columns(Schema.from_arrow(lacking).fields)
            self._reopen()  # where the commit failed, another was faster, or it is there and its answer was lost
        self._place.flush([_entry(self.version)])

    def write(self, frame: pl.DataFrame) -> list[DataFile]:
        """Write a frame's rows as files of their days, not yet part of the table."""
        days = frame.get_column(self.time).dt.date()
        if days.n_unique() == 1:
            parts: Iterable[tuple[dt.date, pl.DataFrame]] = [(days[0], frame)]
        else:
            dated = frame.with_columns(days.alias("__day")).partition_by("__day", as_dict=True, include_key=False)
            parts = sorted((day, part) for (day,), part in dated.items())
        return [self._write_day(day, part) for day, part in parts]

    def scan(self, files: Sequence[DataFile]) -> pl.LazyFrame:
        """The rows of these files with the table's columns but the day."""
        schema = pl.Schema({name: dtype for name, dtype in self.schema.items() if name != self._partition})
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            [f"{self._place.uri}/{file.path}" for file in files],
            schema=schema,
            storage_options=self._options(),
            hive_partitioning=False,
            glob=False,
            missing_columns="insert",
            extra_columns="ignore",
        )

    def commit(
        self,
        *,
        add: Sequence[DataFile],
        remove: Sequence[DataFile] = (),
        transactions: Mapping[str, int] | None = None,
        once: bool = False,
        deletes: bool = False,
    ) -> int:
        """Make files part of the table, in one version; returns it once it has been read back.

        remove: files whose rows are all in `add` (a compaction), or with `deletes` go for good but for those. Raises
        Conflict where another process has removed one of them meanwhile, or with `once` has committed one of the
        transactions: then nothing is committed, and the files of `add` are deleted.
        """
        # The age of files is real time, also where the calendar is simulated.
        at_ms = to_us(SystemClock().now()) // 1000
        marks = {} if transactions is None else transactions
        operation = "DELETE" if deletes else "OPTIMIZE" if remove else "WRITE"
        actions = list(self._commit_actions(add, remove, marks, at_ms, operation))
        body = "\n".join(json.dumps(action, separators=(",", ":")) for action in actions).encode()
        while not self._place.commit(_entry(self.version + 1), body):
            # Someone else's commit, say a vacuum's or another machine's: take it in, then ours is the next.
            self.refresh()
            gone = [file.path for file in remove if file.path not in self.files]
            done = once and any((self.transaction(name) or 0) >= number for name, number in marks.items())
            if gone or done:
                for file in add:
                    self._place.remove(file.path)
                raise Conflict(
                    f"another process has committed the same to {self._place.uri}"
                    if done
                    else f"{self._place.uri} was rewritten by another process; it holds no {gone[0]} any more"
                )
        read_back = self._actions(self.version + 1)
        if read_back != actions:
            raise TrafficError(f"version {self.version + 1} of {self._place.uri} was not read back as it was written")
        self._apply(self.version + 1, read_back)
        return self.version

    def checkpoint(self) -> bool:
        """Fold the log into a checkpoint where the last is 100 versions old; says whether it did."""
        if self.version - self._checkpoint < CHECKPOINT_EVERY:
            return False
        with self._library():
            table = self._opened()
            table.create_checkpoint()
        self._checkpoint = self.version
        self._place.flush([*self._place.log_names(".parquet"), _LAST_CHECKPOINT])
        with self._library():
            table.cleanup_metadata()
        return True

    def vacuum(self, *, older_than_h: int) -> None:
        """Delete files that have not been part of the table for that long."""
        with self._library(overtaken_is_fine=True):  # what this one leaves the next one takes
            self._vacuum(older_than_h=older_than_h, full=True)
        self.refresh()

    def _vacuum(self, *, older_than_h: int, full: bool, dry_run: bool = False) -> list[str]:
        """full: files too that no commit names. Names what went, or would."""
        names: list[str] = self._opened().vacuum(
            retention_hours=older_than_h, dry_run=dry_run, enforce_retention_duration=False, full=full
        )
        return names

    def purge(self, *, alone: bool) -> int:
        """Delete every file that is no part of the table any more; says how many others are left, for an hour.

        alone: nobody else writes to it now, so that a file that no commit names is nobody's. Otherwise such a file may
        be about to be committed, and stays until it is an hour old. Who reads an earlier version finds it gone.
        """
        with self._library():
            # What was removed from the table goes at once; a file that no commit names only where it can be nobody's.
            self._vacuum(older_than_h=0, full=False)
            self._vacuum(older_than_h=0 if alone else 1, full=True)
            # Names of files that were removed are told for a while after those have gone.
            removed = set(self._vacuum(older_than_h=0, full=False, dry_run=True))
            left = set(self._vacuum(older_than_h=0, full=True, dry_run=True)) - removed
        self.refresh()
        return len(left)

    def _options(self) -> dict[str, str] | None:
        options = self._place.options()
        return None if options is None else dict(options)

    def _opened(self) -> Any:
        """The library's table as it stands; where keys may have run out meanwhile it is opened anew."""
        from deltalake import DeltaTable

        options = self._options()
        if options is None:
            self._table.update_incremental()
        else:
            self._table = DeltaTable(self._place.uri, storage_options=options)
        return self._table

    def _reopen(self) -> None:
        from deltalake import DeltaTable

        with self._library():
            self._table = table = DeltaTable(self._place.uri, storage_options=self._options())
        if table.protocol().min_writer_version > 2:
            raise TrafficError(
                f"{self._place.uri} asks for Delta writer version {table.protocol().min_writer_version}; "
                "everloop writes version 2. Was the table changed by another tool?"
            )
        self.schema = pl.Schema(table.schema().to_arrow())
        self.version = table.version()
        self._checkpoint = self._checkpointed()
        self._transactions = {}
        adds = pl.DataFrame(table.get_add_actions(flatten=True))
        files = [self._file_of(row) for row in adds.iter_rows(named=True)]
        self.files = {file.path: file for file in files}

    def _file_of(self, row: Mapping[str, Any]) -> DataFile:
        low, high = row.get(f"min.{self.time}"), row.get(f"max.{self.time}")
        return DataFile(
            path=row["path"],
            day=row[f"partition.{self._partition}"],
            rows=row["num_records"],
            size_bytes=row["size_bytes"],
            min_us=None if low is None else to_us(low),
            max_us=None if high is None else to_us(high),
            added_ms=row["modification_time"],
        )

    @contextmanager
    def _library(self, *, overtaken_is_fine: bool = False) -> Iterator[None]:
        """Translate what `deltalake` raises into the tree; of a commit that another overtook nothing, where asked."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except (DeltaError, OSError) as error:
            if overtaken_is_fine and isinstance(error, CommitFailedError):
                return
            # It writes its causes below each other, with a terminal's colours.
            said = " ".join(_COLOURS.sub("", str(error)).split())
            if no_room(error):
                raise StorageFull(
                    f"no room for the traffic log in {self._place.uri}: {said}. Free some space there"
                ) from error
            raise TrafficError(f"the traffic log in {self._place.uri} cannot be used: {said}") from error

    def _checkpointed(self) -> int:
        found = self._place.read(_LAST_CHECKPOINT)
        return -1 if found is None else int(json.loads(found)["version"])

    def _actions(self, version: int) -> list[dict[str, Any]] | None:
        found = self._place.read(_entry(version))
        return None if found is None else [json.loads(line) for line in found.splitlines() if line.strip()]

    def _apply(self, version: int, actions: Sequence[Mapping[str, Any]]) -> None:
        if any("metaData" in action or "protocol" in action for action in actions):
            self._reopen()
            return
        for action in actions:
            if (add := action.get("add")) is not None:
                file = self._file_added(add)
                self.files[file.path] = file
            elif (remove := action.get("remove")) is not None:
                self.files.pop(urllib.parse.unquote(remove["path"]), None)
            elif (transaction := action.get("txn")) is not None:
                self._transactions[transaction["appId"]] = transaction["version"]
        self.version = version

    def _file_added(self, add: Mapping[str, Any]) -> DataFile:
        stats = json.loads(add.get("stats") or "{}")
        low, high = (stats.get(key, {}).get(self.time) for key in ("minValues", "maxValues"))
        return DataFile(
            path=urllib.parse.unquote(add["path"]),
            day=dt.date.fromisoformat(add["partitionValues"][self._partition]),
            rows=stats.get("numRecords", 0),
            size_bytes=add["size"],
            min_us=None if low is None else to_us(dt.datetime.fromisoformat(low)),
            max_us=None if high is None else to_us(dt.datetime.fromisoformat(high)),
            added_ms=add.get("modificationTime"),
        )

    def _write_day(self, day: dt.date, frame: pl.DataFrame) -> DataFile:
        path = f"{self._partition}={day.isoformat()}/part-{uuid.uuid4()}.parquet"
        times = frame.get_column(self.time).to_physical()
        body = io.BytesIO()
        frame.write_parquet(body, compression="lz4", statistics=frame.height > 10_000)
        self._place.write(path, body.getbuffer())
        return DataFile(
            path=path,
            day=day,
            rows=frame.height,
            size_bytes=body.getbuffer().nbytes,
            min_us=int(times.min()),  # type: ignore[arg-type]
            max_us=int(times.max()),  # type: ignore[arg-type]
        )

    def _commit_actions(
        self,
        add: Sequence[DataFile],
        remove: Sequence[DataFile],
        transactions: Mapping[str, int],
        at_ms: int,
        operation: str,
    ) -> Iterable[dict[str, Any]]:
        changes = operation != "OPTIMIZE"
        yield {"commitInfo": {"timestamp": at_ms, "operation": operation, "engineInfo": "everloop"}}
        for application, version in sorted(transactions.items()):
            yield {"txn": {"appId": application, "version": version, "lastUpdated": at_ms}}
        for file in remove:
            yield {
                "remove": {
                    "path": file.path,
                    "deletionTimestamp": at_ms,
                    "dataChange": changes,
                    "extendedFileMetadata": True,
                    "partitionValues": {self._partition: file.day.isoformat()},
                    "size": file.size_bytes,
                }
            }
        for file in add:
            yield {
                "add": {
                    "path": file.path,
                    "partitionValues": {self._partition: file.day.isoformat()},
                    "size": file.size_bytes,
                    "modificationTime": at_ms,
                    "dataChange": changes,
                    "stats": json.dumps(self._stats(file), separators=(",", ":")),
                }
            }

    def _stats(self, file: DataFile) -> dict[str, Any]:
        stats: dict[str, Any] = {"numRecords": file.rows}
        if file.min_us is not None and file.max_us is not None:
            stats["minValues"] = {self.time: _stat_time(file.min_us)}
            # Readers may take the maximum as it stands: round it up.
            stats["maxValues"] = {self.time: _stat_time(file.max_us + 999)}
            stats["nullCount"] = {self.time: 0}
        return stats


def _entry(version: int) -> str:
    return f"_delta_log/{version:020}.json"


def _stat_time(us: int) -> str:
    at = from_us(us - us % 1000)
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
