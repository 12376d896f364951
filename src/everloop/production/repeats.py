"""Ids that a file has more than once: as often as one likes with the same content, never with other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from everloop.production.history_rows import Problem

__all__ = ["Repeats", "repeats"]

_IDS_AT_ONCE: Final = 2_000_000
_ROW: Final = "__row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """What a file repeats.

    ids: those that come with different rows; none of them is imported. surplus: the places, from 0, of rows that say
    again what an earlier one says.
    """

    ids: pl.Series = field(default_factory=lambda: pl.Series("id", [], dtype=pl.String))
    surplus: pl.Series = field(default_factory=lambda: pl.Series("row", [], dtype=pl.UInt32))
    problems: tuple[Problem, ...] = ()

    def among(self, ids: pl.Series, places: pl.Series) -> pl.Series:
        """Which rows are not to be imported, by their ids and places in the file, shape (n,), bool."""
        differing = ids.is_in(self.ids.implode()).fill_null(False)
        return differing | places.cast(pl.UInt32).is_in(self.surplus.implode())


def repeats(rows: pl.LazyFrame, identity: str, *, ids_at_once: int = _IDS_AT_ONCE) -> Repeats:
    """Look all of a file's rows through for ids that stand for different rows.

    The file is read once for every so many ids, a part of them at a time, so that they need not all be in memory.
    """
    count = rows.select(pl.len()).collect(engine="streaming").item()
    parts = max(1, -(-count // ids_at_once))
    ids = pl.col(identity).cast(pl.String)
    marked = rows.with_row_index(_ROW).select(
        _ROW, id=ids, content=pl.struct(pl.exclude(_ROW)).hash(), part=ids.hash() % parts
    )
    found = [_repeated(marked.filter(pl.col("part") == part)) for part in range(parts)]
    every = pl.concat(found)
    surplus = every.filter(pl.col("contents") == 1)["rest"].explode().drop_nulls()
    odd = every.filter(pl.col("contents") > 1).sort("second")
    if odd.height == 0:
        return Repeats(surplus=surplus)
    first, second, rows_of = odd["first"][0] + 1, odd["second"][0] + 1, int(odd["rows"].sum())
    many = "an id" if odd.height == 1 else f"{odd.height:,} ids"
    what = f"column {identity!r} has {many} with different rows, such as row {first},"
    problem = Problem(column=identity, what=what, rows=rows_of, row=second, value=odd["id"][0])
    return Repeats(ids=odd["id"], surplus=surplus, problems=(problem,))


def _repeated(marked: pl.LazyFrame) -> pl.DataFrame:
    row = pl.col(_ROW).sort()
    by_id = marked.group_by("id").agg(
        rows=pl.len(), contents=pl.col("content").n_unique(), first=row.first(), second=row.last(), rest=row.slice(1)
    )
    again = by_id.filter((pl.col("rows") > 1) & pl.col("id").is_not_null())
    return again.select("id", "rows", "contents", "first", "second", "rest").collect(engine="streaming")
