"""A readable rule: up to four conditions on columns that a row keeps all of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

__all__ = ["Condition", "Rule", "Side"]

Side: TypeAlias = Literal[">", "<", "="]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One column beyond a bound (`>`, `<`), or of one value (`=`). A missing value keeps no condition."""

    column: str
    side: Side
    bound: float | str

    def __str__(self) -> str:
        shown = self.bound if isinstance(self.bound, str) else f"{self.bound:.10g}"
        return f"{self.column} {self.side} {shown}"

    def expression(self, prefix: str = "") -> pl.Expr:
        """Whether a row keeps it; `prefix` stands before the column's name, as the traffic log's does."""
        value = pl.col(f"{prefix}{self.column}")
        if isinstance(self.bound, str):
            return (value.cast(pl.String) == self.bound).fill_null(False)
        # Polars holds NaN above every number; a missing value is no large one
        number = value.cast(pl.Float64).fill_nan(None)
        kept = {">": number > self.bound, "<": number < self.bound, "=": number == self.bound}[self.side]
        return kept.fill_null(False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"column": self.column, "side": self.side, "bound": self.bound}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A conjunction of conditions, such as `V7 > 2.1 and V11 < -1.4 and Amount < 30`."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads, each once."""
        return tuple(dict.fromkeys(condition.column for condition in self.conditions))

    def expression(self, names: Mapping[str, str] | None = None) -> pl.Expr:
        """Whether a row keeps all conditions. names: column → its prefix in the frame; none where left out."""
        prefixes = {} if names is None else names
        return pl.all_horizontal(
            condition.expression(prefixes.get(condition.column, "")) for condition in self.conditions
        )

    def holds(self, frame: pl.DataFrame) -> np.ndarray:
        """Which rows of a frame keep it: bool, shape (rows,)."""
        found: np.ndarray = frame.select(self.expression().alias("kept"))["kept"].to_numpy()
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` reads it back."""
        return {"text": str(self), "conditions": [condition.to_dict() for condition in self.conditions]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Rule:
        """What `to_dict` wrote."""
        parts: Sequence[Mapping[str, Any]] = record["conditions"]
        return cls(conditions=tuple(Condition(**part) for part in parts))
