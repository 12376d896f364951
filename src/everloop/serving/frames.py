"""Decoded rows as a frame, quick for the few rows of a request."""

from __future__ import annotations

import polars as pl

from everloop.data import Decoded

__all__ = ["frame_of"]

# Measured with 33 columns, in microseconds, here against `Decoded.frame`: 200 : 650 for a row, 280 : 420 for 64 rows,
# 500 : 460 for 160 rows. A series costs 20 however short it is; a row handed over as a tuple costs 2.
_FEW_ROWS = 96
_UTC = pl.Datetime("us", "UTC")


def frame_of(decoded: Decoded) -> pl.DataFrame:
    """The same as `decoded.frame`, which is its slow twin."""
    if len(decoded.kept) > _FEW_ROWS:
        return decoded.frame
    schema = {name: pl.Int64() if dtype == _UTC else dtype for name, dtype in decoded.schema.items()}
    rows = list(zip(*(decoded.columns[name] for name in schema), strict=True))
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    for place, (name, dtype) in enumerate(decoded.schema.items()):
        if dtype == _UTC:
            frame.replace_column(place, frame[name].cast(_UTC))
    return frame
