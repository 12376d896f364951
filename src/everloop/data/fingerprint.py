"""A content hash of rows: the same rows in the same order give the same name, whatever file they came from."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

__all__ = ["rows_hash"]


def rows_hash(frame: pl.DataFrame) -> str:
    """Lower-case hexadecimal sha256 over column names, types, nulls and values; chunks do not matter."""
    total = hashlib.sha256(f"rows/1\x00{frame.height}".encode())
    for name in frame.columns:
        total.update(f"\x00{name}\x00{frame[name].dtype}\x00".encode())
        _feed(total, frame[name])
    return total.hexdigest()


def _feed(total: hashlib._Hash, values: pl.Series) -> None:
    total.update(np.packbits(values.is_null().to_numpy()).tobytes())
    dtype = values.dtype
    if dtype in (pl.Categorical, pl.Enum):
        values, dtype = values.cast(pl.String), pl.String()
    if dtype == pl.String:
        filled = values.fill_null("")
        total.update(filled.str.len_bytes().to_numpy().tobytes())
        total.update(str(filled.str.join("").item() if len(filled) else "").encode())
        return
    if dtype == pl.Boolean:
        total.update(np.packbits(values.fill_null(False).to_numpy()).tobytes())
        return
    plain = values.to_physical() if dtype.is_temporal() else values
    if not plain.dtype.is_numeric():
        raise TypeError(f"column {values.name!r} of type {dtype} has no content hash")
    total.update(np.ascontiguousarray(plain.fill_null(0).to_numpy()).tobytes())
