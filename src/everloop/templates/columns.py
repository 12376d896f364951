"""How templates find their way in a person's own file, and how they write what they found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from everloop.errors import DataError
from everloop.project import did_you_mean

__all__ = ["as_time", "asked_column", "days", "first_named", "indented", "quoted"]


def first_named(columns: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    """The column whose lower-case name stands first in `wanted`."""
    by_lower = {name.lower(): name for name in reversed(list(columns))}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def asked_column(asked: str, columns: Sequence[str], *, source: str) -> str:
    """The column that a person named. Raises DataError naming the likely one."""
    if asked not in columns:
        hint = did_you_mean(asked, columns) or f"; it has {', '.join(columns)}"
        raise DataError(f"{source} has no column {asked!r}{hint}")
    return asked


def as_time(time: str, schema: Mapping[str, Any]) -> pl.Expr:
    """The time column as a datetime, only to measure the span."""
    kind = schema[time]
    if kind.is_numeric():
        return pl.from_epoch((pl.col(time).cast(pl.Float64) * 1_000_000).cast(pl.Int64, strict=False), time_unit="us")
    if kind == pl.String:
        return pl.col(time).str.to_datetime(strict=False, time_unit="us", time_zone="UTC")
    return pl.col(time).cast(pl.Datetime("us"))


def days(span: timedelta) -> str:
    """A span for people, in days, hours or minutes."""
    count = span / timedelta(days=1)
    if count >= 2.5:
        return f"{count:.0f} days"
    return f"{count * 24:.0f} hours" if count * 24 >= 2 else f"{count * 24 * 60:.0f} minutes"


def quoted(text: str) -> str:
    """A path or a column's name as YAML: in quotes where it holds more than letters."""
    return text if re.fullmatch(r"[A-Za-z_]\w*", text) else "'" + text.replace("'", "''") + "'"


def indented(lines: Sequence[str]) -> str:
    """The lines that are not empty, two spaces in."""
    return "\n".join("  " + line for line in lines if line)
