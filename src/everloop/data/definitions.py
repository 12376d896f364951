"""What people write in features.py: `@features` generators of named Polars expressions, and how they are read."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

import polars as pl

from everloop.data.contract import Contract
from everloop.data.node import Node
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
    module = _imported(path)
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


class _FreshLoader(SourceFileLoader):
    """Reads the source each time and writes no cache beside it: a person may save twice within a second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _imported(path: Path) -> ModuleType:
    name = f"_everloop_features_{abs(hash(path.resolve()))}"
    spec = spec_from_file_location(name, path, loader=_FreshLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise FeatureRefused(f"{path}:{error.lineno}: {error.msg}") from error
    except Exception as error:  # anything may be raised by a person's own file; it becomes one sentence
        raise _mistake(path, error) from error
    finally:
        del sys.modules[name]
    return module


def _mistake(path: Path, error: Exception) -> FeatureRefused:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    first = next(iter(str(error).splitlines()), "")
    return FeatureRefused(f"{where}: {type(error).__name__}: {first}")


def _pairs(path: Path, definition: Callable[[], Any]) -> list[tuple[str, pl.Expr]]:
    name = getattr(definition, "__name__", "features")
    try:
        yielded = list(definition())
    except Exception as error:  # as above
        raise _mistake(path, error) from error
    for pair in yielded:
        good = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], pl.Expr)
        if not good:
            raise FeatureRefused(f"{path}: {name}() yields {pair!r:.80}; it must yield a name and a Polars expression")
        if not pair[0].isidentifier():
            raise FeatureRefused(f"{path}: {name}() names a feature {pair[0]!r}; use letters, digits and underscores")
    return yielded
