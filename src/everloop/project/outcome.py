"""The model.yaml sections on data and on what turned out to be true."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from everloop.project.durations import parse_duration
from everloop.project.section import Section
from everloop.project.shares import parse_share

__all__ = ["Acts", "DataSection", "DecisionNames", "Duration", "OutcomeSection", "TimeColumn", "Weight"]

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""A span, written `30d`."""

LooseShare = Annotated[float, BeforeValidator(lambda value: parse_share(value, allow_zero=True))]


def _column_or_section(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _list(value: object) -> object:
    return [value] if isinstance(value, str | int | float | bool) else value


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a time (ISO 8601, such as 2013-09-01T00:00Z)") from None


class TimeColumn(Section):
    """When a row happened.

    unit: of a numeric column that counts from `origin`; None for datetimes and ISO 8601 text.
    origin: UTC once read; a naive one was read in the model's time zone. None with a unit means 1970-01-01.
    """

    column: str = Field(description="datetime, ISO 8601 text, or a number with unit and origin")
    unit: Literal["s", "ms", "us", "ns", "m", "h", "d"] | None = Field(None, description="of a numeric column")
    origin: Annotated[datetime | None, BeforeValidator(lambda value: None if value is None else _moment(value))] = (
        Field(None, description="where a numeric column counts from, e.g. 2013-09-01T00:00Z; left out: 1970")
    )


class Weight(Section):
    """How much a row counts: a column, or one number for the negative rows where they are a sample."""

    column: str | None = Field(None, description="column with the weight of each row")
    negative: Annotated[float, Field(gt=0)] | None = Field(None, description="rows that one negative row stands for")


class DecisionNames(Section):
    """What a decision is called in an answer."""

    positive: str | None = Field(None, description="left out: the model's name")
    negative: str | None = Field(None, description="left out: not_ and the positive one")


class DataSection(Section):
    """Where the rows are and what their columns are for."""

    source: str = Field(description="CSV, Parquet or Delta: a path, a glob or s3://…; relative to the project")
    time: Annotated[TimeColumn, BeforeValidator(_column_or_section)] = Field(description="when a row happened")
    id: str | None = Field(None, description="the caller's own id; a retry with the same id counts once")
    entity: str | None = Field(None, description="whom a rollout sticks to, such as a customer")
    target: str = Field(description="what is to be known")
    positive: bool | int | float | str | None = Field(
        None, description="the target's value that means yes; left out: 1 or true"
    )
    decision: DecisionNames = Field(default_factory=lambda: DecisionNames(), description="what answers are called")
    segments: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field((), description="columns to judge one by one")
    weight: Annotated[Weight | None, BeforeValidator(_column_or_section)] = Field(
        None, description="a column, or {negative: 59.2} where negative rows are a sample"
    )

    def role_columns(self) -> dict[str, str]:
        """The columns that have a role, by role; segments are not among them."""
        weight = None if self.weight is None else self.weight.column
        roles = {
            "time": self.time.column,
            "id": self.id,
            "entity": self.entity,
            "target": self.target,
            "weight": weight,
        }
        return {role: column for role, column in roles.items() if column is not None}


class Acts(Section):
    """An answer that censors its own outcome: what was blocked is never known to have been fraud."""

    column: str = Field(description="what was done with the row")
    blocked: Annotated[tuple[Any, ...], BeforeValidator(_list)] = Field(
        description="its values after which nothing is learned"
    )
    holdout: LooseShare = Field(0.0, description="share let through at random, so that something is learned")


class OutcomeSection(Section):
    """When and how the truth arrives."""

    delay: Duration = Field(timedelta(0), description="nothing younger is trained on or judged")
    absent: Literal["negative", "unknown"] = Field(
        "unknown", description="what silence means once the delay is over: negative | unknown"
    )
    acts: Acts | None = Field(None, description="{column, blocked, holdout}: an answer that censors its own outcome")
