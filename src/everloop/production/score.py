"""Batch scoring: a file or folder of rows in, a Parquet file with score, decision and version out; in blocks, so that
the rows may be many more than fit into memory. A regression gives its quantiles in place of a decision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from everloop.bundle import Bundle, Scores
from everloop.data import EVENT_TIME, conform, local_files, refuse_violations, scan
from everloop.errors import ContractViolation, NotEnoughData, UsageError
from everloop.tasks import get_task

__all__ = ["BLOCK_ROWS", "ScoredFile", "score_file"]

BLOCK_ROWS = 65_536
OTHER_KINDS = (".csv", ".tsv", ".json", ".jsonl", ".xlsx")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFile:
    """What was written. rows: how many; positives: how many were decided positive, None where nothing is decided."""

    path: str
    rows: int
    positives: int | None
    version: int

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        positives = {} if self.positives is None else {"positives": self.positives}
        return {"path": self.path, "rows": self.rows, **positives, "version": self.version}


def score_file(
    bundle: Bundle, version: int, source: str, target: Path, *, root: Path, block_rows: int = BLOCK_ROWS
) -> ScoredFile:
    """Score `source` (CSV, Parquet, Delta; local or s3://) by a version as it is served, into `target`.

    The file's own columns stay, and `score` (float32), `decision` (the label) and `version` come to them; of a
    regression `score`, each quantile under its name, such as `p10`, and `version`. The same row gets the same bytes as
    at the endpoint. Written whole or not at all.
    Raises ContractViolation naming the column, UsageError where the result may not go there; no file is left behind.
    """
    lazy = scan(source, root=root)
    schema = lazy.collect_schema()
    added = _added(bundle)
    taken = [name for name in added if name in schema]
    if taken:
        raise UsageError(
            f"{source} already has a column {taken[0]!r}, which the result would hold; rename or drop it first"
        )
    _refuse_missing(bundle, list(schema), source)
    _refuse_place(source, target, root=root)
    counts = {"rows": 0, "positives": 0}
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _write(_scored(bundle, version, lazy, source, counts, block_rows), pl.Schema({**schema, **added}), draft)
        if counts["rows"] == 0:
            raise NotEnoughData(f"{source} has no rows to score")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    positives = counts["positives"] if _decides(bundle) else None
    return ScoredFile(path=str(target), rows=counts["rows"], positives=positives, version=version)


def _decides(bundle: Bundle) -> bool:
    return get_task(bundle.manifest.task).decides


def _added(bundle: Bundle) -> dict[str, pl.DataType]:
    """The columns that come to a file's own, in order."""
    told = {"decision": pl.String()} if _decides(bundle) else dict.fromkeys(bundle.quantiles, pl.Float32())
    return {"score": pl.Float32(), **told, "version": pl.Int32()}


def _refuse_missing(bundle: Bundle, names: list[str], source: str) -> None:
    read = set(bundle.features.columns)
    time = bundle.contract.only("time")
    if time is not None and EVENT_TIME in read:
        read.add(time.name)
    missing = [name for name in bundle.contract.names_at_prediction() if name in read and name not in names]
    if missing:
        raise ContractViolation(
            f"{source} lacks {', '.join(missing)}, which the version reads; it has {', '.join(names[:40])}"
        )


def _refuse_place(source: str, target: Path, *, root: Path) -> None:
    """Where the result may not go: over its own source, into a folder's place or one that is not there."""
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name the file in it, as in {target / 'scored.parquet'}")
    if target.suffix.lower() in OTHER_KINDS:
        raise UsageError(f"{target} would be a Parquet file; name it so, as in {target.with_suffix('.parquet')}")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent} for {target.name}; make it, or name another")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"{target.name} may not be written into {target.parent} by this user; name another folder")
    if target.exists() and any(target.samefile(file) for file in local_files(source, root=root)):
        raise UsageError(f"{target} is what is to be scored, and would be overwritten; name another file")


def _scored(
    bundle: Bundle, version: int, lazy: pl.LazyFrame, source: str, counts: dict[str, int], block_rows: int
) -> Iterator[pl.DataFrame]:
    """The blocks with their new columns, one at a time."""
    contract = bundle.contract
    for block in lazy.collect_batches(chunk_size=block_rows, maintain_order=True):
        known = [name for name in contract.names_at_prediction() if name in block.columns]
        refuse_violations(block, contract, source=source, names=known)
        scores = bundle.score_frame(conform(block, contract, names=known))
        counts["rows"] += block.height
        counts["positives"] += int(scores.decision.sum())
        yield block.with_columns(
            pl.Series("score", scores.score),
            *_told(bundle, scores),
            pl.lit(version, dtype=pl.Int32).alias("version"),
        )


def _told(bundle: Bundle, scores: Scores) -> list[pl.Series]:
    """What comes beside a score: decisions, or quantiles, or nothing."""
    if _decides(bundle):
        labels = pl.Series([bundle.label(False), bundle.label(True)], dtype=pl.String)
        return [labels.gather(scores.decision.astype(np.uint32)).alias("decision")]
    if scores.quantiles is None:
        return []
    return [
        pl.Series(name, np.ascontiguousarray(scores.quantiles[:, place])) for place, name in enumerate(bundle.quantiles)
    ]


def _write(blocks: Iterator[pl.DataFrame], schema: pl.Schema, path: Path) -> None:
    """Stream the blocks into one Parquet file."""
    from polars.io.plugins import register_io_source

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        yield from blocks

    frame = register_io_source(source, schema=schema)
    frame.sink_parquet(path, compression="zstd", compression_level=1, maintain_order=True)
