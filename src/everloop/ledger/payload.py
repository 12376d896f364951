"""What every payload is made of: its base, and the records that several kinds of facts hold."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

__all__ = [
    "JSON",
    "Count",
    "DataSpan",
    "Estimate",
    "Exposure",
    "Name",
    "Number",
    "Payload",
    "Record",
    "SegmentEstimate",
    "Share",
    "StepFailure",
    "VerdictRecord",
    "Window",
]

JSON: TypeAlias = Any
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a payload."""


class Payload(Record, frozen=True, kw_only=True):
    """What a fact says."""

    details: dict[str, JSON] = msgspec.field(default_factory=dict)


class Estimate(Record, frozen=True, kw_only=True):
    """A metric with its interval, and how many positives it stands on."""

    point: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    rows: float | None = None
    positives: float | None = None


class VerdictRecord(Record, frozen=True, kw_only=True):
    """A verdict as it is kept: which question was asked (a gate, a check, a stop rule) and the answer."""

    name: str = ""
    outcome: Literal["passed", "failed", "undecided"]
    sentence: str
    evidence: dict[str, JSON] = msgspec.field(default_factory=dict)


class Window(Record, frozen=True, kw_only=True):
    """A span of event time, [start, end)."""

    start: datetime
    end: datetime


class StepFailure(Record, frozen=True, kw_only=True):
    """An attempt at a step that failed, how long it took, and how long it was waited before the next."""

    sentence: str
    error: str = ""
    seconds: float = 0.0
    waited_s: float = 0.0


class DataSpan(Record, frozen=True, kw_only=True):
    """The rows something was made from."""

    rows: Count
    start: datetime | None = None
    end: datetime | None = None
    source: str = ""
    hash: str = ""
    as_of: datetime | None = None
    positives: float | None = None


class SegmentEstimate(Record, frozen=True, kw_only=True):
    """How a version does on the test rows of one value of a segment; `rest`: of all values too rare to be told."""

    segment: Name
    value: str
    rows: Count
    positives: float | None = None
    metrics: dict[str, Estimate] = msgspec.field(default_factory=dict)
    rest: bool = False


class Exposure(Record, frozen=True, kw_only=True):
    """How much of the traffic one challenger answers: nothing in `shadow`, `share` of the keys in `canary`."""

    version: Number
    share: Share
    mode: Literal["shadow", "canary"] = "canary"
    salt: str = ""
