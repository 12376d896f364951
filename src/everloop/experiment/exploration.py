"""What was found in a source, as one record: for the screen, for JSON, for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from everloop.experiment.association import Association
from everloop.experiment.columns import ColumnSummary
from everloop.experiment.finding import Finding
from everloop.experiment.overtime import Period, Span
from everloop.experiment.wrong import TargetSummary

__all__ = ["Exploration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """A source seen through a model's eyes.

    findings: what looks wrong, the gravest first. associations: the strongest first. periods: in order of time.
    page: where the HTML page was written, None where none was asked for.
    """

    model: str
    source: str
    rows: int
    span: Span | None
    columns: tuple[ColumnSummary, ...]
    target: TargetSummary | None
    periods: tuple[Period, ...]
    associations: tuple[Association, ...]
    findings: tuple[Finding, ...]
    seconds: float
    page: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, times as ISO 8601."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    def column(self, name: str) -> ColumnSummary:
        """The column called `name`. Raises KeyError where there is none."""
        return next(column for column in self.columns if column.name == name)
