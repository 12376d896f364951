"""One column of a contract: its type, what it may hold, and its role along a row's life."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec
import polars as pl

__all__ = ["AT_PREDICTION", "COLUMN_TYPES", "ROLES", "Column", "ColumnType", "Role", "polars_type"]

ColumnType = Literal["float", "int", "bool", "string", "datetime"]
Role = Literal["feature", "input", "time", "entity", "id", "target", "segment", "weight", "outcome", "ignored"]

COLUMN_TYPES: Final[tuple[str, ...]] = get_args(ColumnType)
ROLES: Final[tuple[str, ...]] = get_args(Role)
AT_PREDICTION: Final = frozenset({"feature", "input", "time", "entity", "id", "segment"})

_POLARS: Final[dict[str, pl.DataType]] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "bool": pl.Boolean(),
    "string": pl.String(),
    "datetime": pl.Datetime("us", "UTC"),
}


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a contract.

    role: `feature` goes to the model as it is; `input` is only read by features.py; `outcome` is known later
      than the prediction and never read for one; `ignored` is not asked for at all.
    minimum, maximum: a range the people of the project wrote; enforced, both ends included.
    observed: the range that was seen when the contract was inferred; a description, not enforced.
    categories: of a string column, in order; another value is allowed and means "unseen".
    segment: whether gates and reports may look at this column's values one by one.
    """

    name: str
    type: ColumnType
    role: Role
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    observed: tuple[float, float] | None = None
    categories: tuple[str, ...] | None = None
    segment: bool = False

    @property
    def at_prediction(self) -> bool:
        """Whether a prediction's row carries this column."""
        return self.role in AT_PREDICTION


def polars_type(column: Column) -> pl.DataType:
    """The type a conforming frame has for this column."""
    return _POLARS[column.type]
