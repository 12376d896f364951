"""What a column holds: type, role, missing values, distinct values, range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

__all__ = ["ColumnSummary", "column_summaries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSummary:
    """One column of the source in numbers.

    missing: rows without a value (null or NaN); infinite: rows whose value is not finite.
    distinct: number of different values, of a streamed source approximate (± 10 %) above 100,000 rows; missing, also
    NaN, is not a value.
    minimum … maximum: of numbers and times as text ready to print, None for the rest.
    marks: of a text column that holds numbers otherwise the few values that are none, such as `n/a`.
    """

    name: str
    type: str
    role: str
    rows: int
    missing: int
    infinite: int
    distinct: int
    minimum: str | None
    median: str | None
    maximum: str | None
    marks: tuple[str, ...] = ()

    @property
    def missing_fraction(self) -> float:
        """Share of rows without a value, in [0, 1]."""
        return self.missing / self.rows if self.rows else 0.0


_EXACT_ROWS = 100_000
_MOST_MARKS = 5


def _missing(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    return (column.is_null() | column.is_nan()) if dtype.is_float() else column.is_null()


def _known(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


def _distinct(name: str, dtype: pl.DataType, *, exact: bool) -> pl.Expr:
    column = _known(name, dtype).drop_nulls()
    if exact:
        return column.n_unique()
    return (column.hash() if dtype.is_nested() else column).approx_n_unique()  # lists and structs have no estimate


def _marks(name: str) -> list[pl.Expr]:
    """Of a text column: rows that hold a number, and a few of the values that are none."""
    column = pl.col(name)
    number = column.cast(pl.Float64, strict=False).is_not_null()
    others = column.filter(~number).drop_nulls().unique().sort().head(_MOST_MARKS + 1)
    return [number.sum().alias(f"numbers:{name}"), others.implode().alias(f"marks:{name}")]


def _has_range(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal()


def _statistics(name: str, dtype: pl.DataType, *, exact: bool) -> list[pl.Expr]:
    wanted = [
        _missing(name, dtype).sum().alias(f"missing:{name}"),
        _distinct(name, dtype, exact=exact).alias(f"distinct:{name}"),
    ]
    if dtype.is_float():
        wanted.append(pl.col(name).is_infinite().sum().alias(f"infinite:{name}"))
    if dtype == pl.String:
        wanted += _marks(name)
    if _has_range(dtype):
        column = _known(name, dtype)
        wanted += [column.min().alias(f"minimum:{name}"), column.max().alias(f"maximum:{name}")]
    return wanted


def _median(name: str, dtype: pl.DataType) -> pl.Expr:
    return _known(name, dtype).median().alias(f"median:{name}")


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return str(value)[:19]


def column_summaries(
    lazy: pl.LazyFrame, *, rows: int, roles: Mapping[str, str], medians: pl.DataFrame | None = None
) -> tuple[ColumnSummary, ...]:
    """Every column in numbers, in the file's order; a column without a role is `ignored`.

    rows: how many the source has. medians: a sample to take medians from where the source is streamed; None takes them
    from every row.
    """
    schema = lazy.collect_schema()
    found: dict[str, object] = {}
    if schema:
        exact = medians is None or rows <= _EXACT_ROWS
        wanted = [e for name, dtype in schema.items() for e in _statistics(name, dtype, exact=exact)]
        middle = [_median(name, dtype) for name, dtype in schema.items() if _has_range(dtype)]
        if medians is None:
            found = lazy.select(wanted + middle).collect().row(0, named=True)
        else:
            found = lazy.select(wanted).collect(engine="streaming").row(0, named=True)
            found |= medians.select(middle).row(0, named=True)

    def count(what: str, name: str) -> int:
        value = found.get(f"{what}:{name}")
        return value if isinstance(value, int) else 0

    def marks(name: str) -> tuple[str, ...]:
        value = found.get(f"marks:{name}")
        few = value if isinstance(value, list) and len(value) <= _MOST_MARKS else []
        return tuple(few) if 2 * count("numbers", name) > rows - count("missing", name) else ()

    return tuple(
        ColumnSummary(
            name=name,
            type=str(dtype).split("(")[0].lower(),
            role=roles.get(name, "ignored"),
            rows=rows,
            missing=count("missing", name),
            infinite=count("infinite", name),
            # an estimate may say more than there are rows
            distinct=min(count("distinct", name), rows - count("missing", name)),
            minimum=_text(found.get(f"minimum:{name}")),
            median=_text(found.get(f"median:{name}")),
            maximum=_text(found.get(f"maximum:{name}")),
            marks=marks(name),
        )
        for name, dtype in schema.items()
    )
