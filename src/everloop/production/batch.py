"""A batch: what is new, scored block by block into files of the run's folder, each with all that follows needs.

Nothing outside of the run's folder is touched here. The manifest is written last: once it is there, the batch goes on
from these files wherever it is broken off, and what was scored is scored once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from everloop.bundle import Bundle
from everloop.data import EVENT_TIME, conform, refuse_columns, row_reasons
from everloop.errors import ContractViolation, DataError, StorageFull, no_room
from everloop.ids import PREDICTION_ID
from everloop.ledger import RefusedInput, ScoredInput
from everloop.pages import write_whole
from everloop.production.inputs import Input, read_input, row_key
from everloop.production.seen_ids import SeenIds
from everloop.tasks import get_task

__all__ = ["BLOCK_ROWS", "MANIFEST", "Batch", "Part", "read_batch", "result_columns", "score_inputs"]

MANIFEST: Final = "batch.json"
BLOCK_ROWS: Final = 65_536
_PART_ROWS: Final = 4 * BLOCK_ROWS
_ROW: Final = "__row"
_REASON: Final = "__reason"
_UTC: Final = pl.Datetime("us", "UTC")
_ODD: Final = pl.lit("its id is not 1 to 64 of A-Z a-z 0-9 . _ : -")
_REPEATED: Final = pl.lit("its id is that of an earlier row of the file")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the batch: its name in the run's folder, and how many rows it has."""

    file: str
    rows: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that was scored and lies in its run's folder. id: of the run that scored it. as_of: UTC, of the scores.

    parts, rejects: files of rows that were scored, and of those that were not. revision: of the routing. positives:
    rows decided positive, None where nothing is decided.
    """

    id: str
    model: str
    version: int
    revision: int
    source: str
    target: str
    as_of: datetime
    parts: list[Part] = msgspec.field(default_factory=list)
    rejects: list[Part] = msgspec.field(default_factory=list)
    inputs: list[ScoredInput] = msgspec.field(default_factory=list)
    refused: list[RefusedInput] = msgspec.field(default_factory=list)
    positives: int | None = None
    source_version: int | None = None

    @property
    def rows(self) -> int:
        """How many rows were scored."""
        return sum(one.rows for one in self.inputs)

    @property
    def rejected(self) -> int:
        """How many rows were not."""
        return sum(one.rejected for one in self.inputs)


def read_batch(folder: Path) -> Batch | None:
    """The batch that lies in a run's folder; None where none does."""
    path = folder / MANIFEST
    return msgspec.json.decode(path.read_bytes(), type=Batch) if path.exists() else None


def result_columns(bundle: Bundle) -> list[str]:
    """The columns of a result, in order: of a regression its quantiles in place of the decision."""
    told = ["decision"] if get_task(bundle.manifest.task).decides else list(bundle.quantiles)
    return ["id", EVENT_TIME, "score", *told, "version", "scored_at", "source"]


@dataclass(slots=True)
class _Files:
    """Frames as they come, written in files of some hundred thousand rows; a file's own can be taken back whole."""

    folder: Path
    part_rows: int
    parts: list[Part] = field(default_factory=list)
    _before: list[pl.DataFrame] = field(default_factory=list)
    _own: list[pl.DataFrame] = field(default_factory=list)
    _marked: int = 0

    def begin(self) -> None:
        """What comes now belongs to another file than what came before."""
        self._before += self._own
        self._own = []
        self._marked = len(self.parts)

    def add(self, frame: pl.DataFrame) -> None:
        """Take rows of the file that was begun."""
        if frame.height == 0:
            return
        self._own.append(frame)
        if sum(one.height for one in (*self._before, *self._own)) >= self.part_rows:
            # Rows of the files before go first, so that this file's can be taken back without them.
            if self._before:
                self._write(self._before)
                self._before = []
                self._marked = len(self.parts)
            if sum(one.height for one in self._own) >= self.part_rows:
                self._write(self._own)
                self._own = []

    def take_back(self) -> None:
        """Forget what came of the file that was begun."""
        for part in self.parts[self._marked :]:
            (self.folder.parent / part.file).unlink()
        del self.parts[self._marked :]
        self._own = []

    def end(self) -> list[Part]:
        """Write what is left; all the files."""
        self._write([*self._before, *self._own])
        self._before, self._own = [], []
        return self.parts

    def _write(self, frames: Sequence[pl.DataFrame]) -> None:
        if not frames:
            return
        frame = pl.concat(frames, how="diagonal_relaxed")
        path = self.folder / f"{len(self.parts) + 1:05}.parquet"
        draft = path.with_name(f".{path.name}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(draft, compression="zstd", compression_level=1)
            draft.replace(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            if no_room(error):
                raise _full(self.folder.parent, error) from error
            raise
        self.parts.append(Part(file=f"{self.folder.name}/{path.name}", rows=frame.height))


def _full(folder: Path, error: Exception) -> StorageFull:
    said = " ".join(str(error).split())
    return StorageFull(f"no room for what is scored in {folder}: {said:.200}. Free some space there")


def score_inputs(
    bundle: Bundle,
    plan: Batch,
    inputs: Iterable[Input],
    *,
    folder: Path,
    schema: pl.Schema | None,
    block_rows: int = BLOCK_ROWS,
    part_rows: int = _PART_ROWS,
) -> Batch:
    """Score the files into the run's folder; the batch, whose manifest is written when all is.

    plan: a batch without rows yet. schema: of the Delta table that the files belong to. A file that cannot be read, or
    lacks what the version reads, is refused; a row that breaks the contract is kept aside with its reason. part_rows: a
    file of the batch has about so many; no more are in memory. Raises StorageFull where there is no room for them.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in ("parts", "rejects"):
        shutil.rmtree(folder / name, ignore_errors=True)
    scored, rejects = _Files(folder / "parts", part_rows), _Files(folder / "rejects", part_rows)
    done: list[ScoredInput] = []
    refused = list(plan.refused)
    positives = 0
    for item in inputs:
        scored.begin()
        rejects.begin()
        counted = {"rows": 0, "rejected": 0, "positives": 0}
        try:
            for good, bad in _blocks(bundle, plan, item, schema, block_rows):
                scored.add(good)
                rejects.add(bad)
                counted["rows"] += good.height
                counted["rejected"] += bad.height
                counted["positives"] += int(good["decided"].sum())
            _refuse_moving(item)
        except (DataError, pl.exceptions.PolarsError, OSError) as error:
            if no_room(error):
                raise _full(folder, error) from error
            scored.take_back()
            rejects.take_back()
            refused.append(RefusedInput(name=item.name, sentence=_why(error)))
            continue
        positives += counted.pop("positives")
        done.append(ScoredInput(name=item.name, stamp=item.stamp, hash=item.hash, **counted))
    decides = get_task(bundle.manifest.task).decides
    batch = msgspec.structs.replace(
        plan,
        parts=scored.end(),
        rejects=rejects.end(),
        inputs=done,
        refused=refused,
        positives=positives if decides else None,
    )
    write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(batch), indent=1))
    return batch


def _why(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{said:.300}; it is looked at again the next time"


def _refuse_moving(item: Input) -> None:
    """A file that was written while it was read: what was read of it is not what it is."""
    path = Path(item.address)
    if item.hash and path.exists():
        stat = path.stat()
        if f"{stat.st_size}-{stat.st_mtime_ns}" != item.stamp:
            raise ContractViolation("it was changed while it was read; move files in whole, by renaming them")


def _blocks(
    bundle: Bundle, plan: Batch, item: Input, schema: pl.Schema | None, block_rows: int
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """A file's rows, a block at a time: those that were scored, and those that were not with their reason."""
    lazy, contract = read_input(item, schema), bundle.contract
    columns = lazy.collect_schema()
    known = _columns_to_read(bundle, columns)
    refuse_columns(columns, contract, source=item.name, names=known)
    key, first, column = row_key(plan.model, item), 0, contract.only("id")
    own, seen = column.name if column is not None and column.name in columns else None, SeenIds()
    for block in lazy.collect_batches(chunk_size=block_rows, maintain_order=True):
        places = pl.int_range(first, first + block.height, eager=True)
        ids = _ids(block, own, key, places)
        reasons = row_reasons(block, contract, names=known)
        if own is not None:  # ids that follow from the place are right, and no two the same
            reasons = _with_id_reasons(reasons, ids, seen)
        numbered = block.with_columns(ids.alias("__id"), reasons.alias(_REASON), places.alias(_ROW))
        first += block.height
        broken = reasons.is_not_null()
        kept = numbered.filter(~broken) if broken.any() else numbered
        good, unscored = _scored(bundle, plan, item, kept, known)
        bad = pl.concat([numbered.filter(broken), unscored])
        yield good, _rejected(plan, item, bad)


def _columns_to_read(bundle: Bundle, columns: pl.Schema) -> list[str]:
    """The contract's columns that the file has, and those that the version reads."""
    read, time = set(bundle.features.columns), bundle.contract.only("time")
    if time is not None and EVENT_TIME in read:
        read.add(time.name)
    return [name for name in bundle.contract.names_at_prediction() if name in columns or name in read]


def _ids(block: pl.DataFrame, own: str | None, key: str, places: pl.Series) -> pl.Series:
    """Each row's id: its own, from the column `own`, else one that follows from the file and its place there."""
    made = pl.select(pl.concat_str(pl.lit(f"{key}-"), places.cast(pl.String))).to_series().alias("id")
    if own is None:
        return made
    return block[own].cast(pl.String).zip_with(block[own].is_not_null(), made).alias("id")


def _with_id_reasons(reasons: pl.Series, ids: pl.Series, seen: SeenIds) -> pl.Series:
    """Why a row is not scored, what its id gives cause for too; null where it is. The ids are seen then."""
    frame = pl.DataFrame({"broken": reasons, "id": ids, "repeated": seen.repeated(ids)})
    odd = ~pl.col("id").str.contains(rf"\A(?:{PREDICTION_ID})\z")
    return frame.select(pl.coalesce("broken", pl.when(odd).then(_ODD), pl.when("repeated").then(_REPEATED))).to_series()


def _scored(
    bundle: Bundle, plan: Batch, item: Input, kept: pl.DataFrame, known: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with all that was said of them and all it was said of; and those the version gives no number for."""
    if kept.height == 0:
        return pl.DataFrame(schema={"decided": pl.Boolean}), kept
    contract, now = bundle.contract, pl.Series([plan.as_of], dtype=_UTC)
    typed = conform(kept, contract, names=known)
    scores = bundle.score_frame(typed)
    times = typed[EVENT_TIME] if EVENT_TIME in typed.columns else now.new_from_index(0, kept.height)
    entity = contract.only("entity")
    columns: dict[str, Any] = {
        "id": kept["__id"],
        EVENT_TIME: times.fill_null(plan.as_of) if times.null_count() else times,
        "score": scores.score,
        "decided": scores.decision,
        "entity": typed[entity.name].cast(pl.String)
        if entity is not None and entity.name in typed.columns
        else pl.Series([None], dtype=pl.String).new_from_index(0, kept.height),
        "source": pl.Series([item.name], dtype=pl.String).new_from_index(0, kept.height),
    }
    if scores.quantiles is not None:
        columns |= {f"q_{name}": scores.quantiles[:, at] for at, name in enumerate(bundle.quantiles)}
    columns |= {f"in_{name}": typed[name] for name in typed.columns if name != EVENT_TIME}
    columns |= {f"f_{name}": scores.features[:, at] for at, name in enumerate(bundle.features.names)}
    finite = pl.Series(np.isfinite(scores.score))
    if finite.all():
        return pl.DataFrame(columns), kept.clear()
    none = f"v{plan.version} gives no number for this row"
    unscored = kept.filter(~finite).with_columns(pl.lit(none).alias(_REASON))
    return pl.DataFrame(columns).filter(finite), unscored


def _rejected(plan: Batch, item: Input, bad: pl.DataFrame) -> pl.DataFrame:
    """Rows that were not scored: where they are from, why, and what they held, as JSON."""
    inner = [name for name in bad.columns if name not in ("__id", _REASON, _ROW)]
    held = [msgspec.json.encode(row, enc_hook=str).decode() for row in bad.select(inner).iter_rows(named=True)]
    return pl.DataFrame(
        {
            "source": pl.Series([item.name] * bad.height, dtype=pl.String),
            "row": bad[_ROW].cast(pl.Int64) + 1,
            "id": bad["__id"],
            "reason": bad[_REASON],
            "held": pl.Series(held, dtype=pl.String),
            "version": pl.Series([plan.version] * bad.height, dtype=pl.Int32),
            "scored_at": pl.Series([plan.as_of] * bad.height, dtype=_UTC),
        }
    )
