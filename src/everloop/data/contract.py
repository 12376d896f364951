"""The contract: the columns a row must have, inferred once from the source, then kept and enforced."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from everloop.data.column import Column, ColumnType, Role
from everloop.errors import ContractViolation, DataError, NotEnoughData
from everloop.project import did_you_mean

if TYPE_CHECKING:
    from everloop.project import Model

__all__ = ["MOST_CATEGORIES", "Contract", "column_type", "infer_contract"]

MOST_CATEGORIES: Final = 50  # more distinct texts than this are names, not categories
_VERSION: Final = 1
_LOOKS_LIKE_ID: Final = re.compile(r"(?:^|_)(?:id|ID|Id)$|[a-z]I[dD]$|^[a-z]+id$")


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The columns a row must have, and how its time and its target are read.

    timezone: naive times are read in it, and features take hours and days in it.
    time_unit, time_origin: of a numeric time column; `s` since an ISO-8601 time.
    positive: the target's value that is the positive class; None of a regression.
    """

    columns: tuple[Column, ...]
    timezone: str = "UTC"
    time_unit: str | None = None
    time_origin: str | None = None
    positive: bool | int | float | str | None = None
    version: int = _VERSION

    def column(self, name: str) -> Column:
        """The column of that name. Raises ContractViolation naming the likely one."""
        for column in self.columns:
            if column.name == name:
                return column
        hint = did_you_mean(name, self.names) or f"; it has {', '.join(self.names)}"
        raise ContractViolation(f"the contract has no column {name!r}{hint}")

    @property
    def names(self) -> tuple[str, ...]:
        """Every column's name, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def feature_columns(self) -> tuple[Column, ...]:
        """The columns that go to the model as they are, in order."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def segment_columns(self) -> tuple[Column, ...]:
        """The columns that gates and reports may look at value by value."""
        return tuple(column for column in self.columns if column.segment)

    @property
    def kept_columns(self) -> tuple[Column, ...]:
        """Every column but the ignored ones."""
        return tuple(column for column in self.columns if column.role != "ignored")

    def names_at_prediction(self) -> tuple[str, ...]:
        """What a row at the endpoint carries: features, inputs, time, entity, id and segments."""
        return tuple(column.name for column in self.columns if column.at_prediction)

    def only(self, role: Role) -> Column | None:
        """The one column of a role of which there is at most one (time, id, entity, target, weight)."""
        return next((column for column in self.columns if column.role == role), None)

    def to_json(self) -> bytes:
        """Canonical JSON: the same contract gives the same bytes."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> Contract:
        """The contract of `to_json`. Raises DataError where it is not one."""
        try:
            contract = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise DataError(f"this is not a contract: {error}") from error
        if contract.version != _VERSION:
            raise DataError(f"contract version {contract.version} is not known; this everloop reads version {_VERSION}")
        return contract


def infer_contract(lazy: pl.LazyFrame, model: Model, *, reads: Collection[str] = ()) -> Contract:
    """The contract that the source's rows keep today.

    reads: columns that features.py reads; they become inputs where they would be ignored.
    Enforced are type, null and roles; the observed range is kept as a description.
    Raises ContractViolation where a column that model.yaml names is missing, NotEnoughData without rows.
    """
    schema = dict(lazy.collect_schema())
    roles = _given_roles(model)
    _refuse_missing(roles, schema, model)
    facts = _column_facts(lazy, schema)
    if facts["__rows"] == 0:
        raise NotEnoughData(f"{model.data.source} has no rows; a contract is inferred from data")
    time = model.data.time
    numeric = model.task == "regression"
    if numeric:
        _refuse_no_number(model, schema)
    columns = [
        _column(name, dtype, facts, _given(name, roles), name in reads, name in model.data.segments)
        for name, dtype in schema.items()
    ]
    if numeric:  # an outcome that comes in halves must not break a contract made of whole ones
        columns = [msgspec.structs.replace(one, type="float") if one.role == "target" else one for one in columns]
    return Contract(
        columns=tuple(_with_categories(lazy, columns)),
        timezone=model.timezone,
        time_unit=time.unit,
        time_origin=None if time.origin is None else time.origin.isoformat(),
        positive=None if numeric else _positive(lazy, model, schema),
    )


def _given(name: str, roles: Mapping[str, Role]) -> Role | None:
    """The role model.yaml gives; another column called `event_time` would be taken for the time and is ignored."""
    return roles.get(name, "ignored" if name == "event_time" else None)


def _given_roles(model: Model) -> dict[str, Role]:
    """The role of each column that model.yaml names."""
    roles: dict[str, Role] = {}
    if model.outcome.acts is not None:
        roles[model.outcome.acts.column] = "outcome"
    names: tuple[Role, ...] = ("weight", "entity", "id", "time", "target")
    columns = model.data.role_columns()
    return roles | {columns[role]: role for role in names if role in columns}


def _refuse_missing(roles: Mapping[str, Role], schema: Mapping[str, Any], model: Model) -> None:
    named = [*((name, f"the {role} column") for name, role in roles.items())]
    named += [(name, "a segment") for name in model.data.segments if name not in roles]
    sentences = [
        f"{what} {name!r} of {model.name}/model.yaml is not in {model.data.source}{did_you_mean(name, list(schema))}"
        for name, what in named
        if name not in schema
    ]
    if sentences:
        raise ContractViolation("; ".join(sentences) + f"; it has {', '.join(schema)}")


def _refuse_no_number(model: Model, schema: Mapping[str, pl.DataType]) -> None:
    """A regression's target is a number."""
    kind = schema[model.data.target]
    if not kind.is_numeric():
        raise ContractViolation(
            f"target {model.data.target!r} of {model.data.source} holds {kind}, and a regression learns numbers; make "
            f"such a column, or set task: classification in {model.name}/model.yaml"
        )


def column_type(dtype: pl.DataType) -> ColumnType | None:
    """Our name of a Polars type; None for what a row cannot hold (lists, structs, binary)."""
    if dtype.is_integer():
        return "int"
    if dtype.is_numeric():
        return "float"
    if dtype == pl.Boolean:
        return "bool"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    if dtype in (pl.Datetime, pl.Date):
        return "datetime"
    return None


def _column_facts(lazy: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """Rows, and by column nulls, lowest, highest and number of distinct values, in one streamed pass."""
    wanted: list[pl.Expr] = [pl.len().alias("__rows")]
    for name, dtype in schema.items():
        wanted.append(pl.col(name).null_count().alias(f"null {name}"))
        if dtype.is_float():
            wanted.append(pl.col(name).is_nan().sum().alias(f"nan {name}"))
        if dtype.is_numeric():
            finite = pl.col(name).cast(pl.Float64)
            finite = finite.filter(finite.is_finite())
            wanted += [finite.min().alias(f"min {name}"), finite.max().alias(f"max {name}")]
        if column_type(dtype) == "string":
            wanted.append(pl.col(name).n_unique().alias(f"distinct {name}"))
    return lazy.select(wanted).collect(engine="streaming").row(0, named=True)


def _column(
    name: str,
    dtype: pl.DataType,
    facts: Mapping[str, Any],
    given: Role | None,
    is_read: bool,
    is_segment: bool,
) -> Column:
    kind = column_type(dtype)
    missing = facts[f"null {name}"] + (facts.get(f"nan {name}") or 0)
    low, high = facts.get(f"min {name}"), facts.get(f"max {name}")
    role = given
    if role is None:
        role = _inferred_role(name, kind, facts, empty=missing == facts["__rows"])
        if role == "ignored" and is_read and kind is not None:
            role = "input"
        elif role == "ignored" and is_segment:
            role = "segment"
    if given == "time" and kind == "string":
        kind = "datetime"
    if given in ("id", "entity"):
        kind = "string"
    return Column(
        name=name,
        type="string" if kind is None else kind,
        role="ignored" if kind is None else role,
        nullable=missing > 0 or given == "outcome",  # live rows learn late what was done with them, or never
        observed=(low, high) if low is not None and high is not None and kind in ("int", "float") else None,
        segment=is_segment and kind is not None,
    )


def _inferred_role(name: str, kind: ColumnType | None, facts: Mapping[str, Any], *, empty: bool) -> Role:
    """Numbers, yes/no and short lists of texts are features; names, numbers of things and other times are not."""
    if kind is None or kind == "datetime" or empty:
        return "ignored"
    if kind == "string":
        return "feature" if facts[f"distinct {name}"] <= MOST_CATEGORIES else "ignored"
    if kind == "int" and _LOOKS_LIKE_ID.search(name):
        return "ignored"
    return "feature"


def _with_categories(lazy: pl.LazyFrame, columns: Iterable[Column]) -> Iterable[Column]:
    for column in columns:
        if column.type == "string" and column.role in ("feature", "segment"):
            values = lazy.select(pl.col(column.name).cast(pl.String).unique()).collect(engine="streaming")
            kept = sorted(value for value in values.to_series().to_list() if value is not None)
            if len(kept) <= MOST_CATEGORIES:
                column = msgspec.structs.replace(column, categories=tuple(kept))
        yield column


def _positive(lazy: pl.LazyFrame, model: Model, schema: Mapping[str, pl.DataType]) -> bool | int | float | str | None:
    """The positive class as model.yaml says, else True or 1 where the target is of that kind."""
    if model.data.positive is not None:
        return model.data.positive
    if schema[model.data.target] == pl.Boolean:
        return True
    distinct = pl.col(model.data.target).drop_nulls().unique().sort()
    values = lazy.select(distinct.head(6)).collect(engine="streaming").to_series().to_list()
    if set(values) <= {0, 1}:
        return 1
    shown = ", ".join(repr(value) for value in values[:5]) + (", …" if len(values) > 5 else "")
    raise ContractViolation(
        f"target {model.data.target!r} holds {shown}; "
        f"say which one is the positive class: data.positive in {model.name}/model.yaml"
    )
