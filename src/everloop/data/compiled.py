"""The fast twin of a feature tree: plain Python over columns as the decoder gives them, for small batches.

A Polars frame and its expressions cost far more than the arithmetic of a few rows. Every operation here gives the
very bits of the reference in `tree.py` (the same libm, the same order, the same rules for null and NaN), and a test
holds it to that; what it does not have, or would give only nearly, is left to the reference, feature by feature.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.data.column import polars_type
from everloop.data.contract import Contract
from everloop.data.event_time import UTC_US
from everloop.data.node import Node, expression
from everloop.data.translate import EVENT_TIME
from everloop.data.tree import FeatureTree

__all__ = ["CompiledTree"]

Columns = Mapping[str, Sequence[Any]]
Column = list[Any]
Evaluate = Callable[[Columns], Column]

_KINDS: Final = {pl.Float64: "float", pl.Int64: "int", pl.Boolean: "bool", pl.String: "string", UTC_US: "datetime"}
_DAY_US: Final = 86_400_000_000


class CompiledTree:
    """A feature tree made ready for one contract; made once per bundle, then only called."""

    def __init__(self, tree: FeatureTree, contract: Contract) -> None:
        compiler = _Compiler(contract)
        self._plain: list[str] = []
        self._made: list[Evaluate] = []
        plain: list[int] = []
        made: list[int] = []
        rest: list[int] = []
        for place, node in enumerate(tree.nodes):
            if node.op == "column" and compiler.kind(node) in ("float", "int", "bool"):
                self._plain.append(node.name or "")
                plain.append(place)
                continue
            evaluate = compiler.compiled(node)
            if evaluate is None:
                rest.append(place)
            else:
                self._made.append(evaluate)
                made.append(place)
        places = [*plain, *made]
        # a slice is written in one go
        self._places: list[int] | slice = slice(None) if places == [*range(len(tree.names))] else places
        self._width = len(tree.names)
        self._rest = rest
        self._reference = tree.only(tree.names[place] for place in rest)
        self._schema = {name: compiler.schema[name] for name in self._reference.columns}
        self._categories = [(at, tree.nodes[at].args[0].name or "") for at in tree.categories()]
        self.slow_names = self._reference.names

    def matrix(self, columns: Columns, rows: int) -> np.ndarray:
        """The bits of `FeatureTree.matrix` for rows given by column: shape (rows, features), Float32, C order.

        columns: as `Decoded.columns`, None where missing, times in microseconds since 1970 UTC.
        """
        matrix = np.empty((rows, self._width), np.float32)
        if rows == 0:
            return matrix
        values = [columns[name] for name in self._plain] + [evaluate(columns) for evaluate in self._made]
        with np.errstate(over="ignore", invalid="ignore"):
            if values:
                # one array of all: a small one of its own for each feature would cost more than its arithmetic
                matrix[:, self._places] = np.array(values, dtype=np.float64).T
        if self._rest:
            matrix[:, self._rest] = self._reference.matrix(self._frame(columns))
        finite = np.isfinite(matrix)
        if not finite.all():
            matrix[~finite] = np.nan
        return matrix

    def unseen(self, columns: Columns, matrix: np.ndarray) -> dict[str, int]:
        """What `FeatureTree.unseen` counts, of rows given by column."""
        found: dict[str, int] = {}
        for at, name in self._categories:
            gone = np.flatnonzero(np.isnan(matrix[:, at]))
            rows = sum(columns[name][row] is not None for row in gone.tolist())
            found |= {name: rows} if rows else {}
        return found

    def _frame(self, columns: Columns) -> pl.DataFrame:
        series = []
        for name, dtype in self._schema.items():
            if dtype == UTC_US:
                whole = pl.Series(name, columns[name], dtype=pl.Int64).cast(pl.Datetime("us"))
                series.append(whole.dt.replace_time_zone("UTC"))
            else:
                series.append(pl.Series(name, columns[name], dtype=dtype))
        return pl.DataFrame(series)


def _wrapped(value: int) -> int:
    """A whole number in 64 bits, as Polars counts on past the end."""
    return (value + 2**63) % 2**64 - 2**63


def _div(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def _log(a: float) -> float:
    if a > 0:
        return math.log(a)
    return -math.inf if a == 0 else math.nan


def _log1p(a: float) -> float:
    if a > -1:
        return math.log1p(a)
    return -math.inf if a == -1 else math.nan


def _exp(a: float) -> float:
    try:
        return math.exp(a)
    except OverflowError:
        return math.inf


def _sqrt(a: float) -> float:
    return math.sqrt(a) if a >= 0 else math.nan


def _periodic(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda a: function(a) if math.isfinite(a) else math.nan


def _rounded(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda a: math.copysign(float(function(a)), a) if math.isfinite(a) else a


def _less(a: Any, b: Any) -> bool:
    """a < b where NaN is above everything and equal to itself, as Polars orders."""
    if a != a:
        return False
    return True if b != b else bool(a < b)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)


def _and(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


_floor: Final = _rounded(math.floor)
_OF_FLOAT: Final[Mapping[str, Callable[[float], Any]]] = {
    "abs": abs, "neg": operator.neg, "log1p": _log1p, "exp": _exp, "sqrt": _sqrt,
    "sin": _periodic(math.sin), "cos": _periodic(math.cos), "tanh": math.tanh, "arctan": math.atan,
    "floor": _floor, "ceil": _rounded(math.ceil),
    "is_nan": lambda a: a != a, "is_not_nan": lambda a: a == a, "is_finite": math.isfinite, "is_infinite": math.isinf,
}  # fmt: skip
_MADE_FLOAT: Final = frozenset({"log1p", "exp", "sqrt", "sin", "cos", "tanh", "arctan"})
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
}  # fmt: skip
_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": _equal, "ne": lambda a, b: not _equal(a, b), "lt": _less, "gt": lambda a, b: _less(b, a),
    "le": lambda a, b: not _less(b, a), "ge": lambda a, b: not _less(a, b),
}  # fmt: skip
_PART_OF_UTC: Final[Mapping[str, Callable[[int], int]]] = {
    "hour": lambda us: us // 3_600_000_000 % 24, "minute": lambda us: us // 60_000_000 % 60,
    "second": lambda us: us // 1_000_000 % 60, "weekday": lambda us: (us // _DAY_US + 3) % 7 + 1,
}  # fmt: skip
_OF_TEXT: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "starts_with": str.startswith, "ends_with": str.endswith,
}  # fmt: skip


def _each(function: Callable[[Any], Any], of: Evaluate) -> Evaluate:
    return lambda columns: [None if a is None else function(a) for a in of(columns)]


def _pairs(function: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda columns: [
        None if a is None or b is None else function(a, b) for a, b in zip(left(columns), right(columns), strict=True)
    ]


def _raw_pairs(function: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda columns: [function(a, b) for a, b in zip(left(columns), right(columns), strict=True)]


class _Compiler:
    """Nodes to functions over columns; None for what only the reference does exactly."""

    def __init__(self, contract: Contract) -> None:
        self.schema: dict[str, pl.DataType] = {
            **{column.name: polars_type(column) for column in contract.columns},
            EVENT_TIME: UTC_US,
        }
        self._any = next(iter(self.schema))

    def kind(self, node: Node) -> str | None:
        """float, int, bool, string or datetime; None for any other."""
        if node.op == "literal":
            return node.kind if node.kind != "null" else None
        dtype = pl.LazyFrame(schema=self.schema).select(expression(node).alias("x")).collect_schema()["x"]
        return next((kind for known, kind in _KINDS.items() if dtype == known), None)

    def compiled(self, node: Node) -> Evaluate | None:
        """The node as a function over columns."""
        if node.op == "column":
            return self._column(node.name or "", self.kind(node))
        if node.op == "literal":
            return self._literal(node.value)
        args = [self.compiled(arg) for arg in node.args]
        if any(arg is None for arg in args):
            return None
        kinds = [self.kind(arg) for arg in node.args]
        known = [arg for arg in args if arg is not None]
        for attempt in (self._of_one, self._of_two, self._choice, self._other):
            found = attempt(node, known, kinds)
            if found is not None:
                return found
        return None

    @staticmethod
    def _column(name: str, kind: str | None) -> Evaluate:
        if kind == "float":  # JSON may write 5 for 5.0
            return lambda columns: [None if value is None else float(value) for value in columns[name]]
        return lambda columns: list(columns[name])

    def _literal(self, value: Any) -> Evaluate:
        anything = self._any
        return lambda columns: [value] * len(columns.get(anything) or next(iter(columns.values())))

    @staticmethod
    def _floats(args: Sequence[Evaluate], kinds: Sequence[str | None]) -> list[Evaluate]:
        return [_each(float, arg) if kind == "int" else arg for arg, kind in zip(args, kinds, strict=True)]

    def _of_one(self, node: Node, args: Sequence[Evaluate], kinds: Sequence[str | None]) -> Evaluate | None:
        if len(args) != 1:
            return None
        op, kind, (arg,) = node.op, kinds[0], args
        if op in ("is_null", "is_not_null"):
            wanted = op == "is_null"
            return lambda columns: [(a is None) == wanted for a in arg(columns)]
        if op in _OF_FLOAT and (kind == "float" or (kind == "int" and op in _MADE_FLOAT)):
            return _each(_OF_FLOAT[op], self._floats(args, kinds)[0])
        if op in ("abs", "neg") and kind == "int":
            return _each((lambda a: _wrapped(abs(a))) if op == "abs" else (lambda a: _wrapped(-a)), arg)
        if op == "log" and kind in ("float", "int"):
            return self._logarithm(node, self._floats(args, kinds)[0])
        if op == "not" and kind == "bool":
            return _each(operator.not_, arg)
        if op in _PART_OF_UTC and kind == "datetime" and node.timezone is None:
            return _each(_PART_OF_UTC[op], arg)
        if kind == "string":
            return self._of_text(node, arg)
        if op == "is_in" and kind == "int" and node.values and all(type(value) is int for value in node.values):
            return _each(frozenset(node.values).__contains__, arg)
        return self._cast(node, arg, kind) if op == "cast" else None

    @staticmethod
    def _logarithm(node: Node, arg: Evaluate) -> Evaluate | None:
        base = float(node.value or 0)
        if base == math.e:
            return _each(_log, arg)
        if base <= 0 or base == 1:
            return None
        scale = math.log(base)
        return _each(lambda a: _log(a) / scale, arg)

    @staticmethod
    def _of_text(node: Node, arg: Evaluate) -> Evaluate | None:
        if node.op == "length":
            return _each(len, arg)
        if node.op == "contains":
            part = str(node.value)
            return _each(lambda a: part in a, arg)
        if node.op == "code":
            codes = {value: float(place) for place, value in enumerate(node.values or ())}
            return _each(codes.get, arg)
        if node.op == "is_in" and node.values and all(isinstance(value, str) for value in node.values):
            return _each(frozenset(node.values).__contains__, arg)
        return None

    @staticmethod
    def _cast(node: Node, arg: Evaluate, kind: str | None) -> Evaluate | None:
        if kind == node.kind:
            return arg
        if node.kind == "int" and kind == "bool":
            return _each(int, arg)
        if node.kind == "float" and kind in ("int", "bool"):
            return _each(float, arg)
        return None

    def _of_two(self, node: Node, args: Sequence[Evaluate], kinds: Sequence[str | None]) -> Evaluate | None:
        if len(args) != 2:
            return None
        op, numbers = node.op, set(kinds) <= {"float", "int"}
        if op in _ARITHMETIC and numbers:
            function = _ARITHMETIC[op]
            if set(kinds) == {"int"}:
                return _pairs(lambda a, b: _wrapped(function(a, b)), *args)
            return _pairs(function, *self._floats(args, kinds))
        if op == "div" and numbers:
            return _pairs(_div, *self._floats(args, kinds))
        if op in ("floordiv", "mod") and numbers:
            return self._remainder(node, args, kinds)
        if op in _COMPARED and (numbers or (kinds[0] == kinds[1] and kinds[0] is not None)):
            return _pairs(_COMPARED[op], *(self._floats(args, kinds) if len(set(kinds)) > 1 else args))
        if op in ("and", "or") and set(kinds) == {"bool"}:
            return _raw_pairs(_and if op == "and" else _or, *args)
        if op == "pow" and kinds[0] == "float" and node.args[1].op == "literal" and node.args[1].value == 2:
            return _each(lambda a: a * a, args[0])
        if op in _OF_TEXT and set(kinds) == {"string"}:
            return _pairs(_OF_TEXT[op], *args)
        if op == "fill_null" and kinds[0] == "float" and kinds[1] in ("float", "int"):
            return _raw_pairs(lambda a, b: b if a is None else a, *self._floats(args, kinds))
        if op == "fill_null" and kinds[0] == kinds[1] and kinds[0] in ("int", "bool"):
            return _raw_pairs(lambda a, b: b if a is None else a, *args)
        return None

    def _remainder(self, node: Node, args: Sequence[Evaluate], kinds: Sequence[str | None]) -> Evaluate | None:
        """Floor division and remainder by a number that is written out and not 0."""
        by = node.args[1].value if node.args[1].op == "literal" else None
        if not by or isinstance(by, str):
            return None
        if set(kinds) == {"int"}:
            whole = int(by)
            return _each((lambda a: a // whole) if node.op == "floordiv" else (lambda a: a % whole), args[0])
        part, dividend = float(by), self._floats(args, kinds)[0]
        if node.op == "floordiv":
            return _each(lambda a: _floor(a / part), dividend)
        return _each(lambda a: a - _floor(a / part) * part, dividend)

    def _choice(self, node: Node, args: Sequence[Evaluate], kinds: Sequence[str | None]) -> Evaluate | None:
        """when/then/otherwise; a condition that is null does not hold."""
        if node.op != "if" or kinds[0] != "bool":
            return None
        whole = self.kind(node)
        if whole not in ("float", "int", "bool") or any(
            kind != whole and not (kind == "int" and whole == "float") and node.args[place].kind != "null"
            for place, kind in enumerate(kinds)
            if place
        ):
            return None
        condition = args[0]
        then, other = self._floats(args, kinds)[1:] if whole == "float" else args[1:]
        return lambda columns: [
            a if holds is True else b
            for holds, a, b in zip(condition(columns), then(columns), other(columns), strict=True)
        ]

    def _other(self, node: Node, args: Sequence[Evaluate], kinds: Sequence[str | None]) -> Evaluate | None:
        if node.op != "between" or not (set(kinds) <= {"float", "int"} or set(kinds) == {"datetime"}):
            return None
        value, low, high = self._floats(args, kinds) if len(set(kinds)) > 1 else args
        above = _COMPARED["ge" if node.kind in ("both", "left") else "gt"]
        below = _COMPARED["le" if node.kind in ("both", "right") else "lt"]
        return _raw_pairs(_and, _pairs(above, value, low), _pairs(below, value, high))
