"""What is new in a source that is scored in batch: files never scored before, or what was added to a Delta table.

A file is known again by its name, size and time; where those are others, by its content. A file that was changed after
it was scored is refused: which of its rows are new cannot be told. One with the content of a file that was scored is
that file, whatever its name. In object storage a file is known by its name and its number of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import polars as pl

from everloop.data import is_remote, local_files, scan, source_error
from everloop.errors import Refused, SourceError
from everloop.ledger import Ledger, RefusedInput, ScoredInput

__all__ = ["Input", "Known", "News", "known_inputs", "news", "read_input", "row_key", "table_schema"]

_ENDINGS: Final = (".parquet", ".csv", ".csv.gz", ".csv.zst", ".tsv")
# What rewrites files and adds no row.
_KEEPING: Final = frozenset({"OPTIMIZE", "DELETE", "REORG", "FSCK", "VACUUM START", "VACUUM END"})
_PATH: Final = "__file"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file to score. name: as people know it; address: where it is read. stamp, hash: as `ScoredInput` has them.

    partitions: of a Delta table's file, the values of columns that are not in it.
    """

    name: str
    address: str
    stamp: str
    hash: str = ""
    partitions: dict[str, Any] = msgspec.field(default_factory=dict)


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What is new. refused: files that are not scored, with why. version: of a Delta table, up to which this is."""

    inputs: list[Input] = msgspec.field(default_factory=list)
    refused: list[RefusedInput] = msgspec.field(default_factory=list)
    version: int | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What was scored of a source: name → file, content → name; and up to which version of a Delta table."""

    files: dict[str, ScoredInput] = msgspec.field(default_factory=dict)
    contents: dict[str, str] = msgspec.field(default_factory=dict)
    version: int | None = None
    refused: list[RefusedInput] = msgspec.field(default_factory=list)


def known_inputs(ledger: Ledger, model: str, source: str) -> Known:
    """What the ledger says was scored of this source of the model."""
    facts = [fact for fact in ledger.facts(kind="score.done", subject=model) if fact.payload["source"] == source]
    done = [msgspec.convert(one, ScoredInput) for fact in facts for one in fact.payload["inputs"]]
    last = facts[-1].payload if facts else {"source_version": None, "refused": []}
    return Known(
        files={one.name: one for one in done},
        contents={one.hash: one.name for one in done if one.hash},
        version=last["source_version"],
        refused=[msgspec.convert(one, RefusedInput) for one in last["refused"]],
    )


def news(source: str, known: Known, *, root: Path) -> News:
    """What is new in the source. Raises SourceError where it cannot be read, Refused where a table was rewritten."""
    table = _table(source, root=root)
    if table is not None:
        return _added(table, source, known)
    return _remote_files(source, known) if is_remote(source) else _local_files(source, known, root=root)


def row_key(model: str, item: Input) -> str:
    """What ids of a file's rows begin with, where the rows have none of their own: the same for the same file."""
    return hashlib.sha256(f"{model}\n{item.name}\n{item.hash}".encode()).hexdigest()[:16]


def read_input(item: Input, schema: pl.Schema | None) -> pl.LazyFrame:
    """A file's rows, unread. schema: of the Delta table it belongs to, whose other columns it has as nulls."""
    lazy = scan(item.address, root=Path())
    given = lazy.collect_schema()
    added = {name: pl.lit(value) for name, value in item.partitions.items()}
    if schema is not None:
        lacking = {name: pl.lit(None) for name in schema if name not in given and name not in added}
        added = {name: value.cast(schema[name]) for name, value in (added | lacking).items() if name in schema}
    return lazy.with_columns(**added) if added else lazy


def _local_files(source: str, known: Known, *, root: Path) -> News:
    if not is_remote(source) and not any(mark in source for mark in "*?[") and not (root / source).exists():
        raise SourceError(f"{source} does not exist; check the path (score.source in model.yaml)")
    found = News()
    contents = dict(known.contents)
    for path in sorted(set(local_files(source, root=root))):
        if path.name.startswith((".", "_")) or not path.name.lower().endswith(_ENDINGS):
            continue
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        _look(path, name, known, contents, found)
    return found


def _look(path: Path, name: str, known: Known, contents: dict[str, str], found: News) -> None:
    """Take a file up where it is new; `contents` and `found` grow by it."""
    stat, before = path.stat(), known.files.get(name)
    stamp = f"{stat.st_size}-{stat.st_mtime_ns}"
    if before is not None and before.stamp == stamp:
        return
    if stat.st_size == 0:
        found.refused.append(RefusedInput(name=name, sentence="it is empty; it is looked at again the next time"))
        return
    with path.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    if before is not None:
        if before.hash != content:
            found.refused.append(RefusedInput(name=name, sentence=_CHANGED))
        return
    if content in contents:
        return  # the same rows, moved or copied
    contents[content] = name
    found.inputs.append(Input(name=name, address=str(path.absolute()), stamp=stamp, hash=content))


_CHANGED: Final = (
    "it was changed after it was scored, and which of its rows are new cannot be told; put new rows into a file of "
    "their own"
)


def _remote_files(source: str, known: Known) -> News:
    ends = source.lower().endswith(_ENDINGS)
    address = source if ends or "*" in source else f"{source.rstrip('/')}/**/*.parquet"
    reader: Any = pl.scan_parquet if ".parquet" in address.lower() else pl.scan_csv
    try:
        rows = reader(address, include_file_paths=_PATH).group_by(_PATH).len().sort(_PATH).collect()
    except Exception as error:  # the store's errors are of every kind
        raise source_error(source, error) from error
    found = News()
    for name, count in rows.iter_rows():
        before, stamp = known.files.get(name), f"{count} rows"
        if before is None:
            found.inputs.append(Input(name=name, address=name, stamp=stamp))
        elif before.stamp != stamp:
            found.refused.append(RefusedInput(name=name, sentence=_CHANGED))
    return found


def _table(source: str, *, root: Path) -> Any:
    """The Delta table at a source, or None where there is none."""
    from deltalake import DeltaTable

    address = source if is_remote(source) else str((root / source).absolute())
    try:
        return DeltaTable(address) if DeltaTable.is_deltatable(address) else None
    except Exception as error:  # the store's errors are of every kind
        raise source_error(source, error) from error


def table_schema(source: str, *, root: Path) -> pl.Schema | None:
    """The columns of the Delta table at a source, or None where there is none."""
    table = _table(source, root=root)
    return None if table is None else pl.Schema(table.schema().to_arrow())


def _added(table: Any, source: str, known: Known) -> News:
    """What later versions added, and of the version that was read last what was refused then."""
    now = table.version()
    address = table.table_uri.rstrip("/")
    if known.version is None:
        return News(inputs=_files_of(_adds(table, now), address, now), version=now)
    if now < known.version:
        raise Refused(
            f"{source} is at version {now} and was scored up to version {known.version}: it was made anew, and which "
            "of its rows are new cannot be told. Give score.source another name for the new table"
        )
    inputs: list[Input] = []
    again = {one.name for one in known.refused if one.name not in known.files and one.sentence != _VANISHED}
    try:
        operations = (
            {entry["version"]: entry for entry in table.history(now - known.version)} if now > known.version else {}
        )
        before = _adds(table, known.version) if now > known.version or again else {}
        inputs += _files_of({path: row for path, row in before.items() if path in again}, address, known.version)
        for version in range(known.version + 1, now + 1):
            after = _adds(table, version)
            inputs += _new_files(before, after, operations.get(version, {}), address, version, source)
            before = after
    except (OSError, ValueError) as error:
        raise source_error(source, error) from error
    gone = sorted(again - {one.name for one in inputs})
    return News(inputs=inputs, refused=[RefusedInput(name=name, sentence=_VANISHED) for name in gone], version=now)


_VANISHED: Final = (
    "it was refused before, and the table has no file of this name any more; rows of it that are in another one are "
    "not scored: append them anew"
)


def _new_files(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    entry: Mapping[str, Any],
    address: str,
    version: int,
    source: str,
) -> list[Input]:
    """The files that a version added, unless it wrote old rows anew. Raises Refused where that cannot be told."""
    added = {path: row for path, row in after.items() if path not in before}
    if not before.keys() - after.keys():
        return _files_of(added, address, version)
    operation = str(entry.get("operation", "unknown"))
    if operation in _KEEPING:
        return []
    raise Refused(
        f"{source} was rewritten by {operation} in version {version}, and which of its rows are new cannot be told; "
        "append new rows to it, or give score.source another table"
    )


def _adds(table: Any, version: int) -> dict[str, dict[str, Any]]:
    """The files of a version of the table: path → what it says of them."""
    if table.version() != version:
        table.load_as_version(version)
    return {row["path"]: row for row in pl.DataFrame(table.get_add_actions(flatten=True)).iter_rows(named=True)}


def _files_of(rows: Mapping[str, Mapping[str, Any]], address: str, version: int) -> list[Input]:
    return [
        Input(
            name=path,
            address=f"{address.removeprefix('file://')}/{unquote(path)}",
            stamp=f"version {version}",
            partitions={
                name.removeprefix("partition."): value for name, value in row.items() if name.startswith("partition.")
            },
        )
        for path, row in sorted(rows.items())
    ]
