"""What batch scoring does beside its work, left out: a Polars scan, onnxruntime, a Parquet file.

A block of 65,536 rows at a time is read and written by Polars on its own threads; the graph scores spans of it, one
thread each on all cores, which was the quickest of what was tried (a session's own threads over the whole block, whole
blocks in threads, Polars' own `map_batches`), and the result is written as everloop's is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
from polars.io.plugins import register_io_source

BLOCK_ROWS, SPAN_ROWS = 65_536, 8_192

folder = Path(sys.argv[1])
request = json.loads((folder / "request.json").read_text())
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(request["graph"], options, providers=["CPUExecutionProvider"])
pool = ThreadPoolExecutor(os.cpu_count())
rows = pl.scan_parquet(folder / request["source"])
features = [
    *(pl.col(name) for name in request["columns"]),
    (pl.col("x4") * pl.col("x5")).alias("both"),
    (pl.col("x5") - pl.col("x6").abs()).alias("apart"),
]
positive = pl.col("score") >= pl.lit(request["threshold"], dtype=pl.Float32)


def scored(block: pl.DataFrame) -> pl.DataFrame:
    """The block with score, decision and version."""
    X = block.select(features).cast(pl.Float32).to_numpy(order="c")
    spans = [X[start : start + SPAN_ROWS] for start in range(0, len(X), SPAN_ROWS)]
    scores = list(pool.map(lambda span: session.run(["score"], {"input": span})[0], spans))
    return block.with_columns(pl.Series("score", np.concatenate(scores))).with_columns(
        pl.when(positive).then(pl.lit(request["positive"])).otherwise(pl.lit(request["negative"])).alias("decision"),
        pl.lit(request["version"], dtype=pl.Int32).alias("version"),
    )


def blocks(*_: Any) -> Iterator[pl.DataFrame]:
    """The blocks, scored one at a time."""
    for block in rows.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True):
        yield scored(block)


schema = rows.collect_schema() | {"score": pl.Float32(), "decision": pl.String(), "version": pl.Int32()}
result = register_io_source(blocks, schema=pl.Schema(schema))
result.sink_parquet(folder / request["target"], compression="zstd", compression_level=1, maintain_order=True)
