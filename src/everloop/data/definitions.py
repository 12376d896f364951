"""What people write in features.py: `@features` generators of named Polars expressions, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from everloop.data.contract import Contract
from everloop.data.node import Node
from everloop.data.python_file import mistake_in, run_file
from everloop.data.translate import EVENT_TIME, translate
from everloop.data.tree import FeatureTree
from everloop.errors import FeatureRefused

__all__ = ["FeatureSet", "features", "load_features", "read_features"]

Definition = Callable[[], Iterator[tuple[str, pl.Expr]]]
_MARK: Final = "__everloop_features__"


def features(definition: Definition) -> Definition:
    """Marks a generator of `name, expression` pairs as features of the model beside it.

    An expression may use one row only: its columns and `event_time`, the row's time.
    """
    setattr(definition, _MARK, True)
    return definition


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """The features of one features.py, in order, translated and checked against a contract."""

    names: tuple[str, ...]
    exprs: tuple[pl.Expr, ...]
    nodes: tuple[Node, ...]
    contract: Contract

    def tree(self) -> FeatureTree:
        """Raw feature columns first, then these."""
        return FeatureTree.of(self.contract, zip(self.names, self.nodes, strict=True))


def load_features(path: Path, contract: Contract) -> FeatureSet:
    """The features of a features.py; none where the file does not exist.

    Raises FeatureRefused with one sentence: a mistake in the file with its line, a name given twice, a column
    the contract does not have or a prediction cannot have, an expression that cannot be served.
    """
    pairs = read_features(path)
    nodes = tuple(translate(expr, feature=name, contract=contract) for name, expr in pairs)
    for name, _ in pairs:
        if name in contract.names or name == EVENT_TIME:
            raise FeatureRefused(f"{path}: feature {name!r} has the name of a column; give it a name of its own")
    return FeatureSet(
        names=tuple(name for name, _ in pairs), exprs=tuple(expr for _, expr in pairs), nodes=nodes, contract=contract
    )


def read_features(path: Path) -> list[tuple[str, pl.Expr]]:
    """The pairs that the file's `@features` generators yield, not yet checked against a contract."""
    if not path.exists():
        return []
    module = run_file(path, shown=str(path), refused=FeatureRefused)
    pairs: list[tuple[str, pl.Expr]] = []
    for definition in vars(module).values():
        if callable(definition) and getattr(definition, _MARK, False):
            pairs += _pairs(path, definition)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise FeatureRefused(f"{path}: feature {name!r} is given twice; each name stands for one feature")
        seen.add(name)
    return pairs


def _pairs(path: Path, definition: Callable[[], Any]) -> list[tuple[str, pl.Expr]]:
    name = getattr(definition, "__name__", "features")
    try:
        yielded = list(definition())
    except Exception as error:  # anything may be raised by a person's own file
        raise FeatureRefused(mistake_in(path, error, shown=str(path))) from error
    for pair in yielded:
        good = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], pl.Expr)
        if not good:
            raise FeatureRefused(f"{path}: {name}() yields {pair!r:.80}; it must yield a name and a Polars expression")
        if not pair[0].isidentifier():
            raise FeatureRefused(f"{path}: {name}() names a feature {pair[0]!r}; use letters, digits and underscores")
    return yielded
