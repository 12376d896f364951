"""From a Polars expression to our nodes: what is on the list is translated, everything else is refused by name."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from everloop.clock import to_us
from everloop.data.column import Column, polars_type
from everloop.data.contract import Contract
from everloop.data.node import Node, columns_of, expression
from everloop.errors import FeatureRefused
from everloop.project import did_you_mean

__all__ = ["EVENT_TIME", "columns_read", "translate"]

EVENT_TIME: Final = "event_time"

_GROUPS: Final = frozenset({"Boolean", "Pow", "Trigonometry", "TemporalExpr", "StringExpr"})
_BINARY: Final[Mapping[str, str]] = {
    "Plus": "add", "Minus": "sub", "Multiply": "mul", "TrueDivide": "div", "FloorDivide": "floordiv",
    "Modulus": "mod", "Eq": "eq", "NotEq": "ne", "Lt": "lt", "LtEq": "le", "Gt": "gt", "GtEq": "ge",
    "EqValidity": "eq_missing", "NotEqValidity": "ne_missing", "And": "and", "Or": "or", "Xor": "xor",
    "LogicalAnd": "and", "LogicalOr": "or",
}  # fmt: skip
_SIMPLE: Final[Mapping[str, str]] = {
    "Abs": "abs", "Log1p": "log1p", "Exp": "exp", "Pow.Sqrt": "sqrt", "Pow.Cbrt": "cbrt", "Pow.Generic": "pow",
    "Floor": "floor", "Ceil": "ceil", "Sign": "sign", "Negate": "neg", "Boolean.Not": "not", "FillNull": "fill_null",
    "Boolean.IsNull": "is_null", "Boolean.IsNotNull": "is_not_null", "Boolean.IsNan": "is_nan",
    "Boolean.IsNotNan": "is_not_nan", "Boolean.IsFinite": "is_finite", "Boolean.IsInfinite": "is_infinite",
    "Boolean.AllHorizontal": "all", "Boolean.AnyHorizontal": "any", "Coalesce": "coalesce",
    "MinHorizontal": "min", "MaxHorizontal": "max", "Atan2": "atan2",
    "StringExpr.LenChars": "length", "StringExpr.LenBytes": "length_bytes", "StringExpr.Lowercase": "lowercase",
    "StringExpr.Uppercase": "uppercase", "StringExpr.StartsWith": "starts_with", "StringExpr.EndsWith": "ends_with",
    "StringExpr.Slice": "slice",
    **{f"Trigonometry.{name.title().replace('Arc', 'Arc')}": name for name in ("sin", "cos", "tan", "sinh", "cosh")},
    "Trigonometry.Tanh": "tanh", "Trigonometry.ArcSin": "arcsin", "Trigonometry.ArcCos": "arccos",
    "Trigonometry.ArcTan": "arctan", "Trigonometry.ArcSinh": "arcsinh", "Trigonometry.ArcCosh": "arccosh",
    "Trigonometry.ArcTanh": "arctanh", "Trigonometry.Degrees": "degrees", "Trigonometry.Radians": "radians",
}  # fmt: skip
_PARTS: Final[Mapping[str, str]] = {
    "Year": "year", "Quarter": "quarter", "Month": "month", "Week": "week", "WeekDay": "weekday", "Day": "day",
    "OrdinalDay": "ordinal_day", "Hour": "hour", "Minute": "minute", "Second": "second",
}  # fmt: skip
_TOTALS: Final[Mapping[str, str]] = {
    "TotalDays": "total_days", "TotalHours": "total_hours", "TotalMinutes": "total_minutes",
    "TotalSeconds": "total_seconds", "TotalMilliseconds": "total_milliseconds",
}  # fmt: skip
_NUMERIC: Final = frozenset(
    {"add", "sub", "mul", "div", "floordiv", "mod", "pow", "abs", "neg", "clip", "sum", "mean", "min", "max", "sign"}
)
_CASTS: Final[Mapping[str, str]] = {
    "Float64": "float", "Float32": "float32", "Boolean": "bool",
    **{f"{sign}Int{bits}": "int" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}  # fmt: skip
_TICKS: Final[Mapping[str, int]] = {"Nanoseconds": 1_000, "Microseconds": 1, "Milliseconds": 1}
_ACROSS: Final = frozenset({
    "Agg", "Over", "Rolling", "Len", "Shift", "CumSum", "CumProd", "CumMin", "CumMax", "CumCount", "Diff", "Rank",
    "RollingExpr", "Sort", "SortBy", "Gather", "Filter", "Explode", "Slice", "Interpolate", "FillNullWithStrategy",
    "Random", "Unique", "Reverse", "PctChange", "EwmMean", "EwmStd", "EwmVar", "Mode", "Hist", "Boolean.IsUnique",
    "Boolean.IsDuplicated", "Boolean.IsFirstDistinct", "Boolean.IsLastDistinct", "Boolean.Any", "Boolean.All",
})  # fmt: skip
_READABLE: Final = frozenset({"feature", "input", "time", "entity", "segment"})


def translate(expr: pl.Expr, *, feature: str, contract: Contract) -> Node:
    """The expression as our nodes, checked against the contract's columns.

    Raises FeatureRefused naming the feature and the node: what looks across rows (aggregates, `over`, `shift`),
    Python functions, random numbers, columns a prediction does not have, results that are no number.
    """
    translator = _Translator(feature, contract)
    node = translator.node(_serialised(expr, feature))
    if not columns_of(node):
        raise translator.refused("a constant", "it reads no column; a feature says something about its row")
    translator.check_result(node)
    return node


def columns_read(exprs: Iterable[pl.Expr]) -> frozenset[str]:
    """The columns that the expressions name, whatever else is in them."""
    return frozenset(name for expr in exprs for name in expr.meta.root_names())


def _serialised(expr: pl.Expr, feature: str) -> Any:
    """Polars' own JSON of the expression; only looked at, never given back to Polars."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return json.loads(expr.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise FeatureRefused(f"feature {feature!r} cannot be looked into: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _function(found: Any) -> tuple[str, Any]:
    """`{"Boolean": {"IsBetween": {...}}}` → (`Boolean.IsBetween`, {...})."""
    if isinstance(found, str):
        return found, None
    ((name, inner),) = found.items()
    if name in _GROUPS:
        rest, parameters = _function(inner)
        return f"{name}.{rest}", parameters
    return name, inner


def _spoken(name: str) -> str:
    """`Boolean.IsUnique` → `is_unique`: the name people write."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2]).lower()


def _series(literal: Mapping[str, Any]) -> list[Any] | None:
    """The values of a literal list: Arrow IPC bytes, which carry data only."""
    data = literal.get("Series")
    if data is None and isinstance(literal.get("Scalar"), dict):
        data = literal["Scalar"].get("List")
    if data is None:
        return None
    values: list[Any] = pl.read_ipc_stream(io.BytesIO(bytes(data))).to_series().to_list()
    return values


class _Translator:
    """One expression on its way to nodes: knows its name and contract, for the sentences."""

    def __init__(self, feature: str, contract: Contract) -> None:
        self._feature = feature
        self._contract = contract
        kept = {column.name: polars_type(column) for column in contract.columns}
        self._schema: dict[str, pl.DataType] = kept | {EVENT_TIME: pl.Datetime("us", "UTC")}

    def refused(self, what: str, why: str) -> FeatureRefused:
        return FeatureRefused(f"feature {self._feature!r} uses {what}: {why}")

    def unknown(self, name: str) -> FeatureRefused:
        what = _spoken(name)
        if name in _ACROSS or name.partition(".")[0] in _ACROSS:
            return self.refused(
                f"`{what}`", "it looks across rows, and a row must get the same features alone and in a batch"
            )
        return self.refused(
            f"`{what}`",
            "it is not among the row-wise operations that can be served (arithmetic, comparison, "
            "when/then, parts of a time, texts, null handling); write it with those",
        )

    def node(self, tree: Any) -> Node:
        if isinstance(tree, str):
            raise self.unknown(tree)
        ((name, inner),) = tree.items()
        match name:
            case "Column":
                return self._column(inner)
            case "Alias":
                return self.node(inner[0])
            case "Literal":
                return self._literal(inner)
            case "BinaryExpr":
                return self._binary(inner)
            case "Ternary":
                parts = [self.node(inner[key]) for key in ("predicate", "truthy", "falsy")]
                return Node(op="if", args=tuple(parts))
            case "Cast":
                return self._cast(inner)
            case "Function":
                return self._call(inner)
            case "Agg":
                raise self.refused(
                    f"`{_spoken(next(iter(inner)))}`",
                    "it looks across rows, and a row must get the same features alone and in a batch",
                )
            case "AnonymousFunction":
                raise self.refused("a Python function", "what is served is data, not code; write it with expressions")
            case "Selector":
                raise self.refused("a choice of several columns", "yield one named expression per column")
        raise self.unknown(name)

    def _column(self, name: str) -> Node:
        if name == EVENT_TIME:
            return Node(op="column", name=name)
        readable = [column.name for column in self._contract.columns if column.role in _READABLE]
        if name not in self._contract.names:
            hint = did_you_mean(name, readable) or f"; it has {', '.join(readable)}"
            raise self.refused(f"column {name!r}", f"the contract does not have it{hint}")
        column = self._contract.column(name)
        self._refuse_role(column)
        if column.role == "time" and column.type == "datetime":
            return Node(op="column", name=EVENT_TIME)
        return Node(op="column", name=name)

    def _refuse_role(self, column: Column) -> None:
        if column.role in _READABLE:
            return
        if column.role == "ignored":
            raise self.refused(
                f"column {column.name!r}",
                "the contract ignores it; say `role: input` for it in contract.yaml if every prediction will have it",
            )
        why = {
            "target": "it is the target, which no prediction has",
            "outcome": "it is known only after the prediction",
            "weight": "it is a weight of training rows, which no prediction has",
            "id": "it is the row's id, which says nothing about the next row",
        }
        raise self.refused(f"column {column.name!r}", why[column.role])

    def _literal(self, literal: Mapping[str, Any]) -> Node:
        ((form, inner),) = literal.items()
        if form == "Dyn":
            return self._number(inner)
        if form == "Scalar" and isinstance(inner, dict):
            return self._scalar(inner)
        raise self.refused("a list as a value", "only numbers, texts, true, false and times can stand alone")

    def _number(self, inner: Mapping[str, Any]) -> Node:
        ((kind, value),) = inner.items()
        if value is None:
            raise self.refused("a literal that is not finite", "write None for what is missing")
        if kind == "Float":
            return Node(op="literal", value=float(value), kind="float")
        if not -(2**63) <= int(value) < 2**63:
            raise self.refused(f"the number {value}", "whole numbers are 64 bits wide")
        return Node(op="literal", value=int(value), kind="int")

    def _scalar(self, inner: Mapping[str, Any]) -> Node:
        ((kind, value),) = inner.items()
        if kind == "Null":
            return Node(op="literal", kind="null")
        if kind == "Boolean":
            return Node(op="literal", value=bool(value), kind="bool")
        if kind in ("String", "StringOwned"):
            return Node(op="literal", value=str(value), kind="string")
        if kind in ("Float64", "Float32"):
            return self._number({"Float": value})
        if re.fullmatch(r"U?Int\d+", kind):
            return self._number({"Int": value})
        if kind in ("Datetime", "DatetimeOwned"):
            return self._time(*value)
        raise self.refused(f"a literal of type {kind}", "allowed are numbers, texts, true, false, times and None")

    def _time(self, ticks: int, unit: str, timezone: str | None) -> Node:
        at_us = ticks // _TICKS[unit] * (1_000 if unit == "Milliseconds" else 1)
        if timezone is None:  # a naive time is meant in the model's time zone, like those of the data
            naive = datetime(1970, 1, 1) + timedelta(microseconds=at_us)  # noqa: DTZ001
            at_us = to_us(naive.replace(tzinfo=ZoneInfo(self._contract.timezone)).astimezone(UTC))
        return Node(op="literal", value=at_us, kind="datetime")

    def _binary(self, inner: Mapping[str, Any]) -> Node:
        op = _BINARY.get(inner["op"])
        if op is None:
            raise self.unknown(str(inner["op"]))
        return self._made(op, [self.node(inner["left"]), self.node(inner["right"])])

    def _made(self, op: str, args: Sequence[Node], **rest: Any) -> Node:
        """The node, with true and false as 1 and 0 where numbers are asked for."""
        if op in _NUMERIC:
            args = [Node(op="cast", args=(arg,), kind="int") if self._dtype(arg) == pl.Boolean else arg for arg in args]
        return Node(op=op, args=tuple(args), **rest)

    def _dtype(self, node: Node) -> pl.DataType:
        try:
            return pl.LazyFrame(schema=self._schema).select(expression(node).alias("x")).collect_schema()["x"]
        except pl.exceptions.PolarsError as error:
            raise self.refused(f"`{node.op}`", _first_line(error)) from error

    def _cast(self, inner: Mapping[str, Any]) -> Node:
        dtype: Any = inner["dtype"].get("Literal") if isinstance(inner["dtype"], dict) else inner["dtype"]
        kind = _CASTS.get(dtype) if isinstance(dtype, str) else None
        if kind is None:
            spoken = dtype if isinstance(dtype, str) else next(iter(dtype))
            raise self.refused(
                f"a cast to {spoken}", "numbers and Boolean are allowed; texts get their code as a column"
            )
        return Node(op="cast", args=(self.node(inner["expr"]),), kind=kind)

    def _call(self, inner: Mapping[str, Any]) -> Node:
        name, parameters = _function(inner["function"])
        inputs = inner["input"]
        if name in _SIMPLE:
            return self._made(_SIMPLE[name], [self.node(one) for one in inputs])
        if name.startswith("TemporalExpr."):
            return self._temporal(name.partition(".")[2], parameters, inputs)
        if name.startswith("StringExpr."):
            return self._text(name, parameters, inputs)
        match name:
            case "Log":
                return self._log(inputs)
            case "Round" if parameters["mode"] == "HalfToEven":
                return Node(op="round", args=(self.node(inputs[0]),), value=int(parameters["decimals"]))
            case "Clip":
                return self._clip(inputs, parameters)
            case "Boolean.IsBetween":
                args = [self.node(one) for one in inputs]
                return Node(op="between", args=tuple(args), kind=parameters["closed"].lower())
            case "Boolean.IsIn":
                return Node(op="is_in", args=(self.node(inputs[0]),), values=tuple(self._values(name, inputs[1])))
            case "SumHorizontal" | "MeanHorizontal" if parameters["ignore_nulls"]:
                return self._made(name.removesuffix("Horizontal").lower(), [self.node(one) for one in inputs])
            case "ReplaceStrict":
                return self._lookup(name, inputs)
        raise self.unknown(name)

    def _values(self, name: str, tree: Any) -> list[Any]:
        values = _series(tree["Literal"]) if isinstance(tree, dict) and "Literal" in tree else None
        if values is None or not all(value is None or isinstance(value, bool | int | float | str) for value in values):
            raise self.refused(f"`{_spoken(name)}` with something else than a list of values", "write the list out")
        return values

    def _lookup(self, name: str, inputs: Sequence[Any]) -> Node:
        if len(inputs) != 4:
            raise self.refused("`replace_strict` without a default", "an unknown value would fail; write default=None")
        return Node(
            op="lookup",
            args=(self.node(inputs[0]), self.node(inputs[3])),
            values=tuple(self._values(name, inputs[1])),
            results=tuple(self._values(name, inputs[2])),
        )

    def _log(self, inputs: Sequence[Any]) -> Node:
        base = self.node(inputs[1])
        if base.op != "literal" or not isinstance(base.value, int | float):
            raise self.refused("`log` with a base that is not a number", "write the base as a number")
        return Node(op="log", args=(self.node(inputs[0]),), value=float(base.value))

    def _clip(self, inputs: Sequence[Any], parameters: Mapping[str, bool]) -> Node:
        kind = {(True, True): "both", (True, False): "lower", (False, True): "upper"}.get(
            (parameters["has_min"], parameters["has_max"])
        )
        if kind is None:
            return self.node(inputs[0])
        return self._made("clip", [self.node(one) for one in inputs], kind=kind)

    def _temporal(self, name: str, parameters: Any, inputs: Sequence[Any]) -> Node:
        if name in _PARTS:
            tree, timezone = inputs[0], self._contract.timezone
            called = tree.get("Function") if isinstance(tree, dict) else None
            if called is not None and _function(called["function"])[0] == "TemporalExpr.ConvertTimeZone":
                timezone = _function(called["function"])[1]
                timezone = timezone["inner"] if isinstance(timezone, dict) else timezone
                tree = called["input"][0]
            kept = None if timezone == "UTC" else timezone
            return Node(op=_PARTS[name], args=(self.node(tree),), timezone=kept)
        if name in _TOTALS and not (isinstance(parameters, dict) and parameters.get("fractional")):
            return Node(op=_TOTALS[name], args=(self.node(inputs[0]),))
        if name == "TimeStamp" and parameters in ("Milliseconds", "Microseconds"):
            kind = "ms" if parameters == "Milliseconds" else "us"
            return Node(op="timestamp", args=(self.node(inputs[0]),), kind=kind)
        raise self.unknown(f"TemporalExpr.{name}")

    def _text(self, name: str, parameters: Any, inputs: Sequence[Any]) -> Node:
        args = [self.node(one) for one in inputs]
        given = args[1] if len(args) > 1 else Node(op="literal", kind="null")
        if name == "StringExpr.StripChars" and given == Node(op="literal", kind="null"):
            return Node(op="strip", args=(args[0],))
        if name == "StringExpr.Contains" and given.op == "literal" and isinstance(given.value, str):
            return Node(op="contains" if parameters["literal"] else "matches", args=(args[0],), value=given.value)
        raise self.unknown(name)

    def check_result(self, node: Node) -> None:
        """Refuses a result that is no number, and an operation that fails on a plain row."""
        dtype = self._dtype(node)
        if dtype == pl.Duration:
            raise self.refused("a span of time as its result", "end with .dt.total_seconds() or another total")
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise self.refused(f"a result of type {dtype}", "a feature is a number or true/false")
        probe = pl.DataFrame({name: _probe(dtype) for name, dtype in self._schema.items()}, schema=self._schema)
        try:
            probe.select(expression(node))
        except pl.exceptions.PolarsError as error:
            raise self.refused(f"`{node.op}`", f"it fails on a plain row: {_first_line(error)}") from error


def _probe(dtype: pl.DataType) -> list[Any]:
    """A missing, an empty and an ordinary value of a type."""
    if dtype == pl.Boolean:
        return [None, False, True]
    if dtype == pl.String:
        return [None, "", "a"]
    if dtype.is_temporal():
        return [None, datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 2, 29, 12, 30, tzinfo=UTC)]
    return [None, 0, 1]
