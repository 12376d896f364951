"""Feature nodes: our own small tree of row-wise operations, and what each means in Polars.

Every operation here gives one value per row from that row alone, and never fails on a value: what cannot be
computed is missing. Inside a feature whole numbers are 64 bits wide and fractions are Float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Final

import msgspec
import polars as pl

from everloop.clock import from_us
from everloop.errors import DataError

__all__ = ["OPERATIONS", "Node", "Scalar", "check_node", "columns_of", "expression"]

Scalar = bool | int | float | str | None


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One operation over the values of one row.

    name: of a column. value: of a literal, or the operation's one number. kind: of a literal or a cast
    (float, int, bool, string, datetime, null), or a variant. values, results: of a list to look up.
    timezone: in which a part of a time is taken.
    """

    op: str
    args: tuple[Node, ...] = ()
    name: str | None = None
    value: bool | int | float | str | None = None
    kind: str | None = None
    values: tuple[bool | int | float | str | None, ...] | None = None
    results: tuple[bool | int | float | str | None, ...] | None = None
    timezone: str | None = None


Build = Callable[[Sequence[pl.Expr], Node], pl.Expr]

_KINDS: Final[Mapping[str, pl.DataType]] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
}


def _literal(_: Sequence[pl.Expr], node: Node) -> pl.Expr:
    if node.kind == "null" or node.value is None:
        return pl.lit(None)
    if node.kind == "datetime":
        return pl.lit(from_us(int(node.value)).astimezone(UTC), dtype=pl.Datetime("us", "UTC"))
    return pl.lit(node.value, dtype=_KINDS[node.kind or ""])


def _cast(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
    if node.kind == "float32":
        return args[0].cast(pl.Float32, strict=False).cast(pl.Float64)
    return args[0].cast(_KINDS[node.kind or ""], strict=False)


def _clip(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
    if node.kind == "lower":
        return args[0].clip(lower_bound=args[1])
    if node.kind == "upper":
        return args[0].clip(upper_bound=args[1])
    return args[0].clip(args[1], args[2])


def _code(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
    """The place of a text among the categories; null where it is none of them."""
    values = node.values or ()
    codes = [float(place) for place in range(len(values))]
    if not values:
        return pl.lit(None, dtype=pl.Float64)
    return args[0].replace_strict(list(values), codes, default=None, return_dtype=pl.Float64)


def _lookup(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
    return args[0].replace_strict(list(node.values or ()), list(node.results or ()), default=args[1])


def _spread(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
    """The divisor; where it reads no column, as a column of that number.

    Polars multiplies many rows by the reciprocal of one number, but divides a row that is alone: other bits.
    """
    dividend, divisor = node.args
    read = columns_of(dividend)
    if columns_of(divisor) or not read:
        return args[1]
    return args[1] + pl.col(read[0]).is_null().cast(pl.Int64) * 0


def _local(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
    return args[0] if node.timezone in (None, "UTC") else args[0].dt.convert_time_zone(node.timezone)


def _part(name: str) -> Build:
    def build(args: Sequence[pl.Expr], node: Node) -> pl.Expr:
        part: pl.Expr = getattr(_local(args, node).dt, name)()
        return part.cast(pl.Int64)

    return build


def _number_of(name: str, group: str | None = None) -> Build:
    """A method without options whose whole number is made 64 bits wide."""

    def build(args: Sequence[pl.Expr], _: Node) -> pl.Expr:
        holder = args[0] if group is None else getattr(args[0], group)
        found: pl.Expr = getattr(holder, name)()
        return found.cast(pl.Int64)

    return build


def _method(name: str, group: str | None = None) -> Build:
    def build(args: Sequence[pl.Expr], _: Node) -> pl.Expr:
        holder = args[0] if group is None else getattr(args[0], group)
        found: pl.Expr = getattr(holder, name)(*args[1:])
        return found

    return build


_PARTS: Final = (
    "year", "quarter", "month", "week", "weekday", "day", "ordinal_day", "hour", "minute", "second",
)  # fmt: skip
_TOTALS: Final = ("total_days", "total_hours", "total_minutes", "total_seconds", "total_milliseconds")
_ONE_ARGUMENT: Final = (
    "abs", "log1p", "exp", "sqrt", "cbrt", "floor", "ceil", "sign", "degrees", "radians",
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh",
    "is_null", "is_not_null", "is_nan", "is_not_nan", "is_finite", "is_infinite",
)  # fmt: skip


def _operations() -> dict[str, tuple[int | None, Build]]:
    """Each operation's number of arguments (None: any) and its meaning in Polars."""
    table: dict[str, tuple[int | None, Build]] = {
        "column": (0, lambda _, node: pl.col(node.name or "")),
        "literal": (0, _literal),
        "add": (2, lambda a, _: a[0] + a[1]),
        "sub": (2, lambda a, _: a[0] - a[1]),
        "mul": (2, lambda a, _: a[0] * a[1]),
        "div": (2, lambda a, node: a[0] / _spread(a, node)),
        "floordiv": (2, lambda a, node: a[0] // _spread(a, node)),
        "mod": (2, lambda a, node: a[0] % _spread(a, node)),
        "eq": (2, lambda a, _: a[0] == a[1]),
        "ne": (2, lambda a, _: a[0] != a[1]),
        "lt": (2, lambda a, _: a[0] < a[1]),
        "le": (2, lambda a, _: a[0] <= a[1]),
        "gt": (2, lambda a, _: a[0] > a[1]),
        "ge": (2, lambda a, _: a[0] >= a[1]),
        "eq_missing": (2, lambda a, _: a[0].eq_missing(a[1])),
        "ne_missing": (2, lambda a, _: a[0].ne_missing(a[1])),
        "and": (2, lambda a, _: a[0] & a[1]),
        "or": (2, lambda a, _: a[0] | a[1]),
        "xor": (2, lambda a, _: a[0] ^ a[1]),
        "not": (1, lambda a, _: ~a[0]),
        "neg": (1, lambda a, _: -a[0]),
        "log": (1, lambda a, node: a[0].log(float(node.value or 0))),
        "pow": (2, lambda a, _: a[0] ** a[1]),
        "atan2": (2, lambda a, _: pl.arctan2(a[0], a[1])),
        "round": (1, lambda a, node: a[0].round(int(node.value or 0))),
        "clip": (None, _clip),
        "fill_null": (2, lambda a, _: a[0].fill_null(a[1])),
        "between": (3, lambda a, node: a[0].is_between(a[1], a[2], closed=node.kind)),  # type: ignore[arg-type]
        "is_in": (1, lambda a, node: a[0].is_in(list(node.values or ()))),
        "if": (3, lambda a, _: pl.when(a[0]).then(a[1]).otherwise(a[2])),
        "cast": (1, _cast),
        "coalesce": (None, lambda a, _: pl.coalesce(*a)),
        "min": (None, lambda a, _: pl.min_horizontal(*a)),
        "max": (None, lambda a, _: pl.max_horizontal(*a)),
        "sum": (None, lambda a, _: pl.sum_horizontal(*a)),
        "mean": (None, lambda a, _: pl.mean_horizontal(*a)),
        "all": (None, lambda a, _: pl.all_horizontal(*a)),
        "any": (None, lambda a, _: pl.any_horizontal(*a)),
        "timestamp": (1, lambda a, node: a[0].dt.timestamp(node.kind)),  # type: ignore[arg-type]
        "length": (1, _number_of("len_chars", "str")),
        "length_bytes": (1, _number_of("len_bytes", "str")),
        "lowercase": (1, _method("to_lowercase", "str")),
        "uppercase": (1, _method("to_uppercase", "str")),
        "starts_with": (2, _method("starts_with", "str")),
        "ends_with": (2, _method("ends_with", "str")),
        "contains": (1, lambda a, node: a[0].str.contains(str(node.value), literal=True)),
        "matches": (1, lambda a, node: a[0].str.contains(str(node.value), literal=False)),
        "strip": (1, lambda a, _: a[0].str.strip_chars()),
        "slice": (3, _method("slice", "str")),
        "code": (1, _code),
        "lookup": (2, _lookup),
    }
    table |= {name: (1, _method(name)) for name in _ONE_ARGUMENT}
    table |= {name: (1, _part(name)) for name in _PARTS}
    table |= {name: (1, _number_of(name, "dt")) for name in _TOTALS}
    return table


OPERATIONS: Final[Mapping[str, tuple[int | None, Build]]] = _operations()


def check_node(node: Node) -> None:
    """Raises DataError where a node is not one of ours or has the wrong number of arguments."""
    if node.op not in OPERATIONS:
        raise DataError(f"feature node {node.op!r} is not known to this everloop; a newer one wrote it")
    wanted = OPERATIONS[node.op][0]
    if wanted is not None and len(node.args) != wanted:
        raise DataError(f"feature node {node.op!r} has {len(node.args)} arguments, not {wanted}")
    if wanted is None and not node.args:
        raise DataError(f"feature node {node.op!r} has no arguments")
    for arg in node.args:
        check_node(arg)


def expression(node: Node) -> pl.Expr:
    """The node's meaning in Polars: the reference that every faster way is held against."""
    return OPERATIONS[node.op][1]([expression(arg) for arg in node.args], node)


def columns_of(node: Node) -> tuple[str, ...]:
    """The columns a node reads, each once, in order."""
    found = [] if node.name is None else [node.name]
    for arg in node.args:
        found += columns_of(arg)
    return tuple(dict.fromkeys(found))
