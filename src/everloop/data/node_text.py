"""A feature as people read it: `amount / 100`, `log1p(amount)`, `hour(event_time) < 6`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from everloop.clock import from_us
from everloop.data.node import Node

__all__ = ["node_text"]

_SIGNS: Final[Mapping[str, tuple[str, int]]] = {
    "or": ("or", 1), "xor": ("xor", 1), "and": ("and", 2),
    "eq": ("==", 4), "ne": ("!=", 4), "lt": ("<", 4), "le": ("<=", 4), "gt": (">", 4), "ge": (">=", 4),
    "eq_missing": ("is", 4), "ne_missing": ("is not", 4),
    "add": ("+", 5), "sub": ("-", 5), "mul": ("*", 6), "div": ("/", 6), "floordiv": ("//", 6), "mod": ("%", 6),
    "pow": ("**", 8),
}  # fmt: skip
_ATOM: Final = 9
_MOST_VALUES: Final = 4


def node_text(node: Node) -> str:
    """The node in one line; brackets only where they change the meaning."""
    return _text(node)[0]


def _text(node: Node) -> tuple[str, int]:
    """The text and how tightly it holds together."""
    if node.op in _SIGNS:
        sign, tightness = _SIGNS[node.op]
        first, second = node.args
        return f"{_inside(first, tightness)} {sign} {_inside(second, tightness + 1)}", tightness
    match node.op:
        case "column":
            return node.name or "", _ATOM
        case "literal":
            return _literal(node), _ATOM
        case "not":
            return f"not {_inside(node.args[0], 3)}", 3
        case "neg":
            return f"-{_inside(node.args[0], 7)}", 7
        case "if":
            condition, then, otherwise = (_text(arg)[0] for arg in node.args)
            return f"{then} if {condition} else {otherwise}", 0
        case "cast":
            # a number made of true and false, or of another width, is the same number to a reader
            return _text(node.args[0]) if node.kind in ("int", "float") else (_call(node), _ATOM)
        case "is_in" | "code" | "lookup":
            return f"{_inside(node.args[0], 4)} {_among(node)}", 4
        case "between":
            value, low, high = (_inside(arg, 5) for arg in node.args)
            left, right = _ends(node.kind)
            return f"{low} {left} {value} {right} {high}", 4
    return _call(node), _ATOM


def _inside(node: Node, tightness: int) -> str:
    text, own = _text(node)
    return f"({text})" if own < tightness else text


def _literal(node: Node) -> str:
    if node.kind == "null" or node.value is None:
        return "missing"
    if node.kind == "datetime":
        return from_us(int(node.value)).isoformat()
    if isinstance(node.value, float):
        return f"{node.value:g}"
    return repr(node.value) if isinstance(node.value, str) else str(node.value).lower()


def _among(node: Node) -> str:
    values = [repr(value) for value in node.values or ()]
    shown = ", ".join(values[:_MOST_VALUES]) + (", …" if len(values) > _MOST_VALUES else "")
    word = {"is_in": "in", "code": "place in", "lookup": "looked up in"}[node.op]
    return f"{word} ({shown})"


def _ends(kind: str | None) -> tuple[str, str]:
    left = "<=" if kind in ("both", "left") else "<"
    return left, "<=" if kind in ("both", "right") else "<"


def _call(node: Node) -> str:
    parts = [_text(arg)[0] for arg in node.args]
    if node.op == "clip":
        names = {"lower": ("at least",), "upper": ("at most",)}.get(node.kind or "", ("at least", "at most"))
        return f"{node.op}({', '.join([parts[0], *(f'{n} {p}' for n, p in zip(names, parts[1:], strict=True))])})"
    if node.value is not None:
        parts.append(_literal(node))
    if node.kind is not None:
        parts.append(node.kind)
    if node.timezone not in (None, "UTC"):
        parts.append(str(node.timezone))
    return f"{node.op}({', '.join(parts)})"
